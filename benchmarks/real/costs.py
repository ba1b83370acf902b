"""What the runs will take, guessed from the ground truth before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from benchmarks.pace import ANSWER_TOKENS
from benchmarks.players import FLAG_TOKENS
from benchmarks.real.episodes import Job
from benchmarks.real.offers import Offer
from benchmarks.workloads.tasks import replay

_CHARACTERS: Final = 4
"""A token, in English text and JSON."""

_PER_CALL: Final = 12
"""Tokens around a call and its answer: roles, ids, separators."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of requests and of what the model wrote."""

    input: int = 0
    output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.input + other.input, self.output + other.output)


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars a million tokens."""

    input: float
    output: float

    def of(self, tokens: Tokens) -> float:
        """What tokens cost, in US dollars; what a service takes off for its cache is not known."""
        return (tokens.input * self.input + tokens.output * self.output) / 1e6


def estimate(job: Job, offer: Offer) -> Tokens:
    """What a run takes where the model makes the calls of the ground truth, one a message."""
    plan = job.question.plan
    results, _ = replay(plan)
    head = _length(offer.tools) + _length(offer.instructions or "")
    history = total_in = total_out = 0
    extra = 0 if job.way == "a" else FLAG_TOKENS
    for text, calls in zip(job.question.turns, plan.turns, strict=True):
        history += _length(text)
        for k in calls:
            call = plan.calls[k]
            written = _length(call.tool) + _length(json.dumps(call.args)) + _PER_CALL + extra
            total_in += head + history
            total_out += written
            history += written + _length(json.dumps(results[k], default=str)) + _PER_CALL
        total_in += head + history
        total_out += ANSWER_TOKENS
        history += ANSWER_TOKENS
    return Tokens(total_in, total_out)


def total(tokens: Iterable[Tokens]) -> Tokens:
    """The sum."""
    return sum(tokens, Tokens())


def in_words(tokens: Tokens, prices: Prices | None) -> str:
    """Tokens, and what they cost where that is known."""
    text = f"{tokens.input:,} tokens in and {tokens.output:,} out"
    return text if prices is None else f"{text}, {prices.of(tokens):,.2f} USD"


def _length(text: str) -> int:
    return len(text) // _CHARACTERS
