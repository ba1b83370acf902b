r"""References to futures inside a call's arguments: find them, put values where they stood.

The notation, which a model writes into string arguments:

- A whole string that is a future id, optionally with a path: `future_3`,
  `future_3.items[0].id`, `future_3["a key"]`. The value takes its place with its type kept.
- `${future_3.title}` inside a longer string is replaced by the value's text. Standing alone it
  means the same as without the braces.
- A backslash in front makes it a literal: `\future_3` is the text `future_3`, and
  `\${future_3}` the text `${future_3}`. One backslash is taken away, so more of them can be kept.

Any other text is left alone: `${HOME}`, `future_plans` and `future_3 is done` are literals.

The path looks up keys of mappings, indices of sequences and declared fields of data objects
(pydantic models, dataclasses, named tuples). Where the value is a text that holds a JSON object
or array, the path goes into it. A query language such as JMESPath does not fit here: it answers
`null` for a path that is not there, and a model must be told (rule 14).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from langchain_asyncfc.errors import MalformedReference, ReferencePathError
from langchain_asyncfc.values import shown

__all__ = ["Reference", "Site", "find_references", "lookup", "substitute", "text_of"]

Location = tuple[str | int, ...]

_WHOLE = re.compile(r"future_([0-9]{1,9})((?:[.\[].*)?)\Z", re.DOTALL)
# Without the lookbehind a match would be tried from each backslash of a run, which takes time with
# the square of their number.
_EMBEDDED = re.compile(r"(?<!\\)(\\*)\$\{\s*future_([0-9]{1,9})([^{}]*)\}")
_ESCAPED = re.compile(r"\\+future_[0-9]{1,9}(?:[.\[].*)?\Z", re.DOTALL)
_STEP = re.compile(
    r"""\.(?P<name>[^\s.\[\]"']+) | \[(?P<index>-?[0-9]{1,9})\]
      | \["(?P<double>[^"\]]*)"\] | \['(?P<single>[^'\]]*)'\]""",
    re.VERBOSE,
)
_MARK = "future_"
_NO_TEXT = frozenset({int, float, bool, type(None)})
_CONTAINERS = (Mapping, list, tuple)
_SHOWN = 60  # characters of a text that an error message quotes


@dataclass(frozen=True, slots=True)
class Reference:
    """A future's ordinal and the path into its value."""

    ordinal: int
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        steps = "".join(
            f"[{s}]" if isinstance(s, int) else f".{s}" if s.isidentifier() else f'["{s}"]'
            for s in self.path
        )
        return f"future_{self.ordinal}{steps}"


