"""Tests of the audit's command: what it loads, prints and exits with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from langchain_asyncfc.effects_audit.command import main

MODULE = '''
from contextlib import asynccontextmanager, contextmanager

from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode

from langchain_asyncfc import AsyncFCToolNode, Effects, effects


@effects(reads="fs:{path}")
@tool
def read_file(path: str) -> str:
    """Read a file."""
    return path


def search(query: str) -> str:
    """Search the web."""
    return query


tools = [read_file, search]
pair = (read_file, search)
by_name = {"read": read_file, "search": search}
one = read_file
schema = {
    "name": "look_up",
    "description": "Look up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
}
plain_node = ToolNode([read_file, search])
node = AsyncFCToolNode([read_file, search], effects={"search": Effects()})
LABELS = {"search": Effects()}
wrong = [read_file, 7]
number = 7


def factory():
    return tools


async def async_factory():
    return tools


@contextmanager
def opened():
    yield tools


@asynccontextmanager
async def session():
    yield tools


class Holder:
    inner = tools


def needs(argument):
    return tools


def fails():
    return undefined_name


def leaves():
    raise SystemExit("no key")
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of tools that can be imported, under a name of this test's own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    name = f"tools_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def data(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> dict[str, Any]:
    assert main([*argv, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("effects_audit: ")
    return shown.err


KEPT = ["tools", "pair", "by_name", "plain_node", "node", "Holder.inner"]
MADE = ["factory", "async_factory", "opened", "session"]


@pytest.mark.parametrize("name", [*KEPT, *MADE])
def test_forms_of_tools(name: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Lists, tuples, dicts, nodes, functions and context managers hold tools, async ones too."""
    found = data(capsys, f"{module}:{name}")
    assert [tool["name"] for tool in found["tools"]] == ["read_file", "search"]
    assert found["tools"][0]["where"].startswith(f"{module}.py:")


@pytest.mark.parametrize(("name", "tool"), [("one", "read_file"), ("schema", "look_up")])
def test_one_tool(name: str, tool: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A single tool or schema stands for itself."""
    assert [t["name"] for t in data(capsys, f"{module}:{name}")["tools"]] == [tool]


def test_a_nodes_own_mapping_counts(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The `effects=` of a node is what the audit of it goes by."""
    origins = {t["name"]: t["from"] for t in data(capsys, f"{module}:node")["tools"]}
    assert origins == {"read_file": "@effects", "search": "effects="}
    origins = {t["name"]: t["from"] for t in data(capsys, f"{module}:plain_node")["tools"]}
    assert origins == {"read_file": "@effects", "search": "none"}


def test_effects_from_a_file_and_from_a_module(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--effects` takes a JSON file or a mapping in a module, and wins."""
    labels = {"search": {"reads": ["web:"], "fence": True}, "read_file": {}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    found = data(capsys, f"{module}:tools", "--effects", "labels.json")
    by_name = {tool["name"]: tool for tool in found["tools"]}
    assert by_name["search"]["reads"] == ["web:"]
    assert by_name["search"]["fence"] is True
    assert by_name["read_file"]["reads"] == []
    assert by_name["read_file"]["from"] == "effects="
    found = data(capsys, f"{module}:tools", "--effects", f"{module}:LABELS")
    assert found["tools"][1]["declared"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is not JSON"),
        ("[]", "expected a mapping by tool name, got a list"),
        ('{"search": 7}', "'search': expected an object as .*, got an int"),
        ('{"search": {"read": "fs:"}}', "'search': 'read' is no field of Effects; they are reads"),
        ('{"search": {"fence": "yes"}}', "'search': fence must be true or false, not 'yes'"),
        ('{"search": {"reads": "fs:{"}}', "'search': .*no valid template"),
        ('{"search": {"reads": 7}}', "'search': .*"),
    ],
)
def test_bad_files_of_effects(
    text: str, message: str, module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input: a wrong file says where and what, without a traceback."""
    (tmp_path / "labels.json").write_text(text)
    shown = error(capsys, f"{module}:tools", "--effects", "labels.json")
    assert "labels.json" in shown
    assert "Traceback" not in shown
    assert re.search(message, shown)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tools", "must have the form module:name"),
        ("no_such_module_at_all:tools", "There is no module 'no_such_module_at_all'"),
        ("{module}:tols", "there is no 'tols'; there are"),
        ("{module}:number", "is an int. Expected a list"),
        ("{module}:wrong", "holds 7, which is no tool"),
        ("{module}:needs", "is a function that needs arguments"),
    ],
)
def test_bad_targets(
    target: str, message: str, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input: what cannot be audited is said in a sentence, without a traceback."""
    shown = error(capsys, target.format(module=module))
    assert message in shown
    assert "Traceback" not in shown


def test_no_file_of_effects(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input: a missing file is named."""
    shown = error(capsys, f"{module}:tools", "--effects", "gone.json")
    assert "gone.json: No such file" in shown


@pytest.mark.parametrize(("name", "raised"), [("fails", "NameError"), ("leaves", "SystemExit")])
def test_an_error_of_the_users_own(
    name: str, raised: str, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the user's code fails, the end of its own traceback is shown, and nothing of ours."""
    shown = error(capsys, f"{module}:{name}")
    assert f"Calling {module}:{name} failed" in shown
    assert raised in shown
    assert f"in {name}" in shown
    assert "loading.py" not in shown


def test_a_module_that_fails_to_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An import inside of the user's module that fails is shown with its line."""
    (tmp_path / "imports_what_is_gone.py").write_text("x = 1\nimport no_such_thing_at_all\n")
    shown = error(capsys, "imports_what_is_gone:tools")
    assert "imports_what_is_gone.py" in shown
    assert "line 2" in shown
    assert "No module named 'no_such_thing_at_all'" in shown
    assert "loading.py" not in shown


def test_strict_and_ignore(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--strict` turns warnings into exit code 1; notes and ignored codes do not count."""
    assert main([f"{module}:tools"]) == 0
    assert main([f"{module}:tools", "--strict"]) == 1
    assert main([f"{module}:tools", "--strict", "--ignore", "A030"]) == 0
    assert main([f"{module}:node", "--strict"]) == 0
    capsys.readouterr()
    assert "A999; the codes are A001" in error(capsys, f"{module}:tools", "--ignore", "A999")


def test_effects_for_unknown_tools_are_a_finding(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt name in the mapping is found, with the name that is near."""
    (tmp_path / "labels.json").write_text('{"serch": {}}')
    found = data(capsys, f"{module}:tools", "--effects", "labels.json", "--strict", code=1)
    [finding] = [f for f in found["findings"] if f["code"] == "A002"]
    assert finding["tools"] == ["serch"]
    assert "'search'" in finding["advice"]


def test_the_table(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report for people: a table in columns, the pairs, then warnings and notes with places."""
    main([f"{module}:tools"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "tool       reads        writes       more  from",
        "read_file  fs:{path}    nothing      -     @effects",
        "search     everything?  everything?  -     none",
    ]
    assert lines[4] == (
        "Pairs of calls in two messages: 1 never wait for each other, 0 depending on arguments, "
        "2 always."
    )
    assert lines[6] == "Warnings:"
    assert lines[7] == f"  A030 search ({module}.py:17)"
    assert "Notes:" in lines
    assert max(map(len, lines)) <= 100


def test_no_warnings(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is wrong the report says so."""
    main([f"{module}:node", "--ignore", "A022"])
    assert capsys.readouterr().out.rstrip().endswith("No warnings.")
