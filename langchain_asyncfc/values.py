"""The value of a result: what a reference to it stands for, and how a message quotes it.

A tool's own return value where it is known. Where there are only a message's content and artifact,
as with tools of `langchain-mcp-adapters`, the value is found in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["plain_value", "shown"]

_SHOWN: Final = 60
"""Characters of a value in a message; what a model wrote or a tool returned may be megabytes."""


def plain_value(content: Any, artifact: Any) -> Any:
    """The value of a content and an artifact.

    Tools of `langchain-mcp-adapters` return content blocks, and keep MCP's structured content,
    which is always an object, in the artifact. A tool of another type has it in an object's only
    field `result`; its text, which is what the model was shown, is then not that of the object.

    Returns:
        The structured content; else the text of blocks that are text alone; else the content.
    """
    text = _text_alone(content)
    structured = artifact.get("structured_content") if isinstance(artifact, Mapping) else None
    if not isinstance(structured, Mapping):
        return content if text is None else text
    if structured.keys() == {"result"} and not _says(text, structured):
        return structured["result"]
    return structured


def _text_alone(content: Any) -> str | None:
    """The text of content blocks that are nothing but text."""
    if not isinstance(content, list) or not content:
        return None
    texts = [b.get("text") for b in content if isinstance(b, Mapping) and b.get("type") == "text"]
    return "".join(map(str, texts)) if len(texts) == len(content) else None


def _says(text: str | None, value: Any) -> bool:
    try:
        return bool(json.loads(text or "") == value)
    except (ValueError, RecursionError):
        return False


def shown(value: object) -> str:
    """A value as an error message quotes it: cut short, and its type where it has no text."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a huge number, nested too deep, or an object's own error
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
