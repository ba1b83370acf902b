"""B*: the least time in which the messages of a task can be decoded and its calls run.

The chain of decoding: call k starts after its own decoding and after everything that it depends
on, and what has to be read is there before the call that needs it is decoded. An answer is
decoded after all results of its turn. No order of work that decodes the same messages and runs all
of their calls is faster. (Equal calls that write nothing may be joined, by rule 15.)
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.pace import ANSWER_TOKENS, TOKENS_PER_SECOND, TTFT, Pace, decode
from benchmarks.workloads.tasks import Task

Batches = Sequence[Sequence[Sequence[int]]]
"""For each turn its messages, and for each message its calls."""


def one_by_one(task: Task) -> Batches:
    """Every call in a message of its own."""
    return [[[k] for k in turn] for turn in task.turns]


def bound(task: Task, times: Pace, deps: Sequence[frozenset[int]], batches: Batches) -> float:
    """B* for these messages, in seconds.

    Args:
        task: The task.
        times: The times of the run.
        deps: What each call depends on.
        batches: The messages.
    """
    now = 0.0
    end: dict[int, float] = {}
    for turn in batches:
        for message in turn:
            now = max([now, *(end[i] for k in message for i in task.calls[k].sees)])
            now += decode(sum(times.tokens[k] for k in message))
            for k in message:
                end[k] = max([now, *(end[i] for i in deps[k])]) + times.seconds[k]
        now = max([now, *end.values()]) + decode(ANSWER_TOKENS)
    return now


def eager_bound(task: Task, times: Pace, deps: Sequence[frozenset[int]]) -> float:
    """The same where a turn's calls stand in one message and each starts while it is decoded.

    A new message begins only where a call needs a result to be read.
    """
    now = 0.0
    end: dict[int, float] = {}
    for turn in task.turns:
        opens = True
        for k in turn:
            read = max((end[i] for i in task.calls[k].sees), default=0.0)
            if opens or task.calls[k].sees.intersection(turn):
                now = max(now, read) + TTFT
            opens = False
            now += times.tokens[k] / TOKENS_PER_SECOND
            end[k] = max([now, *(end[i] for i in deps[k])]) + times.seconds[k]
        now = max([now, *end.values()]) + decode(ANSWER_TOKENS)
    return now


def synchronous(times: Pace, batches: Batches) -> float:
    """The time of waiting for each message's calls before the next message, in seconds."""
    now = 0.0
    for turn in batches:
        for message in turn:
            now += decode(sum(times.tokens[k] for k in message))
            now += max(times.seconds[k] for k in message)
        now += decode(ANSWER_TOKENS)
    return now
