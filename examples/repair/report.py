"""The table at the end: what each run took, and where the difference comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from examples.repair.view import lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from examples.repair.metrics import Metrics
    from examples.repair.recording import RunLog

CAPTION = """\
wall = decode + tools - overlap - parallel + idle. decode: the model had a request. tools: the \
running times of all calls, added up. overlap: the model was decoding while a tool was running. \
parallel: tools, less the time in which any tool was running. idle: neither was busy."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run.

    Attributes:
        log: What happened when.
        diff: The change that the agent made, as `git diff` shows it.
        red: The test files that fail in the end.
    """

    log: RunLog
    diff: str
    red: Sequence[str]

    @property
    def metrics(self) -> Metrics:
        """Return where the time went."""
        return self.log.metrics()


def is_good(results: Sequence[Result]) -> bool:
    """Return whether every run changed something, is green, and all have the same diff."""
    first = results[0].diff
    return bool(first) and all(not one.red and one.diff == first for one in results)


def show(results: Sequence[Result], console: Console, plain: bool) -> None:
    """Print what the runs came to."""
    console.print()
    _show_lanes(results, console)
    console.print(_table(results, plain))
    console.print(Text(CAPTION, style="dim"))
    console.print()
    if len(results) > 1:
        before, after = results
        console.print(Text(attribution(before.metrics, after.metrics)))
    for line in verdict(results):
        console.print(Text(line))


def attribution(before: Metrics, after: Metrics) -> str:
    """Return, in words, where the seconds between two runs come from."""
    overlap = after.overlap - before.overlap
    parallel = after.parallel - before.parallel
    other = (before.serial - after.serial) + (before.idle - after.idle)
    return (
        f"Speedup {before.wall / after.wall:.2f}x. Of the {before.wall - after.wall:.1f} s saved, "
        f"{overlap:.1f} s come from overlap with decoding, {parallel:.1f} s from parallel tools, "
        f"and {other:.1f} s from changes of decode, tools and idle themselves."
    )


def verdict(results: Sequence[Result]) -> list[str]:
    """Return a line for each thing that has to be true of the runs in the end."""
    lines = []
    for result in results:
        tests = "all tests green" if not result.red else f"RED: {', '.join(result.red)}"
        changed = sum(line.startswith("diff --git") for line in result.diff.splitlines())
        lines.append(f"{result.log.title}: {tests}, {changed} files changed")
    if len(results) > 1:
        same = len({result.diff for result in results}) == 1
        lines.append("Both runs ended in the same diff." if same else "The diffs DIFFER.")
    return lines


def _table(results: Sequence[Result], plain: bool) -> Table:
    style = box.ASCII if plain else box.ROUNDED
    table = Table(box=style)
    table.add_column("")
    for result in results:
        table.add_column(result.log.title, justify="right")
    seconds: list[tuple[str, Callable[[Metrics], float]]] = [
        ("wall time (s)", lambda metrics: metrics.wall),
        ("  decode", lambda metrics: metrics.decode),
        ("  tools", lambda metrics: metrics.tools),
        ("  overlap with decoding (saved)", lambda metrics: metrics.overlap),
        ("  parallel tools (saved)", lambda metrics: metrics.parallel),
        ("  idle", lambda metrics: metrics.idle),
    ]
    for name, value in seconds:
        table.add_row(name, *(f"{value(result.metrics):.2f}" for result in results))
    table.add_section()
    logs = [result.log for result in results]
    table.add_row("turns", *(str(len(log.turns)) for log in logs))
    table.add_row("tool calls run", *(str(len(log.running())) for log in logs))
    table.add_row("tokens in", *(f"{log.input_tokens:,}" for log in logs))
    table.add_row("tokens out", *(f"{log.output_tokens:,}" for log in logs))
    if len(results) > 1:
        first = results[0].metrics.wall
        table.add_row("speedup", *(f"{first / result.metrics.wall:.2f}x" for result in results))
    return table


def _show_lanes(results: Sequence[Result], console: Console) -> None:
    """Print both runs on one scale: the model's lane, and the number of running tools."""
    longest = max(result.metrics.wall for result in results)
    mark = "#" if console.options.ascii_only else "█"
    width = min(console.width, 120) - 8
    for result in results:
        model, tools = lanes(result.log, width, longest, mark)
        console.print(Text(f"{result.log.title}, {result.metrics.wall:.1f} s", style="bold"))
        console.print(Text.assemble("model ", (model, "yellow")), no_wrap=True)
        console.print(Text.assemble("tools ", (tools, "green")), no_wrap=True)
    console.print()
