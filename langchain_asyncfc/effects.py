"""What a tool reads and writes, as its developer declares it.

A resource is a path of levels separated by `/`, with an optional `name:` as the first level:
`fs:/src/a.py` is `("fs:", "src", "a.py")`. A path stands for everything below it; the empty path
(`/`) stands for everything there is. Paths are compared after `.`, `..` and empty levels are
worked out, so `./src/../a.py` and `a.py` are one resource.

A path may be a template over the call's arguments: `fs:{path}`. With a list as the argument it
names one resource an item. While the argument is absent, or holds a reference that is not
finished, the template covers its parent path. A value that comes by reference must stay within
it: `..` cannot lead out of what other calls were ordered by.

Source: read and write labels over a tree of paths are AsyncFC's (arXiv 2605.15077).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final, TypeVar

__all__ = [
    "UNDECLARED",
    "Access",
    "Effects",
    "Levels",
    "access_of",
    "covers",
    "effects",
    "effects_of",
    "levels_of",
]

Levels = tuple[str, ...]

_ATTRIBUTE: Final = "_asyncfc_effects"
_NAME = re.compile(r"\A([A-Za-z][A-Za-z0-9_.+-]*:)(.*)\Z", re.DOTALL)
_MOST: Final = 1000
"""Resources that a template may come to: each is looked up among those of all other calls."""
_T = TypeVar("_T")


def _paths(given: str | Iterable[Any] | None, side: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    paths = (given,) if isinstance(given, str) else tuple(given)
    for path in paths:
        if not isinstance(path, str):
            msg = f"Effects: {side}={given!r} must hold paths as strings, not {path!r}."
            raise TypeError(msg)
        _placeholders(path)
    return paths


def _placeholders(path: str) -> list[str]:
    """The argument names in a template.

    Raises:
        ValueError: When the template does not parse or holds more than plain names.
    """
    try:
        fields = [field for field in Formatter().parse(path) if field[1] is not None]
    except ValueError as error:
        msg = f"Effects path {path!r} is no valid template: {error}. Write it as 'fs:{{path}}'."
        raise ValueError(msg) from error
    names = []
    for _, name, form, conversion in fields:
        if name is None or not name.isidentifier() or form or conversion:
            msg = (
                f"Effects path {path!r}: what stands in braces must be the plain name of an "
                "argument, as in 'fs:{path}'."
            )
            raise ValueError(msg)
        names.append(name)
    return names


@dataclass(frozen=True, slots=True)
class Effects:
    """What a tool reads and writes, and how its calls are to be treated.

    `Effects()` declares that a tool reads and writes nothing, so its calls never wait and are
    never waited for. With `reads=None, writes=None` the tool stays undeclared, and only the other
    fields are said: it is taken to read and write everything, but the calls of one message run
    side by side, as in `ToolNode`. With `"/"` on both sides it keeps its order there too.

    Attributes:
        reads: Resource paths that the tool reads; templates over its arguments are allowed.
        writes: Resource paths that it writes.
        fence: Wait for every earlier call, and start only if none of them failed.
        idempotent: Running it twice is as good as once. After a crash such a call runs again; one
            that writes and is not idempotent is delivered as lost.
        foreground: Never a future: references are resolved first, then it runs in the step.
            For tools that a human approves or that interrupt.
        ack: The model needs no value of it, only success.

    Raises:
        ValueError: When a path is no valid template.
        TypeError: When a path is no string.
    """

    reads: str | Iterable[str] | None = ()
    writes: str | Iterable[str] | None = ()
    fence: bool = False
    idempotent: bool = False
    foreground: bool = False
    ack: bool = False

    def __post_init__(self) -> None:
        """Bring both sides into the form of tuples."""
        object.__setattr__(self, "reads", _paths(self.reads, "reads"))
        object.__setattr__(self, "writes", _paths(self.writes, "writes"))

    @property
    def declared(self) -> bool:
        """Whether both sides are known."""
        return self.reads is not None and self.writes is not None

    @property
    def writes_nothing(self) -> bool:
        """Whether the tool is declared to write nothing."""
        return self.declared and not self.writes

    def arguments(self) -> dict[str, str]:
        """The arguments that the paths name, each with the first path that names it."""
        found: dict[str, str] = {}
        for path in (*(self.reads or ()), *(self.writes or ())):
            for name in _placeholders(path):
                found.setdefault(name, path)
        return found


UNDECLARED: Final = Effects(reads=None, writes=None)
"""The effects of a tool of which nothing is known."""


def effects(
    *,
    reads: str | Iterable[str] | None = (),
    writes: str | Iterable[str] | None = (),
    fence: bool = False,
    idempotent: bool = False,
    foreground: bool = False,
    ack: bool = False,
) -> Callable[[_T], _T]:
    """Declare the effects of a tool; a decorator above or below `@tool`.

    The arguments are those of [`Effects`][langchain_asyncfc.Effects]. The decorated object is
    returned as it is, with the declaration attached.

    Example:
        ```python
        @effects(reads="fs:{path}")
        @tool
        def read_file(path: str) -> str:
            "Read a file."
            return Path(path).read_text()
        ```

    Raises:
        ValueError: When a path is no valid template.
    """
    declared = Effects(reads, writes, fence, idempotent, foreground, ack)

    def attach(target: _T) -> _T:
        # Past pydantic's `__setattr__`, which refuses names that are no fields.
        if isinstance(target, type):
            setattr(target, _ATTRIBUTE, declared)
        else:
            object.__setattr__(target, _ATTRIBUTE, declared)
        return target

    return attach


def effects_of(tool: Any) -> Effects | None:
    """The effects attached to a tool, its function or its class; `None` where there are none."""
    for holder in (tool, getattr(tool, "func", None), getattr(tool, "coroutine", None)):
        found = getattr(holder, _ATTRIBUTE, None)
        if isinstance(found, Effects):
            return found
    return None


@dataclass(frozen=True, slots=True)
class Access:
    """The resources of one call.

    Attributes:
        reads: Resources read, as levels.
        writes: Resources written.
        exact: Whether every template was filled. One that was not covers its parent path, and
            shrinks when the argument is known.
    """

    reads: tuple[Levels, ...] = ()
    writes: tuple[Levels, ...] = ()
    exact: bool = True


def covers(wider: Access, narrower: Access) -> bool:
    """Whether everything that one access touches lies within the other, side by side."""
    return all(
        any(path[: len(above)] == above for above in aboves)
        for aboves, paths in ((wider.reads, narrower.reads), (wider.writes, narrower.writes))
        for path in paths
    )


def levels_of(path: str) -> Levels:
    """The levels of a path without templates: `fs:/src/a.py` → `("fs:", "src", "a.py")`."""
    match = _NAME.match(path)
    name, rest = (match[1], match[2]) if match else ("", path)
    levels: list[str] = []
    for level in rest.split("/"):
        if level == "..":
            del levels[-1:]
        elif level not in ("", "."):
            levels.append(level)
    return (name, *levels) if name else tuple(levels)


def access_of(declared: Effects, args: Mapping[str, Any], unknown: frozenset[str]) -> Access | None:
    """Fill the templates of a tool's effects with a call's arguments.

    Args:
        declared: The tool's effects.
        args: The call's arguments, finished references replaced by their values.
        unknown: Names of arguments that hold an unfinished reference.

    Returns:
        The call's resources; `None` for a tool with no declared effects.
    """
    if not declared.declared:
        return None
    known = {name: value for name, value in args.items() if name not in unknown}
    exact = True
    sides: list[tuple[Levels, ...]] = []
    for side in (declared.reads, declared.writes):
        found: dict[Levels, None] = {}
        for path in side or ():
            if "{" not in path and "}" not in path:
                found[levels_of(path)] = None
                continue
            names = _placeholders(path)
            # An argument that is merely absent stays absent: the access is as exact as it gets.
            exact = exact and not unknown.intersection(names)
            found.update(dict.fromkeys(_fill(path, names, known)))
        sides.append(tuple(found))
    return Access(sides[0], sides[1], exact)


def _fill(path: str, names: list[str], known: Mapping[str, Any]) -> list[Levels]:
    """Every resource that a template names with these arguments."""
    choices = [_texts(known.get(name)) for name in names]
    found = [choice for choice in choices if choice]
    if len(found) == len(names) and math.prod(map(len, found)) <= _MOST:
        rows = itertools.product(*found)
        return [levels_of(path.format(**dict(zip(names, row, strict=True)))) for row in rows]
    return [
        levels_of(_parent(path, {n for n, c in zip(names, choices, strict=True) if not c}, known))
    ]


def _texts(value: Any) -> list[str] | None:
    """An argument's value as resource names, or `None` when it names none, or too many."""
    if isinstance(value, str):
        return [value]
    texts: list[str] = []
    left = [value]
    for _ in range(2 * _MOST):  # a list may hold itself
        item = left.pop()
        if isinstance(item, list | tuple | set | frozenset):
            if not item:
                return None
            left.extend(reversed(list(item)))
        elif item is None or isinstance(item, Mapping):
            return None
        else:
            try:
                texts.append(str(item))
            except Exception:  # noqa: BLE001 - a huge number, or an object's own error
                return None
        if not left:
            return texts
    return None


def _parent(path: str, missing: set[str], known: Mapping[str, Any]) -> str:
    """The levels of a template before the first that holds a missing argument."""
    match = _NAME.match(path)
    name, rest = (match[1], match[2]) if match and "{" not in match[1] else ("", path)
    kept: list[str] = []
    for level in rest.split("/"):
        names = _placeholders(level)
        if missing.intersection(names):
            break
        filled = {n: _texts(known[n]) or [""] for n in names}
        if any(len(texts) > 1 for texts in filled.values()):
            break  # several parents: their common one
        kept.append(level.format(**{n: texts[0] for n, texts in filled.items()}))
    return name + "/".join(kept)
