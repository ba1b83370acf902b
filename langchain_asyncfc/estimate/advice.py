"""Which tools deserve labels: what labelling each would gain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_asyncfc.effects import UNDECLARED, Effects
from langchain_asyncfc.estimate.story import Job, Story

__all__ = ["Advice", "advise"]

_WRITING: Final = frozenset(
    [
        "add",
        "append",
        "apply",
        "book",
        "buy",
        "cancel",
        "change",
        "clear",
        "commit",
        "copy",
        "create",
        "delete",
        "deploy",
        "drop",
        "edit",
        "execute",
        "exec",
        "insert",
        "install",
        "merge",
        "modify",
        "move",
        "order",
        "patch",
        "pay",
        "post",
        "publish",
        "push",
        "put",
        "remove",
        "rename",
        "replace",
        "reply",
        "reset",
        "run",
        "save",
        "send",
        "set",
        "shell",
        "submit",
        "transfer",
        "update",
        "upload",
        "write",
    ]
)
"""Words in a tool's name that say that it changes something."""
_UNKNOWN: Final = frozenset(
    ["bash", "command", "exec", "execute", "python", "repl", "run", "shell", "sql", "terminal"]
)
"""Words in a tool's name that say that it may do anything."""
_PLACES: Final = (
    ("fs", ("path", "file_path", "filepath", "filename", "file", "directory", "folder")),
    ("db", ("table", "table_name", "collection")),
    ("web", ("url", "uri")),
)
"""Names of arguments that name a resource, and what it is called."""

Seconds = Callable[[Mapping[str, Effects]], float]
"""What all stories take with these effects, in seconds."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What labelling one tool is worth.

    Attributes:
        tool: Its name.
        calls: How often it was called.
        seconds: That its calls took.
        alone: Seconds that are saved if it alone is labelled as reading and writing nothing.
        gain: Seconds that it saves on top of those before it in the list.
        line: A line of code to begin with. What it says has to be checked.
    """

    tool: str
    calls: int
    seconds: float
    alone: float
    gain: float
    line: str


def advise(
    stories: Sequence[Story], effects: Mapping[str, Effects], seconds: Seconds
) -> list[Advice]:
    """The tools without declared effects, in the order in which to label them.

    The next is always the one that saves most with those before it labelled; where none saves
    anything by itself, the one that ran longest.

    Args:
        stories: What happened.
        effects: What is declared already.
        seconds: What they take with given effects.
    """
    jobs: dict[str, list[Job]] = {}
    for story in stories:
        for job in story.jobs:
            if job.tool not in effects or not effects[job.tool].declared:
                jobs.setdefault(job.tool, []).append(job)
    before = seconds(effects)
    spent = {tool: sum(job.seconds for job in found) for tool, found in jobs.items()}
    alone = {t: before - seconds({**effects, t: pure(effects.get(t))}) for t in jobs}
    labelled = dict(effects)
    now = before
    advice: list[Advice] = []
    left = set(jobs)
    while left:
        times = {t: seconds({**labelled, t: pure(effects.get(t))}) for t in left}
        tool = min(left, key=lambda t: (round(times[t], 9), -spent[t], t))
        advice.append(
            Advice(
                tool,
                len(jobs[tool]),
                spent[tool],
                alone[tool],
                now - times[tool],
                first_line(tool, jobs[tool]),
            )
        )
        labelled[tool], now = pure(effects.get(tool)), times[tool]
        left.discard(tool)
    return advice


def pure(effects: Effects | None) -> Effects:
    """The same tool, if it read and wrote nothing."""
    return replace(effects or UNDECLARED, reads=(), writes=())


def first_line(tool: str, jobs: Iterable[Job]) -> str:
    """A line of code to begin with, from the names of a tool and its arguments alone."""
    words = set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", tool).lower()))
    place = _place([job.args for job in jobs])
    if words & _UNKNOWN:
        return "leave it unlabelled, unless each call has a sandbox of its own: @effects()"
    if words & _WRITING:
        path = place or f"{next(iter(words - _WRITING - {''}), 'it')}:"
        return f'@effects(reads="{path}", writes="{path}")'
    if place is not None and place.startswith(("fs:", "db:")):
        return f'@effects(reads="{place}")'
    return "@effects()  # if nothing that it reads is written by your tools"


def _place(calls: Sequence[Mapping[str, Any]]) -> str | None:
    """The resource that the arguments name, where each call names it."""
    for kind, names in _PLACES:
        for name in names:
            if calls and all(name in args for args in calls):
                return f"{kind}:{{{name}}}"
    return None
