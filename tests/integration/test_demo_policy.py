"""The demo's played engineer: it acts on what it was sent and on nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.repair.history import calls_of, placeholder
from examples.repair.knowledge import FIXES
from examples.repair.policy import decide
from examples.repair.workspace import CASES, PROJECT
from examples.scripted.replies import Action, Reply
from examples.scripted.wire import Request, parse

TESTS = [f"tests/test_{case}.py" for case in CASES]
SYMPTOMS = {
    "backoff": ["assert None == 'ok'", "assert [1, 2, 3] == [1, 2, 4]"],
    "cache": ["assert 'abc' is None"],
    "limiter": ["assert 6 == 3"],
    "worker": ["TimeoutError: 2 jobs are not done"],
    "server": ["relay.errors.UnknownJob: 8"],
}
"""What the tests of each module show, before the first fix, after it, and so on."""

TOOLS = ("list_files", "read_file", "grep", "run_tests", "apply_edit", "git_diff")


def tool_schemas(await_result: bool, await_future: bool) -> list[dict[str, Any]]:
    properties = {"await_result": {"enum": [True, "all"]}} if await_result else {}
    names = [*TOOLS, "await_future"] if await_future else TOOLS
    return [
        {
            "type": "function",
            "function": {"name": name, "parameters": {"properties": properties}},
        }
        for name in names
    ]


@dataclass
class Talk:
    """A conversation with the policy in which the test decides what is answered and when.

    Results are those of running the calls one by one in the order in which they were made.
    """

    tests: list[str] = field(default_factory=lambda: list(TESTS))
    await_result: bool = False
    await_future: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    edits: list[tuple[str, str]] = field(default_factory=list)
    said: Reply = field(default_factory=lambda: Reply(""))

    def __post_init__(self) -> None:
        self.messages.append({"role": "user", "content": f"Repair {', '.join(self.tests)}."})

    def request(self) -> Request:
        tools = tool_schemas(self.await_result, self.await_future)
        return parse({"model": "any", "messages": self.messages, "tools": tools})

    def turn(self) -> list[str]:
        """Let the policy speak; return the ids of its calls, which are then pending."""
        self.said = decide(self.request())
        start = len(self.results)
        ids = [f"call_{start + place}" for place, _ in enumerate(self.said.actions, 1)]
        message: dict[str, Any] = {"role": "assistant", "content": self.said.text}
        if ids:
            message["tool_calls"] = [
                {
                    "id": one,
                    "type": "function",
                    "function": {"name": a.name, "arguments": json.dumps(a.arguments)},
                }
                for one, a in zip(ids, self.said.actions, strict=True)
            ]
        self.messages.append(message)
        for one, action in zip(ids, self.said.actions, strict=True):
            self.results[one] = self.run(action)
            pending = f"{one.replace('call', 'future')} is running."
            answer = {"role": "tool", "tool_call_id": one, "content": pending}
            self.messages.append(answer)
        return ids

    def deliver(self, *ids: str) -> None:
        """Put the results in the place of placeholders."""
        for message in self.messages:
            if message.get("tool_call_id") in ids:
                message["content"] = self.results[message["tool_call_id"]]

    def sync_turn(self) -> tuple[Action, ...]:
        """Let the policy speak and answer at once, as `ToolNode` does."""
        self.deliver(*self.turn())
        return self.said.actions

    def run(self, action: Action) -> str:
        path = action.arguments.get("path", "")
        case = path.removeprefix("tests/test_").removeprefix("relay/").removesuffix(".py")
        if action.name == "list_files":
            return "\n".join([*self.tests, "relay/store.py"])
        if action.name == "read_file":
            return (PROJECT / f"{path}.txt").read_text()
        if action.name == "apply_edit":
            self.edits.append((path, action.arguments["new"]))
            return f"edited {path}"
        if action.name == "run_tests":
            left = SYMPTOMS[case][sum(edited == f"relay/{case}.py" for edited, _ in self.edits) :]
            return f"exit status 1\n{left[0]}" if left else "exit status 0\n2 passed"
        return f"output of {action.name}"


def names(actions: tuple[Action, ...]) -> list[str]:
    return [action.name for action in actions]


def test_it_starts_with_the_files() -> None:
    """Without a listing it knows no file."""
    assert names(Talk().sync_turn()) == ["list_files"]


def test_it_reproduces_and_reads_in_one_message() -> None:
    """What one step needs is asked for together."""
    talk = Talk()
    talk.sync_turn()
    assert talk.sync_turn() == (
        Action("run_tests", {"path": "tests/test_backoff.py"}),
        Action("read_file", {"path": "relay/backoff.py"}),
        Action("read_file", {"path": "tests/test_backoff.py"}),
    )


def test_it_finishes_one_file_before_the_next_when_results_are_there() -> None:
    """Synchronously: reproduce, edit, verify; again where a second fault comes to light."""
    talk = Talk(tests=TESTS[:2])
    turns = [names(talk.sync_turn()) for _ in range(11)]
    assert turns == [
        ["list_files"],
        ["run_tests", "read_file", "read_file"],
        ["apply_edit"],
        ["run_tests"],
        ["apply_edit"],
        ["run_tests"],
        ["run_tests", "read_file", "read_file"],
        ["apply_edit"],
        ["run_tests"],
        ["git_diff"],
        [],
    ]
    assert talk.said.text.startswith("2 of 2 test files pass.")


def test_a_pending_run_is_not_repeated() -> None:
    """It goes on with the next file while the first one's tests run."""
    talk = Talk()
    talk.sync_turn()
    _, *reads = talk.turn()
    talk.deliver(*reads)
    talk.turn()
    assert talk.said.actions[0] == Action("run_tests", {"path": "tests/test_cache.py"})


