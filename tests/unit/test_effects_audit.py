"""Tests of the rules by which tools and their labels are looked over."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, tool
from langgraph.types import interrupt

from langchain_asyncfc import AsyncFCToolNode, Effects
from langchain_asyncfc.effects_audit import CODES, Audit, Level, Meeting, audit
from langchain_asyncfc.effects_audit.words import reading_verb, writing_verb
from langchain_asyncfc.toolbox import Origin


def made(name: str, *arguments: str, **more: Any) -> BaseTool:
    """A tool with these text arguments; those that end in `?` may be left out."""
    schema = {
        "type": "object",
        "properties": {argument.rstrip("?"): {"type": "string"} for argument in arguments},
        "required": [argument for argument in arguments if not argument.endswith("?")],
    }
    given: dict[str, Any] = {"args_schema": schema, "description": "A tool.", **more}
    return StructuredTool(name=name, func=lambda **_: "", **given)


def look(*tools: Any, **labels: Effects) -> Audit:
    return audit(tools, labels)


def codes(report: Audit, *, about: str | None = None) -> set[str]:
    return {f.code for f in report.findings if about is None or about in f.tools}


FS = "fs:{path}"
READER, WRITER = made("read_file", "path"), made("write_file", "path")
GOOD = {"read_file": Effects(FS), "write_file": Effects(FS, FS, idempotent=True)}

# For each code: tools and labels that it is found in, and some that differ by little and are fine.
CASES: list[tuple[str, list[Any], dict[str, Effects], list[Any], dict[str, Effects]]] = [
    (
        "A001",
        [READER],
        {"read_file": Effects("fs:{file}")},
        [READER],
        {"read_file": Effects(FS)},
    ),
    ("A001", [made("await_future")], {}, [made("await_futures")], {}),
    ("A002", [READER], {"raed_file": Effects()}, [READER], {"read_file": Effects()}),
    ("A003", [made("a"), made("a")], {}, [made("a"), made("b")], {}),
    (
        "A010",
        [made("delete_user")],
        {"delete_user": Effects()},
        [made("delete_user")],
        {"delete_user": Effects(writes="users:")},
    ),
    (
        "A010",
        [made("user", description="Deletes a user.")],
        {"user": Effects()},
        [made("user", description="Finds a user, to delete it later.")],
        {"user": Effects()},
    ),
    (
        "A011",
        [made("x", metadata={"destructiveHint": True})],
        {"x": Effects()},
        [made("x", metadata={"destructiveHint": True})],
        {"x": Effects(writes="x:")},
    ),
    (
        "A011",
        [made("x", metadata={"readOnlyHint": False})],
        {"x": Effects()},
        [made("x", metadata={"readOnlyHint": True, "destructiveHint": False})],
        {"x": Effects()},
    ),
    (
        "A012",
        [made("x", metadata={"readOnlyHint": True, "destructiveHint": True})],
        {},
        [made("x", metadata={"readOnlyHint": False, "destructiveHint": True})],
        {},
    ),
    (
        "A013",
        [made("move", "source", "target")],
        {"move": Effects(writes="fs:{source}")},
        [made("move", "source", "target")],
        {"move": Effects(writes=["fs:{source}", "fs:{target}"])},
    ),
    (
        "A013",
        [made("move", "source", "target")],
        {"move": Effects(writes="fs:{source}", reads="db:")},
        [made("move", "source", "target")],
        {"move": Effects(writes="fs:{source}", reads="fs:")},
    ),
    (
        "A014",
        [made("shell", "command")],
        {"shell": Effects(writes="fs:")},
        [made("shell", "command")],
        {"shell": Effects("/", "/")},
    ),
    (
        "A015",
        [READER],
        {"read_file": Effects("fs:../{path}")},
        [READER],
        {"read_file": Effects("fs:a..b/{path}")},
    ),
    (
        "A016",
        [made("send_mail")],
        {"send_mail": Effects(writes="mail:", idempotent=True)},
        [made("save_mail")],
        {"save_mail": Effects(writes="mail:", idempotent=True)},
    ),
    (
        "A020",
        [READER, WRITER],
        {"read_file": Effects("file:{path}"), "write_file": Effects(writes="files:{path}")},
        [READER, WRITER],
        {"read_file": Effects("shard1:{path}"), "write_file": Effects(writes="shard2:{path}")},
    ),
    (
        "A020",
        [READER, WRITER],
        {"read_file": Effects("fs/{path}"), "write_file": Effects(writes="fs:{path}")},
        [READER, WRITER],
        GOOD,
    ),
    (
        "A021",
        [READER, WRITER],
        {"read_file": Effects("file:{path}"), "write_file": Effects(writes="fs:{path}")},
        [made("read", "url"), WRITER],
        {"read": Effects("web:{url}"), "write_file": Effects(writes="fs:{path}")},
    ),
    (
        "A021",
        [made("r", "isbn"), made("w", "isbn")],
        {"r": Effects("shelf:{isbn}"), "w": Effects(writes="loans:{isbn}")},
        [made("r", "id"), made("w", "id")],
        {"r": Effects("shelf:{id}"), "w": Effects(writes="loans:{id}")},
    ),
    (
        "A016",
        [made("send")],
        {"send": Effects(writes="mail:", idempotent=True)},
        [made("send", metadata={"idempotentHint": True})],
        {"send": Effects(writes="mail:", idempotent=True)},
    ),
    (
        "A022",
        [READER],
        {"read_file": Effects(FS)},
        [READER, WRITER],
        GOOD,
    ),
    (
        "A023",
        [WRITER],
        {"write_file": Effects(writes=FS)},
        [READER, WRITER],
        GOOD,
    ),
    ("A024", [WRITER], {"write_file": Effects(writes=FS)}, [READER], {"read_file": Effects(FS)}),
    ("A030", [READER, WRITER], {"read_file": Effects(FS)}, [READER, WRITER], GOOD),
    ("A031", [READER, WRITER], {}, [READER, WRITER], {"read_file": Effects(FS)}),
    (
        "A032",
        [made("ls", "path?")],
        {"ls": Effects(FS)},
        [made("ls", "path")],
        {"ls": Effects(FS)},
    ),
    ("A034", [made("x")], {"x": Effects("/")}, [made("x")], {"x": Effects("x:")}),
    (
        "A035",
        [made("x", metadata={"readOnlyHint": True})],
        {},
        [made("x", metadata={"readOnlyHint": True})],
        {"x": Effects()},
    ),
    (
        "A040",
        [WRITER],
        {"write_file": Effects(writes=FS)},
        [made("append_file", "path")],
        {"append_file": Effects(writes=FS)},
    ),
    (
        "A040",
        [made("x", metadata={"idempotentHint": True})],
        {"x": Effects(writes="x:")},
        [made("x", metadata={"idempotentHint": True})],
        {"x": Effects(writes="x:", idempotent=True)},
    ),
    (
        "A034",
        [made("x")],
        {"x": Effects(reads=None, writes=None, foreground=True)},
        [made("x")],
        {},
    ),
    ("A041", [made("x", return_direct=True)], {}, [made("x")], {}),
    ("A041", [made("x")], {"x": Effects(foreground=True)}, [made("x")], {"x": Effects()}),
    (
        "A042",
        [made("deploy")],
        {"deploy": Effects(writes="server:")},
        [made("deploy")],
        {"deploy": Effects(writes="server:", fence=True)},
    ),
]


@pytest.mark.parametrize(
    ("code", "odd", "its_labels", "fine", "their_labels"),
    CASES,
    ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)],
)
def test_each_code_is_found_where_it_should_be_and_nowhere_near(
    code: str,
    odd: list[Any],
    its_labels: dict[str, Effects],
    fine: list[Any],
    their_labels: dict[str, Effects],
) -> None:
    """A rule speaks of its mistake, names the tools, and is silent where that is mended."""
    [found] = [f for f in look(*odd, **its_labels).findings if f.code == code][:1]
    assert set(found.tools) <= {t.name for t in odd} | set(its_labels)
    assert found.what
    assert found.advice
    assert code not in codes(look(*fine, **their_labels))


def test_every_code_has_a_case() -> None:
    """No rule is without a test; two need tools of their own kind."""
    assert {case[0] for case in CASES} | {"A017", "A033"} == set(CODES)


def test_a_template_over_an_object_never_names_a_resource() -> None:
    """Rule 3: a mapping names no resource; the audit says that the label covers its parent."""

    @tool
    def save(note: dict[str, Any], name: str) -> str:
        """Save a note."""
        return ""

    assert "A033" in codes(look(save, save=Effects(writes="notes:{note}")))
    assert "A033" not in codes(look(save, save=Effects(writes="notes:{name}")))


def test_a_tool_that_interrupts() -> None:
    """A tool that calls `interrupt` should run in the step; another name for it is no matter."""

    @tool
    def ask(question: str) -> str:
        """Ask a person."""
        return str(interrupt(question))

    assert "A017" in codes(look(ask))
    assert "A017" not in codes(look(ask, ask=Effects(foreground=True)))
    assert "A017" not in codes(look(READER))


@pytest.mark.parametrize("foreground", [True, False])
def test_a_refused_set_is_what_the_node_refuses(foreground: bool) -> None:
    """A001 is found where building a node fails, and quotes its error."""
    labels = {"read_file": Effects("fs:{pth}", foreground=foreground)}
    [found] = [f for f in look(READER, **labels).findings if f.code == "A001"]
    assert "{path}" in found.advice
    with pytest.raises(ValueError, match="names the argument 'pth'") as refused:
        AsyncFCToolNode([READER], effects=labels)
    assert found.what == str(refused.value)


def test_good_labels_have_no_warnings() -> None:
    """Sound labels of an ordinary set of tools are left in peace."""
    report = look(READER, WRITER, made("web_search", "query"), web_search=Effects(), **GOOD)
    assert report.warnings == ()
    assert {note.code for note in report.notes} == {"A024"}


def test_origins_and_hints() -> None:
    """It is told where effects come from: a mapping, a decorator, hints or nowhere."""
    from langchain_asyncfc import effects

    hinted = made("hinted", metadata={"readOnlyHint": True})
    decorated = effects(reads="fs:")(made("decorated"))
    both = effects(reads="fs:")(made("both"))
    tools = [hinted, decorated, both, made("plain")]
    for trust, origin in ((False, Origin.UNTRUSTED_HINTS), (True, Origin.TRUSTED_HINTS)):
        report = audit(tools, {"both": Effects()}, trust_mcp_hints=trust)
        assert [t.origin for t in report.tools] == [
            origin,
            Origin.DECORATOR,
            Origin.MAPPING,
            Origin.NONE,
        ]
        assert report.tools[0].declared is trust
        assert report.tools[2].effects == Effects()


def test_a_trusted_reader_that_is_named_like_a_writer() -> None:
    """A hint that makes a reader of `delete_user` is a warning once it is trusted."""
    tools = [made("delete_user", metadata={"readOnlyHint": True})]
    assert "A010" not in codes(audit(tools))
    assert "A010" in codes(audit(tools, trust_mcp_hints=True))


def test_pairs() -> None:
    """Pairs are counted with each tool itself: never, by arguments, always."""
    report = look(READER, WRITER, made("log"), **GOOD, log=Effects(writes="log:"))
    # read-read and both with log; read-write and write-write by path; log-log.
    assert report.pairs == {Meeting.NEVER: 3, Meeting.SOMETIMES: 2, Meeting.ALWAYS: 1}
    assert look(READER, made("x")).pairs[Meeting.ALWAYS] == 3
    fence = look(READER, made("x"), read_file=Effects(), x=Effects(fence=True))
    assert fence.pairs == {Meeting.NEVER: 1, Meeting.SOMETIMES: 0, Meeting.ALWAYS: 2}


def test_what_an_undeclared_tool_costs() -> None:
    """The figures in A030 are the counts with and without the labels."""
    report = look(READER, WRITER, made("shell"), **GOOD)
    [found] = [f for f in report.findings if f.code == "A030"]
    assert report.pairs[Meeting.ALWAYS] == 3
    assert "of 6 pairs of tools 3 always wait" in found.what
    assert "0 if this one" in found.what


def test_what_is_undeclared_on_purpose_is_no_warning() -> None:
    """Who says `reads=None` knows of the cost; it is noted, and not warned of."""
    on_purpose = Effects(reads=None, writes=None, foreground=True)
    report = look(READER, WRITER, made("ask"), **GOOD, ask=on_purpose)
    assert report.warnings == ()
    assert {"A034", "A041"} <= codes(report, about="ask")


def test_a_trusted_fence_stays_one_when_it_writes_nothing() -> None:
    """The cost of an undeclared tool is that of its missing sides, not of its fence."""
    tools = [made("x", metadata={"destructiveHint": True}), made("y")]
    report = audit(tools, {"y": Effects()}, trust_mcp_hints=True)
    [found] = [f for f in report.findings if f.code == "A030"]
    assert "2 always wait for each other, 2 if this one" in found.what


def test_tools_that_sound_like_readers_are_named() -> None:
    """The advice names the tools to begin with."""
    [found] = [f for f in look(made("list_users"), made("x")).findings if f.code == "A031"]
    assert "By their names: list_users." in found.advice
    [found] = look(made("get_user"), READER, read_file=Effects()).warnings
    assert found.advice.startswith("It sounds like a reader.")


def test_reading_everything_is_never_idle() -> None:
    """A reader of everything is not told that nobody writes that."""
    assert "A022" not in codes(look(READER, read_file=Effects("/")))


def test_functions_schemas_and_injected_arguments() -> None:
    """Plain functions and schemas count as tools; what is injected is no argument of a template."""

    def find(path: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Find a file."""
        return path

    schema = {
        "name": "look",
        "description": "Look.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    }
    report = audit([find, schema], {"find": Effects("fs:{path}"), "look": Effects("fs:{at}")})
    assert [t.name for t in report.tools] == ["find", "look"]
    assert list(report.tools[0].parameters) == ["path"]
    assert report.tools[0].where.startswith("tests")
    assert report.tools[1].where == ""
    assert "A001" in codes(audit([find], {"find": Effects("fs:{call_id}")}))
    assert "A032" in codes(report, about="look")


@pytest.mark.parametrize("wrong", ["text", 7, {"no": "schema"}])
def test_what_is_no_tool(wrong: Any) -> None:
    """Bad input: something else among the tools is a TypeError that shows it."""
    with pytest.raises(TypeError, match=r"no tool|is none that bind_tools takes"):
        audit([wrong])


def test_ignored_codes() -> None:
    """A finding can be silenced by its code; an unknown code is refused."""
    report = audit([made("delete")], {"delete": Effects()}, ignore=["A010"])
    assert "A010" not in codes(report)
    with pytest.raises(ValueError, match="ignore names 'A999'"):
        audit([], ignore=["A999"])


def test_findings_are_sorted_and_levelled() -> None:
    """Findings come by code, and each level is that of its code."""
    report = look(made("delete_x", "path?"), WRITER, delete_x=Effects("file:{path}"))
    assert [f.code for f in report.findings] == sorted(f.code for f in report.findings)
    assert all(f.level is Level.WARNING for f in report.warnings)
    assert set(report.warnings) | set(report.notes) == set(report.findings)


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("delete_user", "delete"),
        ("deleteUser", "delete"),
        ("github_create_issue", "create"),
        ("fs.write", "write"),
        ("get_or_create_user", "create"),
        ("read_and_delete", "delete"),
        ("mark_as_read", "mark"),
        ("slack_post_message", "post"),
        ("post", "post"),
        ("http_post", "post"),
        ("browser_navigate", "navigate"),
        ("search_posts", None),
        ("list_orders", None),
        ("blog_post_search", None),
        ("get_order", None),
        ("read_file", None),
        ("weather", None),
        ("", None),
    ],
)
def test_verbs_of_names(name: str, verb: str | None) -> None:
    """The verb of a name is told from nouns that look like it."""
    assert writing_verb(name) == verb
    assert (reading_verb(name) is None) or verb is None


