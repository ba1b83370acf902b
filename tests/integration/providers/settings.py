"""The combinations of options under which a conversation is held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from tests.integration.providers.faces import FACES

Entry = Literal["invoke", "stream", "ainvoke", "astream"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One combination.

    Attributes:
        entry: The graph's entry point.
        delivery: As for the node.
        on_final: As for the node.
        face: What is tested: a key of `FACES`, or "plain" for LangGraph's own node.
        async_calls: As for the node.
    """

    entry: Entry = "invoke"
    delivery: str = "in_place"
    on_final: str = "review"
    face: str = "node"
    async_calls: str = "placeholder"

    def __str__(self) -> str:
        name = f"{self.face}-{self.entry}-{self.delivery}-{self.on_final}"
        return name if self.async_calls == "placeholder" else f"{name}-{self.async_calls}"


def each(*settings: Setting) -> pytest.MarkDecorator:
    """Run a test in these settings."""
    return pytest.mark.parametrize("setting", settings, ids=str)


# Each test runs in some of the combinations. Together the two tests of the end of a turn run the
# node in all of them, and the others cover every pair of options.
_ORDERS: list[tuple[Entry, Entry]] = [("invoke", "ainvoke"), ("ainvoke", "invoke")]

ENDS_OF_TURN = [
    [
        Setting(names[(number + turn) % 2], delivery, on_final, face)
        for face in FACES
        for turn, delivery in enumerate(["in_place", "append"])
        for number, on_final in enumerate(["review", "settle", "detach"])
        if face == "node" or (number + turn + half) % 2
    ]
    for half, names in enumerate(_ORDERS)
]

WITHIN_A_TURN = [
    Setting("invoke", "in_place", "review", "node"),
    Setting("ainvoke", "in_place", "detach", "node"),
    Setting("ainvoke", "append", "settle", "node"),
    *(Setting("ainvoke", "in_place", "review", face) for face in FACES if face != "node"),
]


def by_turns(first: Entry, second: Entry, on_final: str = "review") -> list[Setting]:
    """Both deliveries at two entry points, the other way round for the next face."""
    return [
        Setting(entry, delivery, on_final, face)
        for turn, face in enumerate(FACES)
        for entry, delivery in zip(
            (first, second), ("append", "in_place")[:: -1 if turn else 1], strict=True
        )
    ]
