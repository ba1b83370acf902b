"""Spans in words, for hovering over them: what was asked, what came, and why it waited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from langchain_asyncfc.timeline.spans import Reply, Span, ToolRun

__all__ = ["arguments", "label", "seconds", "shortened", "title", "waiting"]


_LABEL: Final = 60
"""Characters of a label: more than fit are cut to the width of the span."""


def seconds(amount: float) -> str:
    """A time: `2.1 s`, `350 ms`, `40 µs`."""
    if amount >= 1:
        return f"{amount:.4g} s"
    if amount >= 0.001:  # noqa: PLR2004 - a millisecond
        return f"{amount * 1000:.3g} ms"
    return f"{amount * 1_000_000:.3g} µs"


def shortened(text: str, most: int) -> str:
    """A text in one line, of at most so many characters."""
    begin = text[: 4 * most]  # a text of megabytes is not taken apart to be cut
    line = " ".join(begin.split())
    whole = len(line) <= most and len(begin) == len(text)
    return line if whole else f"{line[: most - 1]}…"


def arguments(args: Mapping[str, Any], most: int) -> str:
    """Arguments as they are written in a call, shortened."""
    return shortened(", ".join(f"{name}={_value(args[name], most)}" for name in args), most)


def _value(value: Any, most: int) -> str:
    if isinstance(value, str):
        value = value[:most]  # a text of megabytes is not written out to be cut
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def label(span: Span) -> str:
    """What is written into a span: a call's future and first argument, a reply's length."""
    if isinstance(span, Reply):
        return f"{span.output_tokens} tokens" if span.output_tokens else ""
    first = next(iter(span.args.values()), "")
    text = first if isinstance(first, str) else _value(first, _LABEL)
    return f"{span.future.replace('future_', 'f', 1)} {shortened(text, _LABEL)}".strip()


def title(span: Span) -> str:
    """The name of a span."""
    if isinstance(span, Reply):
        return f"reply of {span.model}" if span.model else "reply"
    return f"{span.future} ({span.tool})" if span.future else span.tool


def waiting(tool: ToolRun, most: int) -> str:
    """Why a call waited: all that is known, the longest wait first; empty if nothing is."""
    waits = sorted(tool.waits, key=lambda wait: wait.start - wait.end)
    told = []
    for wait in waits:
        after = f" after {wait.after}" if wait.after else ""
        told.append(f"{seconds(wait.end - wait.start)}: {wait.reason}{after}")
    return shortened("; ".join(told), most)
