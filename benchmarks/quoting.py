"""README quotes what `make bench` wrote, and nothing else.

The rows between the two marks name a workload and a tool median; the figures behind them are the
first of the same row of the table of speedups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUOTED = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- /measured -->)", re.DOTALL)
_ROW = re.compile(r"^\| (?P<key>W\d[^|]*) \| (?P<median>[^|]+ s) \|(?P<figures>(?: \d+\.\d+ \|)+)$")


def quote(readme: str, page: str) -> str:
    """The text of README with the figures of the page.

    Raises:
        ValueError: When a row that is quoted is not on the page, or nothing is quoted.
    """
    found = _QUOTED.search(readme)
    if found is None:
        raise ValueError("README has no table between <!-- measured --> and <!-- /measured -->.")
    measured = dict(_rows(page))
    lines = [_quoted(line, measured) for line in found[0].splitlines()]
    return readme[: found.start()] + "\n".join(lines) + "\n" + readme[found.end() :]


def _rows(page: str) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """The rows of the table of speedups, by workload and median."""
    table = page.partition("Speedup over (a), all tasks together:")[2].partition("\n\n![")[0]
    for line in table.splitlines():
        if (row := _ROW.match(line)) is not None:
            yield (row["key"], row["median"]), row["figures"].strip(" |").split(" | ")


def _quoted(line: str, measured: dict[tuple[str, str], list[str]]) -> str:
    row = _ROW.match(line)
    if row is None:
        return line
    key = row["key"], row["median"]
    if key not in measured:
        raise ValueError(f"README quotes {' at '.join(key)}, which is not in docs/benchmarks.md.")
    count = row["figures"].count("|")
    return f"| {' | '.join([*key, *measured[key][:count]])} |"
