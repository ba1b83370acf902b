"""A conversation in a form of no provider's own: what policies read and answer with.

Each server reads its requests into this form, after it has checked them, and writes a policy's
`Reply` in its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that the model has made.

    Attributes:
        id: Its id; Gemini's calls have none on the wire, so its server makes one from the place.
        name: The tool.
        args: What it was called with.
    """

    id: str
    name: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Assistant:
    """What the model has said and called in one turn."""

    text: str
    calls: tuple[Asked, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """What the user has said."""

    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a call was answered with."""

    call: Asked
    text: str


Entry: TypeAlias = User | Assistant | Result


@dataclass(frozen=True, slots=True)
class View:
    """What the model is sent in one request.

    Attributes:
        entries: The conversation, oldest first, with what the server had stored of it.
    """

    entries: tuple[Entry, ...]

    @property
    def results(self) -> list[Result]:
        """The answers to all calls, in order."""
        return [entry for entry in self.entries if isinstance(entry, Result)]

    def of(self, name: str) -> list[str]:
        """What the calls of a tool were answered with."""
        return [result.text for result in self.results if result.call.name == name]

    def count(self, text: str) -> int:
        """How often a text occurs in the answers."""
        return sum(result.text.count(text) for result in self.results)


@dataclass(frozen=True, slots=True)
class Reply:
    """A turn of the model: text, calls, or both."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


Policy: TypeAlias = Callable[[View], Reply]


def say(text: str) -> Reply:
    """A turn of text only."""
    return Reply(text)


def ask(name: str, /, **args: Any) -> Reply:
    """A turn of one call."""
    return Reply(calls=((name, args),))


def together(*replies: Reply) -> Reply:
    """Several calls in one turn, and the text of all."""
    text = " ".join(reply.text for reply in replies if reply.text)
    return Reply(text, tuple(call for reply in replies for call in reply.calls))


class RefusedError(Exception):
    """Raised by a server's checker: the request gets an error of the provider's kind.

    Attributes:
        message: What the provider would say.
        param: Where in the request.
        code: The provider's code, where it has one.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


def require(condition: object, message: str, param: str | None = None) -> None:
    """Refuse the request unless something holds."""
    if not condition:
        raise RefusedError(message, param)


def only_keys(value: Any, allowed: Sequence[str] | frozenset[str], where: str) -> None:
    """Refuse what is no object, or has fields that the provider does not know."""
    require(isinstance(value, dict), f"Invalid type for '{where}': expected an object.", where)
    unknown = sorted(set(value) - set(allowed))
    if unknown:
        raise RefusedError(f"{where}.{unknown[0]}: Extra inputs are not permitted", where)


@dataclass(slots=True)
class Session:
    """What one test does with a server.

    Attributes:
        policy: The model.
        views: What the model was sent, request by request.
        bodies: The requests as they came.
        refusals: What was refused, in words.
        failures: What a policy or the server raised.
        streamed: For each request whether the answer was streamed.
    """

    policy: Policy
    views: list[View] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    streamed: list[bool] = field(default_factory=list)

    def reply(self, view: View) -> Reply:
        """Let the model speak."""
        self.views.append(view)
        return self.policy(view)

    def assert_went_well(self) -> None:
        """Assert that nothing was refused and that the policy did not fail."""
        assert not self.refusals, self.refusals
        for failure in self.failures:
            raise failure


def script(*steps: Callable[[View], Reply] | Reply) -> Policy:
    """A policy that takes one step a request, and fails at one too many."""
    rest = iter(steps)

    def policy(view: View) -> Reply:
        step = next(rest, None)
        assert step is not None, f"the model was called once more, with {view}"
        return step(view) if callable(step) else step

    return policy
