"""What an audit finds: a stable code, what is odd, which tools it is about, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["CODES", "Finding", "Level"]


class Level(StrEnum):
    """How much a finding weighs."""

    WARNING = "warning"  # a mistake, or what looks very much like one
    NOTE = "note"  # may be just as it is meant


_W, _N = Level.WARNING, Level.NOTE

CODES: Final[dict[str, tuple[Level, str]]] = {
    "A001": (_W, "a node refuses these labels"),
    "A002": (_W, "labels for a tool that does not exist"),
    "A003": (_W, "two tools have one name"),
    "A010": (_W, "labelled as a reader, named like a writer"),
    "A011": (_W, "labelled as a reader, and the MCP hints say that it changes something"),
    "A012": (_W, "the MCP hints contradict each other"),
    "A013": (_W, "an argument that names a path is in no label"),
    "A014": (_W, "it runs what the model writes, and the labels are narrow"),
    "A015": (_W, "a label with `..` in it"),
    "A016": (_W, "declared idempotent, and named like what adds up"),
    "A017": (_W, "it calls `interrupt()` and is not declared `foreground`"),
    "A020": (_W, "two names of resources that differ by little"),
    "A021": (_W, "one name is only read, another only written, and they may be one thing"),
    "A022": (_N, "what it reads is written by no labelled tool"),
    "A023": (_N, "what it writes concerns no other labelled tool"),
    "A024": (_N, "paths as arguments: one spelling for one file"),
    "A030": (_W, "undeclared beside declared tools"),
    "A031": (_W, "no tool declares what it reads and writes"),
    "A032": (_N, "a template over an argument that may be left out"),
    "A033": (_W, "a template over an argument that never names a resource"),
    "A034": (_N, "a label that stands for everything"),
    "A035": (_N, "MCP hints that nobody trusts"),
    "A040": (_N, "lost in a crash, and perhaps it could be run again"),
    "A041": (_N, "its calls never run in the background"),
    "A042": (_N, "irrevocable, and not a fence"),
}
"""Each code with its level and what it stands for. Codes keep their meaning for good."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is worth a look.

    Attributes:
        code: A key of `CODES`.
        tools: The names of the tools that it is about.
        what: What was found.
        advice: What to do about it.
        where: Where the tools are written, as `file.py:12`; empty where that is not known.
    """

    code: str
    tools: tuple[str, ...]
    what: str
    advice: str
    where: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        """How much it weighs."""
        return CODES[self.code][0]

    @property
    def title(self) -> str:
        """What the code stands for."""
        return CODES[self.code][1]