@pytest.mark.parametrize(
    "name",
    [
        "mkdir",
        "increment_counter",
        "toggle_light",
        "fill_form",
        "click",
        "type_text",
        "chmod",
        "ingest",
        "sync_folder",
        "lock_account",
        "rm",
        "vote",
    ],
)
def test_more_names_of_writers(name: str) -> None:
    """What changes a page, a file's mode, a counter or a lock is named as a writer too."""
    silent = made(name)
    found = audit([silent], {name: Effects()})
    assert "A010" in [finding.code for finding in found.warnings]


@pytest.mark.parametrize("name", ["get_type", "search_index", "list_locks", "count_votes"])
def test_nouns_are_no_verbs(name: str) -> None:
    """The same words behind a verb that reads say nothing."""
    silent = made(name)
    assert not audit([silent], {name: Effects()}).warnings


@pytest.mark.parametrize(
    ("description", "schema"),
    [("   ", {}), ("1.", {}), ("x", {"type": "object", "properties": {}, "required": None})],
)
def test_schemas_and_descriptions_with_nothing_in_them(
    description: str, schema: dict[str, Any]
) -> None:
    """Servers send them; the audit has nothing to say of them."""
    silent = made("a", description=description, args_schema=schema)
    assert not audit([silent], {"a": Effects()}).warnings
