"""What all tests share."""

from __future__ import annotations

import gc
from importlib.metadata import version
from pathlib import Path

import pytest

TRACED = 4
"""Variants of a test (sets of its parameters) under which branch coverage is measured.

Of unit tests all are.
"""

UNTRACED = (
    "docs",
    "notebooks",
    "pictures",
    "fuzz",
    "stateful",
    "integration/test_benchmarks_real",
    "integration/test_demo",
    "integration/test_eager_random",
    "integration/test_eager_rules",
    "integration/test_langgraph_dev",
    "integration/reliability/test_crash",
    "integration/reliability/test_interrupts_random",
    "integration/reliability/test_isolation",
    "integration/reliability/test_process_exit",
)
"""Tests that are never traced: of other code, in other processes, or that do what others
do very many times."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests be run in two parts, of which one is traced."""
    parser.addoption(
        "--part",
        choices=["traced", "rest"],
        help="run the variants of tests that are worth being traced, or only the others",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the project's own marker known."""
    config.addinivalue_line(
        "markers",
        "needs_langgraph(version): skip on an older LangGraph, which lacks what is tested",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests of what the installed LangGraph does not have; choose the part that is asked."""
    part = config.getoption("part")
    if part is not None:
        traced = _traced(items)
        left = [item for item in items if (item in traced) != (part == "traced")]
        items[:] = [item for item in items if (item in traced) == (part == "traced")]
        config.hook.pytest_deselected(items=left)
    have = _parts(version("langgraph"))
    for item in items:
        marker = item.get_closest_marker("needs_langgraph")
        if marker is not None and have < _parts(marker.args[0]):
            item.add_marker(pytest.mark.skip(reason=f"needs langgraph {marker.args[0]}"))


def _traced(items: list[pytest.Item]) -> set[pytest.Item]:
    """All unit tests; of each other test its first and last variant, and some between them.

    Tracing takes nearly as long as a test itself on Python 3.11, and the variants of a test go
    through nearly the same lines. Of options with two values each, four variants that stand evenly
    take both values of each.
    """
    traced: set[pytest.Item] = set()
    variants: dict[str, list[pytest.Item]] = {}
    for item in items:
        file = item.path.relative_to(Path(__file__).parent).as_posix()
        if file.startswith("unit/"):
            traced.add(item)
        elif not file.startswith(UNTRACED):
            variants.setdefault(item.nodeid.split("[")[0], []).append(item)
    return traced.union(*map(_some, variants.values()))


def _some(found: list[pytest.Item]) -> list[pytest.Item]:
    return [found[number * (len(found) - 1) // (TRACED - 1)] for number in range(TRACED)]


def pytest_collection_finish() -> None:
    """Leave what imports and collection have made, a million objects, to no later collection.

    Otherwise a tenth of the time of all tests goes into looking through it again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def _parts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])