def test_a_result_that_arrives_is_acted_on_first() -> None:
    """A repair comes before a new file."""
    talk = Talk()
    talk.sync_turn()
    talk.deliver(*talk.turn())
    talk.turn()
    assert talk.said.actions == (
        Action(
            "apply_edit",
            {"path": "relay/backoff.py", "old": FIXES[0].old, "new": FIXES[0].new},
        ),
    )


def test_tests_are_started_while_the_edit_is_pending() -> None:
    """Calls take effect in the order in which they were made."""
    talk = Talk()
    talk.sync_turn()
    talk.sync_turn()
    talk.turn()
    talk.turn()
    assert talk.said.actions == (Action("run_tests", {"path": "tests/test_backoff.py"}),)


def test_an_edit_that_failed_is_no_edit() -> None:
    """It gives the file up and says so, rather than running the tests for nothing."""
    talk = Talk(tests=TESTS[:1])
    talk.sync_turn()
    talk.sync_turn()
    edit = talk.turn()
    talk.results[edit[0]] = "Error: old stands in relay/backoff.py 0 times instead of once"
    talk.deliver(*edit)
    assert names(talk.sync_turn()) == ["git_diff"]
    assert talk.sync_turn() == ()
    assert "- relay/backoff.py: I did not find the cause." in talk.said.text


def test_it_waits_for_a_file_that_is_still_being_read() -> None:
    """The output alone is not enough for a repair."""
    talk = Talk(tests=TESTS[:1], await_future=True)
    talk.sync_turn()
    run, module, _ = talk.turn()
    talk.deliver(run)
    talk.turn()
    futures = [module.replace("call", "future")]
    assert talk.said.actions == (Action("await_future", {"futures": futures}),)


def test_an_unknown_symptom_leads_to_no_edit() -> None:
    """It repairs only what it understands."""
    talk = Talk(tests=TESTS[:1])
    talk.sync_turn()
    run, *reads = talk.turn()
    talk.results[run] = "exit status 1\nSegmentation fault"
    talk.deliver(run, *reads)
    while talk.sync_turn():
        pass
    assert talk.edits == []
    assert talk.said.text.startswith("0 of 1 test files pass.")


def test_a_symptom_without_its_cause_leads_to_no_edit() -> None:
    """The text to replace has to stand in the file that was read."""
    talk = Talk(tests=TESTS[:1])
    talk.sync_turn()
    run, module, test = talk.turn()
    talk.results[module] = "def retry(): ..."
    talk.deliver(run, module, test)
    assert names(talk.sync_turn()) == ["git_diff"]


def test_it_looks_up_what_it_is_not_sure_of() -> None:
    """The server's repair comes after a grep."""
    talk = Talk(tests=[TESTS[4]])
    turns = [names(talk.sync_turn()) for _ in range(6)]
    assert turns[2:5] == [["grep"], ["apply_edit"], ["run_tests"]]


def test_with_nothing_else_to_do_it_waits_on_the_call() -> None:
    """`await_result` is used if offered, on the call whose result comes last."""
    talk = Talk(tests=TESTS[:1], await_result=True)
    assert talk.sync_turn() == (Action("list_files", {"await_result": True}),)
    first, *others = talk.sync_turn()
    assert first.arguments["await_result"] is True
    assert all("await_result" not in action.arguments for action in others)
    assert "await_result" not in talk.sync_turn()[0].arguments
    assert talk.sync_turn()[0].arguments["await_result"] is True


def test_with_something_else_to_do_it_does_not_wait() -> None:
    """As long as another file can be worked on, no call is waited for."""
    talk = Talk(tests=TESTS[:2], await_result=True)
    talk.sync_turn()
    assert all("await_result" not in action.arguments for action in talk.sync_turn())


def test_with_a_failure_on_its_way_it_does_not_wait() -> None:
    """What another file's tests say may be there first."""
    talk = Talk(tests=TESTS[:2], await_result=True)
    talk.sync_turn()
    _, *reads = talk.turn()
    talk.deliver(*reads)
    assert all("await_result" not in action.arguments for action in talk.sync_turn())


