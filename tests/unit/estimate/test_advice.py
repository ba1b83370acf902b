from __future__ import annotations

from collections.abc import Mapping

import pytest

from langchain_asyncfc import Effects
from langchain_asyncfc.estimate import Trace, estimate
from langchain_asyncfc.estimate.advice import first_line
from langchain_asyncfc.estimate.story import Job
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun


def one_by_one(*tools: tuple[str, float]) -> Trace:
    """A run that calls these tools in turn, decoding a second each time."""
    replies, runs, now = [], [], 0.0
    for number, (tool, seconds) in enumerate(tools):
        call = f"c{number}"
        replies.append(Reply(now, now + 1, calls=(call,)))
        now += 1
        args = {"number": number}
        runs.append(ToolRun(call, tool, now, now, now + seconds, args))
        now += seconds
    replies.append(Reply(now, now + 1))
    return Trace(RunRecord(tuple(replies), tuple(runs), now + 1))


def test_the_tool_that_saves_most_stands_first() -> None:
    """Gains in turn add up to what all labels together save."""
    trace = one_by_one(("slow", 5), ("quick", 1.5), ("slow", 5), ("quick", 1.5))
    found = estimate([trace], {})
    assert [one.tool for one in found.advice] == ["slow", "quick"]
    assert [one.calls for one in found.advice] == [2, 2]
    assert [one.seconds for one in found.advice] == [10, 3]
    assert found.labelled is not None
    total = found.labelled.hopeful - found.most.hopeful
    assert sum(one.gain for one in found.advice) == pytest.approx(total)
    assert total > 5


def test_two_tools_that_are_worth_something_together() -> None:
    """Alone neither saves anything; the list still says to label both."""
    trace = one_by_one(("a", 4), ("b", 4))
    a, b = estimate([trace]).advice
    assert (a.alone, b.alone) == pytest.approx((0, 0))
    assert a.gain + b.gain == pytest.approx(3, abs=0.1)


def test_labelled_tools_need_no_advice() -> None:
    """Also those that are declared to touch something."""
    trace = one_by_one(("a", 4), ("b", 4))
    found = estimate([trace], {"a": Effects(writes="x:"), "b": Effects(reads="x:")})
    assert found.advice == ()


def test_several_runs_are_summed() -> None:
    """Times and advice count all of them."""
    trace = one_by_one(("a", 4), ("a", 4))
    single, double = estimate([trace]), estimate([trace, trace])
    assert double.before == 2 * single.before
    assert double.unlabelled.hopeful == pytest.approx(2 * single.unlabelled.hopeful)
    assert double.most.careful == pytest.approx(2 * single.most.careful)
    assert double.advice[0].gain == pytest.approx(2 * single.advice[0].gain)
    assert single.labelled is None


@pytest.mark.parametrize(
    ("tool", "args", "line"),
    [
        ("web_search", {"query": "x"}, "@effects()"),
        ("read_file", {"path": "a"}, '@effects(reads="fs:{path}")'),
        ("writeFile", {"path": "a"}, '@effects(reads="fs:{path}", writes="fs:{path}")'),
        ("delete_event", {"id": 1}, '@effects(reads="event:", writes="event:")'),
        ("run_shell", {"command": "ls"}, "leave it unlabelled"),
        ("fetch", {"url": "http://x"}, "@effects()"),
    ],
)
def test_lines_to_begin_with(tool: str, args: Mapping[str, object], line: str) -> None:
    """Guessed from the names of a tool and of its arguments."""
    assert first_line(tool, [Job(1, tool, args, 1.0)]).startswith(line)
