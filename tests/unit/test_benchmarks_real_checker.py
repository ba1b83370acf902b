"""BFCL's verdict on what really happened, one run apart from the next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("bfcl_eval")
pytest.importorskip("mpmath")

import mpmath

from benchmarks.real.checker import Acted, Verdict, verdict
from benchmarks.real.questions import WORKLOADS, Question, drawn, tool_name
from benchmarks.workloads.bfcl import module

UNFAIR = {"parallel_multiple_26"}
"""Tasks whose first accepted answer the checker itself refuses."""


def truth(question: Question) -> list[Acted]:
    """The calls of the ground truth."""
    plan = question.plan
    return [
        Acted(turn, tool_name(plan.calls[k].tool), plan.calls[k].args)
        for turn, calls in enumerate(plan.turns)
        for k in calls
    ]


def find(workload: str, name: str) -> Question:
    [question] = [q for q in WORKLOADS[workload]() if q.name == name]
    return question


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_ground_truth_of_every_task_is_right(workload: str) -> None:
    """All tasks of all workloads, judged one after another in one process."""
    wrong = {q.name for q in WORKLOADS[workload]() if not verdict(q, truth(q)).valid}
    assert wrong == (UNFAIR if workload == "W3" else set())


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_call_too_few_is_wrong(workload: str) -> None:
    """Without its last call no task is done."""
    assert not any(verdict(q, truth(q)[:-1]).valid for q in drawn(workload, 50))


def test_order_of_acting_counts() -> None:
    """The same calls are wrong where they took effect in an order that changes what they do."""
    question = find("W1", "multi_turn_base_0")
    calls = truth(question)
    assert [call.tool for call in calls[:2]] == ["cd", "mkdir"]
    found = verdict(question, [calls[1], calls[0], *calls[2:]])
    assert found == Verdict(False, "multi_turn:instance_state_mismatch")


def test_calls_belong_to_their_turn() -> None:
    """A call that takes effect a turn too late is wrong in the turn that needed it."""
    question = find("W1", "multi_turn_base_0")
    calls = truth(question)
    late = [replace(calls[-1], turn=0), *calls[:-1]]
    assert not verdict(question, late).valid


def test_a_verdict_leaves_nothing_behind() -> None:
    """Instances, mutable defaults and mpmath's precision are as before, also after wrong runs."""
    api = module("bfcl_eval.eval_checker.multi_turn_eval.func_source_code.posting_api").TwitterAPI
    utils = module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils")
    before = set(vars(utils)), mpmath.mp.dps
    questions = [q for q in WORKLOADS["W1"]() if "TwitterAPI" in q.entry["involved_classes"]][:20]
    for question in questions:
        tweets = [
            Acted(0, "post_tweet", {"content": "once"}),
            Acted(0, "mention", {"tweet_id": 10, "mentioned_usernames": ["@them"]}),
        ]
        assert not verdict(question, tweets).valid
        assert verdict(question, truth(question)).valid
    exact = [Acted(0, "logarithm", {"value": 2, "base": 10, "precision": 40})]
    question = next(q for q in WORKLOADS["W1"]() if "MathAPI" in q.entry["involved_classes"])
    assert not verdict(question, exact).valid
    assert (set(vars(utils)), mpmath.mp.dps) == before
    assert api.post_tweet.__defaults__ == ([], [])


RUN = "__import__('os').environ.__setitem__('WAS_RUN', 'yes')"


@pytest.mark.parametrize(
    "args",
    [
        {f"folder='nowhere'), {RUN}, dict(b": 1},
        {f"folder'}}), {RUN}, dict({{'b": 1},
        {"folder": f"'), {RUN}, str('"},
        {"": None},
        {"self": 1},
    ],
)
def test_what_a_model_writes_is_never_run(
    args: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and values of arguments stay data, however they look."""
    monkeypatch.delenv("WAS_RUN", raising=False)
    question = find("W1", "multi_turn_base_0")
    calls: Sequence[Acted] = [Acted(0, "cd", args), *truth(question)]
    assert verdict(question, calls).valid
    assert "WAS_RUN" not in os.environ


def test_an_unknown_function_is_wrong() -> None:
    """Parallel calls are compared by name and by value."""
    question = next(q for q in WORKLOADS["W3"]() if "." in q.entry["function"][0]["name"])
    calls = truth(question)
    assert verdict(question, calls).valid
    assert not verdict(question, [replace(calls[0], tool="other"), *calls[1:]]).valid
    assert not verdict(question, [*calls, calls[0]]).valid