def test_with_the_last_runs_it_waits_for_all() -> None:
    """Before the answer every file has to be green."""
    talk = Talk(tests=TESTS[1:3], await_result=True)
    for _ in range(3):
        talk.sync_turn()
    talk.turn()
    for _ in range(2):
        talk.sync_turn()
    last = Action("run_tests", {"path": "tests/test_limiter.py", "await_result": "all"})
    assert talk.sync_turn() == (last,)


def test_it_does_not_use_what_is_not_offered() -> None:
    """Without control tools it ends its turn; the node then waits for it."""
    talk = Talk(tests=TESTS[:1])
    talk.sync_turn()
    _, *reads = talk.turn()
    talk.deliver(*reads)
    assert talk.turn() == []
    assert talk.said == Reply("I wait for the results that are still to come.")


def test_it_awaits_the_oldest_future_that_it_lacks() -> None:
    """One result is enough to go on, so it does not wait for all."""
    talk = Talk(tests=TESTS[:2], await_future=True)
    talk.sync_turn()
    run, *reads = talk.turn()
    talk.deliver(*reads)
    talk.turn()
    talk.turn()
    futures = [run.replace("call", "future")]
    assert talk.said.actions == (Action("await_future", {"futures": futures}),)


def test_it_answers_only_when_all_is_done() -> None:
    """The diff is looked at after the last run was green, and comes before the answer."""
    talk = Talk(tests=TESTS[1:2], await_future=True)
    for _ in range(3):
        talk.sync_turn()
    run = talk.turn()
    assert names(talk.said.actions) == ["run_tests"]
    talk.turn()
    assert names(talk.said.actions) == ["await_future"]
    talk.deliver(*run)
    diff = talk.turn()
    assert names(talk.said.actions) == ["git_diff"]
    talk.turn()
    assert names(talk.said.actions) == ["await_future"]
    talk.deliver(*diff)
    assert talk.turn() == []
    assert talk.said.text == (
        "1 of 1 test files pass.\n- relay/cache.py: reading does not renew a value"
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), await_result=st.booleans(), await_future=st.booleans())
def test_however_late_results_come_the_repair_is_the_same(
    data: st.DataObject, await_result: bool, await_future: bool
) -> None:
    """With any delays: valid histories, no call twice, nothing not offered, all green."""
    talk = Talk(await_result=await_result, await_future=await_future)
    late: set[str] = set()
    for _ in range(60):
        ids = talk.turn()
        asked = talk.said.actions
        if asked and asked[0].name == "git_diff":
            runs = [call for call in calls_of(talk.request().messages) if call.name == "run_tests"]
            assert not any(call.pending for call in runs)
        if not asked and not late:
            break
        late |= set(ids)
        if not asked:
            # The turn ended too early: the node waits, and makes it a call to await_future.
            talk.messages.pop()
        waits = not asked or any(a.name in {"await_future", "list_files"} for a in asked)
        flagged = any("await_result" in action.arguments for action in asked)
        assert await_result or not flagged
        assert await_future or "await_future" not in names(asked)
        waits |= flagged
        arrived = late if waits else data.draw(st.sets(st.sampled_from(sorted(late))))
        talk.deliver(*arrived)
        late -= arrived
    else:
        pytest.fail("it does not come to an end")
    edited = {fix.new for fix in FIXES}
    assert len(talk.edits) == len(edited)
    assert {new for _, new in talk.edits} == edited
    assert talk.said.text.startswith("5 of 5 test files pass.")
    calls = [(call.name, json.dumps(call.arguments)) for call in calls_of(talk.request().messages)]
    starts = [call for call in calls if call[0] in {"read_file", "grep", "apply_edit"}]
    assert len(starts) == len(set(starts))
    assert sum(name == "run_tests" for name, _ in calls) == len(TESTS) + len(FIXES)


def test_results_may_ride_on_a_later_message() -> None:
    """The placeholder stays; the result stands behind another one, after the future's id."""
    talk = Talk()
    talk.sync_turn()
    run, *reads = talk.turn()
    talk.deliver(*reads)
    future = run.replace("call", "future")
    last = talk.messages[-1]
    last["content"] += f"\n\n[{future}] {talk.results[run]}\n\n[future_99] another"
    calls = {call.position: call for call in calls_of(talk.request().messages)}
    assert (calls[1].future, calls[1].result) == (future, talk.results[run])
    assert calls[3].result == talk.results[reads[1]]
    assert names(talk.sync_turn()) == ["apply_edit"]


@pytest.mark.parametrize(
    ("content", "future"),
    [
        ("future_3 is running.", "future_3"),
        ("future_12 is still running; do not repeat the call.", "future_12"),
        ("exit status 0\n2 passed", None),
        ("log of yesterday: future_3 is running", None),
        ("", None),
    ],
)
def test_placeholders_are_told_from_results(content: str, future: str | None) -> None:
    """Only a text that begins with a future's state is one."""
    assert placeholder(content) == future
