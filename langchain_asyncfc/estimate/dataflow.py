"""Which results a model needed, and when: read from what it wrote after it had them.

What shows up in a later message and was not known before comes from a result. "Known" is what
users and the system said before, and what stands in the model's own messages up to the one that
made the call. There are three ways in which a result shows up:

- as a **value**: an argument, or a text inside a longer argument, is the whole result or a value in
  it (a leaf of its JSON). That can be given as a reference, so the model need not have read it.
- as a **quote**: an argument stands inside a longer text of the result, into which a reference has
  no way, or it is a value out of a list of several, of which the model has chosen one. Either way
  it must have read the result.
- as an **echo**: a word of the result stands in an argument or in the text of the message, however
  transformed the rest is.

From these come two readings, between which the truth may lie:

- *hopeful*: the model goes on unless there is a quote of an argument as a whole.
- *careful*: the model has read every result of which anything shows up, values too.

In both it has read an error before its next message. A model that decides by a result what to do
next without writing a word of it is not seen by either: then the truth lies below the careful one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_asyncfc.estimate.simulation import Needs
from langchain_asyncfc.estimate.story import Job, Story

__all__ = ["careful", "hopeful", "readings"]

_WORD: Final = re.compile(r"[^\W_](?:[\w.@/:+-]*\w)?")
_SHORTEST_WORD: Final = 4
"""Characters of a word that is taken to come from somewhere; shorter ones are everywhere."""
_SHORTEST_PART: Final = 4
"""Characters of a value that is looked for inside a longer text."""
_LONGEST: Final = 200_000
"""Characters of a result that are looked at."""
_COMMON: Final = frozenset(
    [
        "true",
        "false",
        "null",
        "none",
        "error",
        "errors",
        "result",
        "results",
        "value",
        "values",
        "status",
        "success",
        "found",
        "failed",
        "done",
        "name",
        "type",
        "data",
        "text",
        "file",
        "files",
        "list",
        "item",
        "items",
        "this",
        "that",
        "with",
        "from",
        "have",
        "will",
        "your",
        "they",
        "there",
        "their",
        "here",
        "what",
        "when",
        "where",
        "which",
        "were",
        "been",
        "into",
        "than",
        "then",
        "them",
        "these",
        "those",
        "more",
        "most",
        "some",
        "such",
        "only",
        "also",
        "other",
        "about",
        "after",
        "before",
        "because",
        "could",
        "would",
        "should",
        "does",
        "using",
        "used",
        "first",
        "next",
        "last",
        "each",
        "both",
        "between",
        "over",
        "under",
        "again",
        "all",
        "any",
        "and",
        "are",
        "but",
        "can",
        "for",
        "has",
        "its",
        "let",
        "may",
        "not",
        "now",
        "one",
        "out",
        "see",
        "the",
        "was",
        "yes",
        "you",
    ]
)
"""Words that show up anywhere, and so prove nothing."""


@dataclass(slots=True)
class _Result:
    """What can show up of a result: what was not known before the model had it."""

    job: Job
    text: str
    leaves: frozenset[str]
    choices: frozenset[str]
    words: frozenset[str]


@dataclass(slots=True)
class _Shows:
    """How results show up before each reply."""

    quotes: dict[int, set[int]] = field(default_factory=dict)
    echoes: dict[int, set[int]] = field(default_factory=dict)
    errors: dict[int, set[int]] = field(default_factory=dict)
    values: dict[int, dict[str, set[int]]] = field(default_factory=dict)


def readings(story: Story) -> tuple[Needs, Needs]:
    """What a model needs, read carefully and hopefully; results are looked through once."""
    shows = _look(story)
    return _careful(story, shows), _hopeful(shows)


def hopeful(story: Story) -> Needs:
    """What a model needs that passes on by reference whatever can be."""
    return readings(story)[1]


def careful(story: Story) -> Needs:
    """What a model needs that reads every result of which anything shows up."""
    return readings(story)[0]


def _hopeful(shows: _Shows) -> Needs:
    reads = _joined(shows.quotes, shows.errors)
    references = {
        number: {name: frozenset(earlier) for name, earlier in found.items()}
        for number, found in shows.values.items()
    }
    return Needs(reads, references)


def _careful(story: Story, shows: _Shows) -> Needs:
    step_of = {job.number: i for i, step in enumerate(story.steps) for job in step.jobs}
    copied: dict[int, set[int]] = {}
    for number, found in shows.values.items():
        copied.setdefault(step_of[number], set()).update(*found.values())
    return Needs(_joined(shows.quotes, shows.echoes, shows.errors, copied), {})


def _joined(*parts: Mapping[int, set[int]]) -> dict[int, frozenset[int]]:
    steps = {step for part in parts for step in part}
    return {step: frozenset[int]().union(*(p.get(step, ()) for p in parts)) for step in steps}


def _look(story: Story) -> _Shows:
    shows = _Shows()
    known = ""
    had: list[_Result] = []
    fresh: list[_Result] = []
    for index, step in enumerate(story.steps):
        known += f"\n{step.asked}"
        had += fresh
        failed = {result.job.number for result in fresh if result.job.failed}
        if failed:
            shows.errors[index] = failed
        for job in step.jobs:
            _look_at_args(job, index, had, shows)
        own = {*_words(step.text), *(w for job in step.jobs for w in _words(_json(job.args)))}
        echoed = {result.job.number for result in had if result.words & own}
        if echoed:
            shows.echoes[index] = echoed
        known += "\n".join(["", step.text, *(_json(job.args) for job in step.jobs)])
        fresh = _results(step.jobs, known)
    return shows


def _results(jobs: Iterable[Job], known: str) -> list[_Result]:
    familiar = frozenset(_words(known))
    found = []
    for job in jobs:
        text = job.result[:_LONGEST]
        telling = [one for one in _leaves(text) if _is_telling(one[0], known)]
        leaves = frozenset(leaf for leaf, chosen in telling if not chosen)
        choices = frozenset(leaf for leaf, chosen in telling if chosen) - leaves
        words = frozenset(_words(text)) - familiar - _COMMON
        found.append(_Result(job, text if text not in known else "", leaves, choices, words))
    return found


def _look_at_args(job: Job, index: int, had: list[_Result], shows: _Shows) -> None:
    for name, argument in job.args.items():
        for text in _texts(argument):
            number, quoted = _origin(text, had)
            if number is None:
                continue
            if quoted:
                shows.quotes.setdefault(index, set()).add(number)
            else:
                shows.values.setdefault(job.number, {}).setdefault(name, set()).add(number)


def _origin(text: str, had: list[_Result]) -> tuple[int | None, bool]:
    """The call that an argument comes from, and whether only as a quote; the latest, if several."""
    for result in reversed(had):
        if text in result.leaves or any(_is_part(leaf, text) for leaf in result.leaves):
            return result.job.number, False
        if text in result.choices:
            return result.job.number, True
    for result in reversed(had):
        words = frozenset(_words(text))
        if words and words <= result.words and text in result.text:
            return result.job.number, True
    return None, False


def _is_part(leaf: str, text: str) -> bool:
    """Whether a value stands inside a longer text, as words of its own."""
    if len(leaf) < _SHORTEST_PART or len(leaf) >= len(text):
        return False
    at = text.find(leaf)
    if at < 0:
        return False
    before, after = text[at - 1 : at], text[at + len(leaf) : at + len(leaf) + 1]
    return not before.isalnum() and not after.isalnum()


def _is_telling(leaf: str, known: str) -> bool:
    """Whether a value is no everyday one, and new."""
    text = leaf.strip()
    if len(text) < (2 if text.isdigit() else 3) or text.lower() in _COMMON:
        return False
    if text not in known:  # no pattern is made of a long result
        return True
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", known) is None


def _leaves(text: str) -> Iterator[tuple[str, bool]]:
    """The whole result, and each value in it if it is JSON, with whether it is one of several."""
    yield text.strip(), False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    stack: list[tuple[Any, bool]] = [(value, False)] if isinstance(value, dict | list) else []
    while stack:
        item, chosen = stack.pop()
        if isinstance(item, dict):
            stack.extend((inner, chosen) for inner in item.values())
        elif isinstance(item, list):
            stack.extend((inner, chosen or len(item) > 1) for inner in item)
        else:
            yield from ((leaf, chosen) for leaf in _texts(item))


def _texts(value: Any) -> Iterator[str]:
    """Every value inside, as text; without recursion, so that depth cannot break it."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, str):
            yield item.strip()
        elif item is not None and not isinstance(item, bool):
            yield str(item)


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text[:_LONGEST]):
        if len(match[0]) >= _SHORTEST_WORD or (match[0].isdigit() and len(match[0]) > 1):
            yield match[0].lower()


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