@dataclass(frozen=True, slots=True)
class Site:
    """A string in the arguments that holds references or escapes.

    Attributes:
        location: Keys and indices that lead to the string.
        parts: Texts and references in turn. A single reference stands for a whole argument.
    """

    location: Location
    parts: tuple[str | Reference, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references at this site, from left to right."""
        return tuple(part for part in self.parts if isinstance(part, Reference))


def find_references(args: Mapping[str, Any]) -> tuple[Site, ...]:
    """Find every reference and every escaped one in a call's arguments.

    Raises:
        MalformedReference: When a string starts as a reference does and its path does not parse.
            The message names the string and its place.
    """
    if all(type(v) in _NO_TEXT or (type(v) is str and _MARK not in v) for v in args.values()):
        return ()  # most calls: nothing has to be walked through
    sites = []
    for location, text in _strings(args, ()):
        if _MARK in text:
            parts = _parse(text, location)
            if parts != (text,):
                sites.append(Site(location, parts))
    return tuple(sites)


def holds_references(args: Mapping[str, Any]) -> bool:
    """Whether there are references in a call's arguments, also escaped or malformed ones."""
    try:
        return bool(find_references(args))
    except MalformedReference:
        return True


def _strings(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    """Every string below `value`, with its place; without recursion, so depth cannot break it.

    What holds itself is not gone into again.
    """
    stack: list[tuple[Location, Any]] = [(location, value)]
    last_seen: dict[int, Location] = {}
    while stack:
        where, item = stack.pop()
        if isinstance(item, str):
            yield where, item
        elif isinstance(item, _CONTAINERS):
            above = last_seen.get(id(item))
            if above is not None and where[: len(above)] == above:
                continue
            last_seen[id(item)] = where
            stack.extend(_items(where, item))


def _items(where: Location, item: Any) -> Iterator[tuple[Location, Any]]:
    """What a container holds, from the last to the first."""
    if isinstance(item, Mapping):
        return (((*where, key), below) for key, below in reversed(list(item.items())))
    return (((*where, i), item[i]) for i in range(len(item) - 1, -1, -1))


def _parse(text: str, location: Location) -> tuple[str | Reference, ...]:
    whole = _WHOLE.match(text)
    if whole and not re.search(r"\s", _unquoted(whole[2])):
        return (Reference(int(whole[1]), _path(whole[2], text, location)),)
    if _ESCAPED.match(text):
        return (text[1:],)
    parts: list[str | Reference] = []
    end = 0
    for match in _EMBEDDED.finditer(text):
        before, slashes = text[end : match.start()], match[1]
        if slashes:
            parts.append(before + slashes[1:] + match[0][len(slashes) :])
        else:
            parts.append(before)
            parts.append(Reference(int(match[2]), _path(match[3].rstrip(), text, location)))
        end = match.end()
    parts.append(text[end:])
    return _merged(parts)


def _merged(parts: list[str | Reference]) -> tuple[str | Reference, ...]:
    """Join neighbouring texts and drop empty ones, so that a lone reference is one part."""
    merged: list[str | Reference] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    return tuple(merged) or ("",)


def _unquoted(path: str) -> str:
    return re.sub(r"""\["[^"\]]*"\]|\['[^'\]]*'\]""", "", path)


def _path(path: str, text: str, location: Location) -> tuple[str | int, ...]:
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            msg = (
                f"Malformed reference {shown(text)} in argument {place(location)}: cannot read "
                f"{shown(path[position:])}. Write a reference as future_3, future_3.items[0].id or "
                'future_3["a key"]; put a backslash in front if it is meant literally.'
            )
            raise MalformedReference(msg)
        name, index, double, single = match.group("name", "index", "double", "single")
        steps.append(int(index) if index is not None else name or double or single or "")
        position = match.end()
    return tuple(steps)


def place(location: Location) -> str:
    """A readable name of a place in the arguments, such as `'filter.ids[0]'`."""
    text = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in location)
    return shown(text.removeprefix("."))


def lookup(value: Any, reference: Reference) -> Any:
    """Follow a reference's path into a future's value.

    Raises:
        ReferencePathError: When the path is not in the value. The message says how far it led
            and what stands there.
    """
    here = value
    for taken, step in enumerate(reference.path):
        here = _opened(here)
        try:
            here = _step(here, step)
        except (LookupError, TypeError, ValueError, AttributeError):
            reached = Reference(reference.ordinal, reference.path[:taken])
            msg = f"{reference} cannot be read: {reached} is {_described(here)}."
            raise ReferencePathError(msg) from None
    return here


def _opened(value: Any) -> Any:
    """A JSON text's content, where there is a structure in it to go into."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _fields(value: Any) -> Sequence[str] | None:
    """The declared fields of a data object; nothing else of an object can be reached."""
    if isinstance(value, BaseModel):
        return [*type(value).model_fields, *type(value).model_computed_fields]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(value._fields)
    return None


def _step(value: Any, step: str | int) -> Any:
    if isinstance(value, Mapping):
        key = step if step in value else str(step)
        if key not in value:
            raise KeyError(key)  # and not what `__missing__` would make up
        return value[key]
    fields = _fields(value)
    if fields is not None and step in fields:
        return getattr(value, str(step))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return value[int(step)]
    raise TypeError


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        names = ", ".join(map(shown, list(value)[:20]))
        return f"an object with the keys {names}" if names else "an empty object"
    fields = _fields(value)
    if fields is not None:
        return f"a {type(value).__name__} with the fields {', '.join(map(repr, fields))}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"a list of {len(value)} items"
    if isinstance(value, str):
        return "a text" if len(value) > _SHOWN else f"the text {value!r}"
    return f"of type {type(value).__name__}"


def text_of(value: Any) -> str:
    """The text of a value: a string as it is, anything else as JSON, or `str()` of it."""
    if isinstance(value, str):
        return value
    try:
        if isinstance(value, BaseModel):
            return value.model_dump_json()
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def substitute(
    args: Mapping[str, Any],
    sites: Sequence[Site],
    value_of: Callable[[Reference], Any],
    wants_text: Callable[[Location], bool] = lambda _: False,
) -> dict[str, Any]:
    """Copy the arguments with values in place of references, and escapes undone.

    Only the containers on the way to a site are copied; a value is put in as the object it is.

    Args:
        args: The arguments in which `sites` were found.
        sites: From `find_references`.
        value_of: Gives the value that a reference means.
        wants_text: Whether the parameter at a place takes only text, so that a scalar becomes
            its text.
    """
    copied: dict[str, Any] = dict(args)
    fresh: set[int] = {id(copied)}
    for site in sites:
        holder: Any = copied
        for step in site.location[:-1]:
            below = holder[step]
            if id(below) not in fresh:
                below = list(below) if isinstance(below, list | tuple) else dict(below)
                holder[step] = below
                fresh.add(id(below))
            holder = below
        holder[site.location[-1]] = _filled(site, value_of, wants_text)
    return copied


def _filled(
    site: Site, value_of: Callable[[Reference], Any], wants_text: Callable[[Location], bool]
) -> Any:
    if len(site.parts) == 1 and isinstance(site.parts[0], Reference):
        value = value_of(site.parts[0])
        if isinstance(value, int | float | bool) and wants_text(site.location):
            return text_of(value)
        return value
    return "".join(
        text_of(value_of(part)) if isinstance(part, Reference) else part for part in site.parts
    )
