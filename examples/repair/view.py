"""The live picture of a run: turns, calls and futures; plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from examples.repair.recording import CallRecord, Listener, RunLog, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.repair.metrics import Interval

SHOWN_CALLS = 14
"""How many calls the live table shows, so that it fits a terminal of 24 lines."""


@contextlib.contextmanager
def live(log: RunLog, console: Console, plain: bool) -> Iterator[Listener]:
    """Show a run while it goes on; give the listener to tell its events to.

    Args:
        log: The run.
        console: Where to show it.
        plain: Print a line per event instead of a table that is drawn again and again.
    """
    if plain:
        yield lambda event, subject: _print_event(log, console, event, subject)
        return
    with Live(
        get_renderable=lambda: picture(log), console=console, refresh_per_second=8, transient=True
    ):
        yield _ignore


def picture(log: RunLog) -> RenderableType:
    """Return the present state of a run as something that rich can draw."""
    decoding = bool(log.turns) and log.turns[-1].end is None
    model = "[bold yellow]decoding[/]" if decoding else "[dim]waits[/]"
    head = f"[bold]{log.title}[/]  {log.now():5.1f} s  turn {len(log.turns)}  model {model}"
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("turn", "call", "future", "state", "seconds"):
        table.add_column(column, no_wrap=True, justify="right" if column == "seconds" else "left")
    for call in list(log.calls.values())[-SHOWN_CALLS:]:
        state, style = state_of(call)
        seconds = "" if call.started is None else f"{(call.ended or log.now()) - call.started:.1f}"
        row = (str(call.turn), escape(brief(call)), call.future or "", state, seconds)
        table.add_row(*row, style=style)
    said = log.turns[-1].text.strip() if log.turns else ""
    return Group(Text.from_markup(head), table, Text(f"> {said}", style="italic", no_wrap=True))


def state_of(call: CallRecord) -> tuple[str, str]:
    """Return the state of a call in a word, and the style to show it in."""
    if call.delivered is not None:
        return ("failed", "red") if call.failed else ("delivered", "green")
    if call.ended is not None:
        return "done", "cyan"
    if call.started is not None:
        return "running", "yellow"
    return "waiting", "dim"


def brief(call: CallRecord) -> str:
    """Return a call in one short line: the tool, and what it is about."""
    about = [call.arguments[key] for key in ("path", "pattern") if key in call.arguments]
    if call.is_control:
        about = list(call.arguments.get("futures") or ())
    waits = " (waits)" if call.arguments.get("await_result") else ""
    return f"{call.name}({', '.join(map(str, about))}){waits}"


def lanes(log: RunLog, width: int, longest: float, mark: str) -> list[str]:
    """Return a run as two lines: when the model was decoding, and how many tools were running.

    Args:
        log: The run.
        width: Characters for `longest` seconds.
        longest: Seconds that the whole width stands for.
        mark: The character for a decoding model.
    """
    cells = max(1, round(width * log.now() / longest))
    step = longest / width
    moments = [(cell + 0.5) * step for cell in range(cells)]
    model = [_count(log.decoding(), moment) for moment in moments]
    tools = [_count(log.running(), moment) for moment in moments]
    return [
        "".join(mark if count else " " for count in model),
        "".join(str(min(count, 9)) if count else " " for count in tools),
    ]


def _ignore(event: str, subject: CallRecord | Turn) -> None:
    """Do nothing: the live table is drawn from the log."""


def _count(intervals: Sequence[Interval], moment: float) -> int:
    return sum(interval.start <= moment < interval.end for interval in intervals)


def _print_event(log: RunLog, console: Console, event: str, subject: CallRecord | Turn) -> None:
    if isinstance(subject, Turn):
        if event != "said":
            return
        line = f"turn {len(log.turns):2}  {' '.join(subject.text.split())}"
    elif event == "future":
        line = f"         {brief(subject)} is {subject.future}"
    else:
        line = f"         {brief(subject)} {event}"
    console.print(Text(f"{log.now():6.2f}  {line}"), soft_wrap=True)
