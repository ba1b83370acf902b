"""How steps answer: the options of a node or a middleware, as far as steps need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from langchain_asyncfc.toolbox import Toolbox

__all__ = ["Delivery", "OnFinal", "Policy"]

Delivery = Literal["in_place", "append"]
OnFinal = Literal["review", "settle", "detach"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a node answers.

    Attributes:
        toolbox: Its tools.
        grace: Seconds that a step waits for calls that may be fast.
        delivery: Where outcomes go.
        on_final: What happens at the end of a turn with futures unfinished.
        may_end: Whether the graph asks after the step if the turn is over, so that it need not
            call the model again.
        strict: Whether the model is bound to strict schemas.
        native: Whether outputs of calls that the model made as asynchronous ones are shown to it
            when they come (see `native`).
        reduced_keys: Keys of the state that are known to have a reducer.
        all_keys_known: Whether the other keys are known to have none.
        journal: Whether outcomes are noted in the graph's store, if it has one.
        slow: Names of tools whose last call took longer than `grace`; kept by the steps.
    """

    toolbox: Toolbox
    grace: float
    delivery: Delivery
    on_final: OnFinal
    may_end: bool = False
    strict: bool = False
    native: bool = False
    reduced_keys: frozenset[str] = frozenset({"messages"})
    all_keys_known: bool = False
    journal: bool = True
    slow: set[str] = field(default_factory=set)
