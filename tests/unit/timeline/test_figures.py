"""The figures of a run: what is known of simple ones, and what holds for all."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given

from langchain_asyncfc.timeline.critical import critical_path
from langchain_asyncfc.timeline.figures import Figures, extra_replies, figures_of
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait
from tests.unit.timeline.records import loops


def _reply(start: float, end: float, *calls: str, **more: str | int) -> Reply:
    tools = tuple("await_future" if call.startswith("await") else "work" for call in calls)
    return Reply(start, end, calls=calls, tools=tools, **more)  # type: ignore[arg-type]


def _run(call: str, issued: float, start: float, end: float, **more: object) -> ToolRun:
    more = {"future": call} | more
    return ToolRun(call, "work", issued, start, end, **more)  # type: ignore[arg-type]


def _close(figures: Figures, **parts: float) -> None:
    for name, value in parts.items():
        assert getattr(figures, name) == pytest.approx(value), name


def test_a_synchronous_run_takes_what_it_takes() -> None:
    """Of a run of ToolNode nothing was saved."""
    tools = (_run("a", 1, 1, 3, delivered=3), _run("b", 1, 1, 4, delivered=4))
    record = RunRecord((_reply(0, 1, "a", "b"), _reply(4, 5)), tools, 5)
    figures = figures_of(record)
    _close(figures, wall=5, synchronous=5, decoding=2, running=3, both=0, idle=0, saved=0)
    _close(figures, one_at_a_time=7, critical=5, extra_replies=0)
    assert [type(span).__name__ for span in figures.path] == ["Reply", "ToolRun", "Reply"]


def test_parts_of_an_overlapping_run() -> None:
    """Two tools of two messages beside each other and beside decoding, and a turn that awaits."""
    tools = (_run("a", 1, 1, 6, delivered=6), _run("b", 2, 2, 6, delivered=6))
    replies = (_reply(0, 1, "a"), _reply(1, 2, "b"), _reply(2, 3, "await"), _reply(6, 7))
    figures = figures_of(RunRecord(replies, tools, 7))
    # Synchronously: 1 + 5 + 1 + 4 + 1, and no turn to await.
    _close(figures, synchronous=12, saved_by_overlap=2, saved_by_parallel=4)
    _close(figures, spent_on_extra_turns=1, spent_on_order=0, extra_replies=1, critical=7)


def test_order_inside_of_a_message() -> None:
    """Calls of one message that waited for each other would have run at once in ToolNode."""
    waits = (Wait(1, 3, "WAW on fs:/a", "a"),)
    tools = (_run("a", 1, 1, 3, delivered=5), _run("b", 1, 3, 5, waits=waits, delivered=5))
    figures = figures_of(RunRecord((_reply(0, 1, "a", "b"), _reply(5, 6)), tools, 6))
    _close(figures, synchronous=4, spent_on_order=2, waited=1)
    assert [span.start for span in figures.path] == [0, 1, 3, 5]


def test_calls_that_tool_node_ran_itself() -> None:
    """Calls that never became futures took what they took, also where threads were short."""
    tools = tuple(_run(name, 1, at, at + 2, future="") for name, at in (("a", 1), ("b", 3)))
    figures = figures_of(RunRecord((_reply(0, 1, "a", "b"), _reply(5, 6)), tools, 6))
    _close(figures, synchronous=6, spent_on_order=0, one_at_a_time=6)
    assert figures.headline() == "6.0 s, synchronous: nothing overlapped"
    assert "this run was one: nothing overlapped" in str(figures)


def test_a_run_without_calls() -> None:
    """There is nothing that could have overlapped."""
    assert figures_of(RunRecord((_reply(0, 1),), (), 1)).headline() == "1.0 s"


def test_a_turn_that_ended_too_early_is_an_extra_one() -> None:
    """The model answered while a call was to come, and was called again with its outcome."""
    replies = (_reply(0, 1, "a"), _reply(1, 2), _reply(4, 5))
    record = RunRecord(replies, (_run("a", 1, 1, 4, delivered=4),), 5)
    assert extra_replies(record) == {1}


def test_an_answer_is_not_an_extra_turn() -> None:
    """Neither is one after which another run began, which delivered what was left."""
    replies = (_reply(0, 1, "a"), _reply(1, 2), _reply(4, 5, run=1))
    record = RunRecord(replies, (_run("a", 1, 1, 4, delivered=4),), 5)
    assert extra_replies(record) == set()


def test_a_reply_that_failed_is_not_an_extra_turn() -> None:
    """A synchronous run would have had it too."""
    replies = (_reply(0, 1, "a"), _reply(1, 2, failed=True), _reply(4, 5))
    record = RunRecord(replies, (_run("a", 1, 1, 4, delivered=4),), 5)
    assert extra_replies(record) == set()


def test_runs_beside_each_other() -> None:
    """Two runs of one timeline at the same time do not overlap with each other's decoding."""
    replies = (_reply(0, 1, "a", run=1), _reply(3, 4, run=1), _reply(1, 3, "b", run=2))
    tools = (_run("a", 1, 1, 3, run=1, delivered=3), _run("b", 3, 3, 4, run=2))
    figures = figures_of(RunRecord(replies, tools, 4))
    _close(figures, synchronous=4, saved_by_overlap=0, saved_by_parallel=0)


