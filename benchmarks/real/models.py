"""The model's client, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from langchain_core.language_models import BaseChatModel

_LENGTH: Final = 500
"""Characters of an error's text that are shown; some services answer with whole pages."""

_NEVER: Final = (401, 403, 404)
"""Statuses that another attempt does not change: no key, no right, no such model."""

_LATER: Final = (408, 409, 425, 429)
"""Statuses besides 5xx after which the same request may be answered later."""


class SetupError(Exception):
    """Raised when a run cannot begin: no model, no key, no service, no sense in the options."""


def opened(name: str, options: Mapping[str, Any]) -> BaseChatModel:
    """Make a model's client.

    Args:
        name: `provider:name`, as `init_chat_model` takes it.
        options: Given to the client.

    Raises:
        SetupError: There is no such provider, its package is missing, or it has no key.
    """
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415 - only needed here
    except ImportError:
        raise SetupError(
            "Real models are made by LangChain's init_chat_model, and it is not installed: "
            "python -m pip install langchain, and the provider's package, e.g. langchain-openai."
        ) from None
    try:
        model: BaseChatModel = init_chat_model(name, **options)
    except Exception as error:  # each provider has its own
        raise SetupError(
            f"The client of {name!r} could not be made: {told(error)} Give --model as "
            "provider:name, e.g. openai:gpt-4.1, install the provider's package, and set its key "
            "in the environment."
        ) from error
    return model


def told(error: BaseException) -> str:
    """An error as one paragraph, with its first cause where that says more."""
    *_, root = _chain(error)
    text = f"{type(error).__name__}: {error}"
    text = " ".join((text if str(root) in text else f"{text} {root}").split())
    if len(text) > _LENGTH:
        return text[:_LENGTH] + "…"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def is_hopeless(error: BaseException) -> bool:
    """Whether a first request that fails so means that none can succeed."""
    status = status_of(error)
    return status in _NEVER or (status is None and not _took_too_long(error))


def may_pass(error: BaseException) -> bool:
    """Whether the same run may succeed when it is made again."""
    status = status_of(error)
    return status is None or status in _LATER or status >= 500  # noqa: PLR2004 - server errors


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error tells, if any; each provider's client keeps it elsewhere."""
    for one in _chain(error):
        for holder in (one, getattr(one, "response", None)):
            for name in ("status_code", "code", "status"):
                found = getattr(holder, name, None)
                if isinstance(found, int):
                    return found
    return None


def _took_too_long(error: BaseException) -> bool:
    return any(isinstance(e, TimeoutError) or "Timeout" in type(e).__name__ for e in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
