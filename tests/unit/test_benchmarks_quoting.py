"""README quotes figures that the benchmarks wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quoting import quote

ROOT = Path(__file__).resolve().parents[2]

PAGE = """
Speedup over (a), all tasks together:

| | tool median | (b) | (c) | (d) | (e) | B* | B* with eager start |
|---|---|---|---|---|---|---|---|
| W1 | 1 s | 1.045 | 1.096 | 1.101 | 1.110 | 1.119 | 1.156 |
| W5, 3 tasks | 0.2 s | 1.285 | 1.148 | 1.144 | 1.383 | 1.149 | 1.510 |

![picture](p.svg)

| W1 | 1 s | 9.000 | 9.000 | 9.000 | 9.000 | 9.000 | 9.000 |
"""


def _readme(*rows: str) -> str:
    table = ["| tasks | median | b | c |", "|---|---|---|---|", *rows]
    return "\n".join(["before", "<!-- measured -->", *table, "<!-- /measured -->", "after"])


def test_figures_are_taken_from_the_row_of_the_same_name() -> None:
    """The first figures of the row stand in README, and all else stays as it is."""
    old = _readme("| W5, 3 tasks | 0.2 s | 0.000 | 0.000 |", "| W1 | 1 s | 0.000 | 0.000 |")
    new = _readme("| W5, 3 tasks | 0.2 s | 1.285 | 1.148 |", "| W1 | 1 s | 1.045 | 1.096 |")
    assert quote(old, PAGE) == new
    assert quote(new, PAGE) == new


def test_what_was_not_measured_is_not_quoted() -> None:
    """A row that the page does not have is an error that names it."""
    with pytest.raises(ValueError, match="W2 at 1 s"):
        quote(_readme("| W2 | 1 s | 1.000 |"), PAGE)


def test_readme_without_a_table_is_an_error() -> None:
    """Nothing to quote into is said, and not passed over."""
    with pytest.raises(ValueError, match="no table"):
        quote("no marks", PAGE)


def test_readme_says_what_the_page_says() -> None:
    """The README of this repository quotes the page of this repository, figure by figure."""
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n| W") >= 5
    assert quote(readme, (ROOT / "docs" / "benchmarks.md").read_text()) == readme
