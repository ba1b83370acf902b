"""The simulation against real runs of the same scripts, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_asyncfc.estimate.dataflow import careful, hopeful
from langchain_asyncfc.estimate.simulation import Needs, as_it_was, with_asyncfc
from langchain_asyncfc.estimate.story import Job, Step, Story, tell
from tests.unit.estimate.plays import EFFECTS, TOOLS, Play, Scene, perform


@st.composite
def plays(draw: st.DrawFn) -> Play:
    """Random scripts: no two calls are equal, and no two times meet."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    messages, number = [], 0
    for size in sizes:
        before, scenes = number, []
        for _ in range(size):
            number += 1
            earlier = st.none() | st.integers(1, before) if before else st.none()
            seconds = draw(st.sampled_from([0.0013, 0.0077, 0.25, 1.1, 2.9, 6.3]))
            scenes.append(
                Scene(
                    draw(st.sampled_from(TOOLS)),
                    seconds + 0.000317 * number,
                    draw(st.sampled_from("ab")),
                    takes=draw(earlier),
                    quotes=draw(earlier),
                )
            )
        messages.append(tuple(scenes))
    # A result is a value or a sentence, never both.
    quoted = {scene.quotes for message in messages for scene in message}
    plain = tuple(
        tuple(
            Scene(s.tool, s.seconds, s.key, None if s.takes in quoted else s.takes, s.quotes)
            for s in message
        )
        for message in messages
    )
    tokens = draw(st.lists(st.integers(40, 80), min_size=len(plain), max_size=len(plain)))
    return Play(plain, tuple(tokens))


@settings(max_examples=40, deadline=None)
@given(plays(), st.booleans(), st.booleans())
def test_the_estimate_is_what_a_run_takes(play: Play, labelled: bool, cautious: bool) -> None:
    """From a run with `ToolNode`, the time of the same run with `AsyncFCToolNode` is told."""
    effects = EFFECTS if labelled else {}
    recorded = perform(play)
    story = tell(recorded)
    assert as_it_was(story).end == pytest.approx(recorded.end, abs=1e-9)
    needs = careful(story) if cautious else hopeful(story)
    told = with_asyncfc(story, needs, effects)
    truth = perform(play, asyncfc=True, careful=cautious, effects=effects)
    assert told.end == pytest.approx(truth.end, abs=1e-9)
    starts = {run.call: run.start for run in truth.tools}
    assert {run.call: run.start for run in told.tools} == pytest.approx(starts, abs=1e-9)
    assert [r.end for r in told.replies] == pytest.approx([r.end for r in truth.replies], abs=1e-9)


def test_a_hazard_shrinks_when_the_value_is_known() -> None:
    """A reader of a shelf that an earlier result names waits for the result, then for no writer."""
    story = Story(
        (
            Step(1, (Job(1, "writer", {"key": "a"}, 10),)),
            Step(1, (Job(2, "free", {}, 3),)),
            Step(1, (Job(3, "reader", {"key": "b"}, 1),)),
        )
    )
    needs = Needs(references={3: {"key": frozenset({2})}})
    told = with_asyncfc(story, needs, EFFECTS, grace=0)
    assert [run.start for run in told.tools] == [1, 2, 5]
    assert [wait.after for wait in told.tools[2].waits] == ["future_2"]
    # What a picture of it calls an extra turn is a reply that only waited; here none did.
    assert [reply.tools for reply in told.replies if reply.calls] == [
        ("writer",),
        ("free",),
        ("reader",),
    ]
