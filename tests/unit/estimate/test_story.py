from __future__ import annotations

import pytest

from langchain_asyncfc.estimate import read_data
from langchain_asyncfc.estimate.dataflow import hopeful
from langchain_asyncfc.estimate.simulation import as_it_was, with_asyncfc
from langchain_asyncfc.estimate.story import Job, tell
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait
from tests.unit.estimate.traces import run, two_searches


def test_a_run_is_told_as_it_was() -> None:
    """Told again under the old rules, each span is where it was."""
    [trace] = read_data(two_searches())
    told = as_it_was(tell(trace.record))
    assert [(r.start, r.end) for r in told.replies] == [(0, 1), (3, 4), (6, 7)]
    assert [(t.start, t.end) for t in told.tools] == [(1, 3), (4, 6)]
    assert told.end == 7


def test_time_of_other_steps_is_kept() -> None:
    """What lies before the first reply, between a tool and the next reply, and at the end."""
    runs = two_searches()
    for late in runs[3:]:
        for name in ("start_time", "end_time"):
            late[name] = late[name].replace("08:53:2", "08:54:2")
    runs[0]["end_time"] = runs[0]["end_time"].replace("08:53", "08:55")
    [trace] = read_data(runs)
    story = tell(trace.record)
    assert [step.lead for step in story.steps] == [0, 60, 0]
    assert story.tail == 60
    assert as_it_was(story).end == 127
    assert with_asyncfc(story, hopeful(story), {}).end == pytest.approx(127 - 2 + 0.01 + 5 / 60)


def test_the_users_time_does_not_count() -> None:
    """From an answer to the next reply it is the user who takes the time."""
    record = RunRecord((Reply(0, 1), Reply(100, 101)), (), 101)
    assert as_it_was(tell(record)).end == 2


def test_a_call_of_unknown_time_does_not_make_its_message_an_answer() -> None:
    """Its time is part of what lies before the next reply."""
    runs = two_searches()
    runs[4]["end_time"] = None
    [trace] = read_data(runs)
    story = tell(trace.record)
    assert [len(step.jobs) for step in story.steps] == [1, 0, 0]
    assert [step.answers for step in story.steps] == [False, False, True]
    assert as_it_was(story).end == 7


def test_failed_replies_are_time_before_the_next() -> None:
    """A call of the model that was tried again."""
    record = RunRecord((Reply(0, 2, failed=True), Reply(3, 4)), (), 4)
    [step] = tell(record).steps
    assert (step.lead, step.decode) == (3, 1)


def test_waits_are_no_part_of_the_lag() -> None:
    """A run that overlapped already: what a call waited for is not waited for twice."""
    tools = (ToolRun("a", "t", 1, 3.5, 4, waits=(Wait(1, 3, "reference"),)),)
    story = tell(RunRecord((Reply(0, 1, calls=("a",)), Reply(1.5, 2)), tools, 4))
    assert list(story.jobs) == [Job(1, "t", {}, 0.5, 0.5, call="a")]
    assert "overlapped them already" in story.notes[-1]


def test_calls_of_the_runtimes_own_tools_are_left_out() -> None:
    """`await_future` is no tool of the user's, and `await_result` no argument."""
    tools = (
        ToolRun("a", "t", 1, 1, 2, {"x": 1, "await_result": True}),
        ToolRun("b", "await_future", 1, 1, 2),
    )
    story = tell(RunRecord((Reply(0, 1, calls=("a", "b")),), tools, 2))
    assert [(job.tool, job.args) for job in story.jobs] == [("t", {"x": 1})]


@pytest.mark.parametrize(
    ("replies", "seconds"),
    [
        ([Reply(0, 3, first_token=1, output_tokens=100)], 0.02),
        ([Reply(0, 1 + n / 50, output_tokens=n) for n in (10, 20, 60)], 0.02),
        ([Reply(0, 2, output_tokens=100)], 0.02),
        ([Reply(0, 2)], 1 / 60),
    ],
    ids=["first token", "line", "all", "none"],
)
def test_what_a_token_takes(replies: list[Reply], seconds: float) -> None:
    """From the first token on; else by a line through the replies; else by all their time."""
    assert tell(RunRecord(tuple(replies), (), 3)).token == pytest.approx(seconds)


def test_runs_of_a_helper_model_are_time_between_replies() -> None:
    """A call of a model without tool calls, in the middle, is no answer."""
    helper = run("llm", "guard", 3, 3.5, id="guard", outputs={"generations": [[{"text": "fine"}]]})
    runs = two_searches()
    runs[3]["start_time"] = runs[3]["start_time"] + ".500000"
    [trace] = read_data([*runs, helper])
    assert [step.lead for step in tell(trace.record).steps] == [0, 0.5, 0]
    assert any("without tool calls, before the last" in note for note in trace.notes)