def test_a_long_agent_beside_two_short_ones() -> None:
    """All three ran at the same time, so only the longest of them counts."""
    agents = (("a:1", 0, 10), ("b:1", 1, 3), ("c:1", 5, 8))
    replies = tuple(
        reply
        for agent, start, end in agents
        for reply in (
            _reply(start, start + 0.5, agent, agent=agent),
            _reply(start + 0.5, end, agent=agent),
        )
    )
    tools = tuple(
        _run(agent, start + 0.5, start + 0.5, end, agent=agent) for agent, start, end in agents
    )
    figures = figures_of(RunRecord(replies, tools, 10))
    _close(figures, saved_by_overlap=9.5, synchronous=19.5)


def test_the_path_stays_with_its_agent() -> None:
    """A reply did not wait for what another agent was told at the same moment."""
    replies = (
        _reply(0, 1, "a", agent="a:1"),
        _reply(0, 2, "b", agent="b:1"),
        _reply(4, 6, agent="a:1"),
        _reply(4, 5, agent="b:1"),
    )
    tools = (
        _run("a", 1, 1, 3, agent="a:1", delivered=4),
        _run("b", 2, 2, 4, agent="b:1", delivered=4),
    )
    path = critical_path(RunRecord(replies, tools, 6))
    assert {span.agent for span in path} == {"a:1"}


def test_agents_beside_each_other() -> None:
    """Of two agents that ran at the same time the one counts that would have ended last."""
    replies = tuple(
        dataclasses.replace(reply, agent=agent)
        for agent, tool in (("a:1", 2.0), ("b:1", 4.0))
        for reply in (_reply(0, 1, agent), _reply(1, 2), _reply(1 + tool, 2 + tool))
    )
    tools = tuple(
        _run(agent, 1, 1, 1 + tool, delivered=1 + tool, agent=agent)
        for agent, tool in (("a:1", 2.0), ("b:1", 4.0))
    )
    figures = figures_of(RunRecord(replies, tools, 6))
    _close(figures, saved_by_overlap=1, spent_on_extra_turns=1, synchronous=6, extra_replies=2)


def test_what_a_tool_runs_is_a_part_of_its_time() -> None:
    """A subagent's replies and calls inside of a tool do not count a second time."""
    inner = (_reply(1, 2, "b", within="a"), _reply(3, 4, within="a"))
    replies = (_reply(0, 1, "a"), *inner, _reply(4, 5))
    tools = (_run("a", 1, 1, 4, delivered=4), _run("b", 2, 2, 3, delivered=3, within="a"))
    figures = figures_of(RunRecord(replies, tools, 5))
    _close(figures, synchronous=5, decoding=2, running=3, both=0, critical=5, replies=4)


def test_nothing_recorded() -> None:
    """An empty record has figures too."""
    figures = figures_of(RunRecord((), (), 0.0))
    _close(figures, wall=0, synchronous=0, speedup=1, critical=0)
    assert figures.headline() == "Nothing that took time was recorded"
    assert figures.share(1.0) == 0.0


def test_the_text_has_all_parts() -> None:
    """The summary names the times, and says which parts make the difference."""
    tools = (_run("a", 1, 1, 6, delivered=6),)
    replies = (_reply(0, 1, "a"), _reply(1, 2, "await"), _reply(6, 6.5))
    figures = figures_of(RunRecord(replies, tools, 6.5))
    assert figures.headline() == "6.5 s; a synchronous run would have taken 6.5 s"
    assert figures.parts() == ("1.0 s saved by overlap with decoding, 1.0 s spent on extra turns")
    lines = str(figures).splitlines()
    assert lines[0].split() == [
        "wall",
        "time",
        *["6.50", "s", "3", "replies,", "1", "tool", "call,", "0", "of", "them", "waited"],
    ]
    assert any(line.endswith("1 reply") for line in lines)


@given(loops())
def test_the_parts_add_up(record: RunRecord) -> None:
    """What was saved and spent makes up the difference; no part is negative."""
    figures = figures_of(record)
    saved = figures.saved_by_overlap + figures.saved_by_parallel
    spent = figures.spent_on_order + figures.spent_on_extra_turns
    assert figures.synchronous == pytest.approx(figures.wall + saved - spent)
    shown = (saved, spent, figures.saved_by_overlap, figures.spent_on_order, figures.idle)
    assert min(*shown, figures.saved_by_parallel, figures.spent_on_extra_turns) >= -1e-9
    worked = figures.decoding + figures.running - figures.both
    assert figures.wall == pytest.approx(worked + figures.idle)
    assert figures.one_at_a_time >= figures.synchronous - 1e-9


@given(loops())
def test_the_synchronous_run_is_the_sum_of_its_phases(record: RunRecord) -> None:
    """Added up from the other side: kept replies, the longest call of each message, the rest."""
    figures = figures_of(record)
    extra = extra_replies(record)
    kept = sum(r.end - r.start for n, r in enumerate(record.replies) if n not in extra)
    longest: dict[float, float] = {}
    owners = {call: n for n, reply in enumerate(record.replies) for call in reply.calls}
    for tool in record.tools:
        owner = owners[tool.call]
        longest[owner] = max(longest.get(owner, 0.0), tool.end - tool.start)
    assert figures.synchronous == pytest.approx(kept + sum(longest.values()) + figures.idle)


@given(loops())
def test_the_critical_path_is_a_chain(record: RunRecord) -> None:
    """Its spans follow each other, end with the last of all, and are no longer than the run."""
    path = critical_path(record)
    assert path
    assert all(one.end <= other.start for one, other in itertools.pairwise(path))
    spans = [*record.replies, *(tool for tool in record.tools if tool.end > tool.start)]
    assert path[-1].end == max(span.end for span in spans)
    assert figures_of(record).critical <= record.end + 1e-9
