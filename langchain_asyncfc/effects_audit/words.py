"""What the name of a tool, and the first words of its description, say that it does.

A name is no proof: what comes of it is a warning that a developer looks at, never a label.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "is_irrevocable",
    "reading_verb",
    "repeats_well",
    "same_thing",
    "words_of",
    "writing_verb",
]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


READ: Final = _set(
    "check compare count describe download explain extract fetch find get glob grep inspect "
    "list load lookup parse preview query read retrieve scan search select show stat summarise "
    "summarize tail validate view watch"
)
"""First words of tools that look and change nothing."""

WRITE: Final = _set(
    "add append apply approve archive assign ban cancel chmod chown clear click close commit copy "
    "create deactivate decrement delete deploy destroy disable drag drop edit enable erase "
    "execute fill give goto increment ingest insert install invite kill mark merge mkdir modify "
    "move mutate mv navigate overwrite patch pay persist press publish purchase push put rebase "
    "refund register reject remove rename replace reply reserve reset restart restore revoke rm "
    "rmdir rollback save schedule send store submit subscribe sync terminate toggle transfer "
    "truncate unassign uninstall unlock unsubscribe update upgrade upload upsert wipe write"
)
"""First words of tools that change something."""

AMBIGUOUS: Final = _set(
    "book charge email import index lock mail message note order post purge record release "
    "remember set start stop tag type vote"
)
"""Words that are verbs of change in front (`post_message`), and may be nouns behind."""

_PROTOCOLS: Final = _set("api http https requests rest")
"""Words after which an ambiguous one is the name of a method: `http_post`."""

_REPEATS: Final = _set(
    "archive clear close delete disable enable mark overwrite put remember remove replace save "
    "set store update upload upsert write"
)
"""Verbs after which a second time mostly finds all as it should be."""

_ADDS_UP: Final = _set(
    "add append book charge create deploy email insert invite mail message order pay post "
    "publish purchase refund reply schedule send submit transfer"
)
"""Verbs of which a second time mostly does a second thing."""

_IRREVOCABLE: Final = _set(
    "book charge deploy order pay publish purchase refund release transfer wipe"
)
"""Verbs that nobody wants to happen after a failure."""

_SAME: Final = (
    _set("disk dir directory disc file files filesystem folder fs path"),
    _set("database databases db sql sqlite postgres table tables"),
    _set("email emails gmail inbox mail mailbox mails"),
    _set("api http https rest url web"),
    _set("cal calendar events"),
    _set("git repo repository"),
    _set("browser chrome page tab"),
    _set("kv memory memories store"),
    _set("embeddings index vector vectors vectorstore"),
)
"""Names that people give to one thing."""


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: `getOrCreate_user` → `get or create user`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.lower() for word in re.findall(r"[A-Za-z]+", spaced)]


def verb_of(words: list[str]) -> str | None:
    """The first word that is a verb.

    An ambiguous one counts in front, before its object, and after the name of a protocol.
    """
    reads = READ.intersection(words)
    for place, word in enumerate(words):
        if word in READ or word in WRITE:
            return word
        if word in AMBIGUOUS and (
            place == 0 or words[place - 1] in _PROTOCOLS or (place < len(words) - 1 and not reads)
        ):
            return word
    return None


def writing_verb(name: str, description: str = "") -> str | None:
    """The verb by which a tool says that it changes something, if it does.

    The name counts first. Only one without any verb is asked for its description.
    """
    words = words_of(name)
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("and", "or", "then"):
            parts.append([])
        else:
            parts[-1].append(word)
    verbs = [verb for part in parts if (verb := verb_of(part))]
    if not verbs and description:
        first = words_of(next(iter(description.split()), ""))[:1]
        verbs = [form for word in first for form in _forms(word) if form in READ | WRITE][:1]
    return next((verb for verb in verbs if verb not in READ), None)


def reading_verb(name: str) -> str | None:
    """The verb by which a tool says that it only looks, if it does."""
    verb = verb_of(words_of(name))
    return verb if verb in READ and writing_verb(name) is None else None


def repeats_well(verb: str | None) -> bool | None:
    """Whether a second time does no harm: yes, no, or nobody knows."""
    if verb in _REPEATS:
        return True
    return False if verb in _ADDS_UP else None


def is_irrevocable(verb: str | None) -> bool:
    """Whether this is mostly not to happen after a failure."""
    return verb in _IRREVOCABLE


def same_thing(one: str, other: str) -> bool:
    """Whether two names of resources are common names of one thing."""
    return any({one, other} <= group for group in _SAME)


def _forms(word: str) -> list[str]:
    """A verb as it may stand in a description: `Deletes`, `Writes`, `Delete`."""
    return [word, word.removesuffix("s"), word.removesuffix("es")]
