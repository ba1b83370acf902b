"""What a scripted model says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Action:
    """A tool call to make.

    Attributes:
        name: The tool.
        arguments: Its arguments.
        id: The call's id; if it is `None`, the service numbers it in the conversation.
    """

    name: str
    arguments: dict[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says: some text, then calls; without calls its turn ends."""

    text: str
    actions: tuple[Action, ...] = ()
