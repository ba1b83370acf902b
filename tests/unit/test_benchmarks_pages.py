"""A part of the benchmarks writes its own section of the page, and leaves the others."""

from __future__ import annotations

from benchmarks.pages import with_section

ORDER = ["First", "Second", "Third"]
PAGE = """# Benchmarks

What it is.

## First

old figures

### Of a kind

more

## Third

| a |
|---|
"""


def test_a_section_takes_the_place_of_its_older_version() -> None:
    """Nothing of the old one is left, and nothing else changes."""
    new = with_section(PAGE, "First", ["new figures"], ORDER)
    old = "old figures\n\n### Of a kind\n\nmore"
    assert new == PAGE.replace(old, "new figures")
    assert with_section(new, "First", ["new figures"], ORDER) == new


def test_a_new_section_stands_in_its_place() -> None:
    """In the order of the parts, and not in that in which they were measured."""
    new = with_section(PAGE, "Second", ["2"], ORDER)
    assert new == PAGE.replace("## Third", "## Second\n\n2\n\n## Third")


def test_a_section_of_a_part_that_is_gone_goes() -> None:
    """Figures that nobody measures any more do not stay."""
    assert "Third" not in with_section(PAGE, "First", ["1"], ORDER[:2])
