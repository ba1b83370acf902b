"""What all tests share."""

from __future__ import annotations

import gc
from importlib.metadata import version

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the project's own marker known."""
    config.addinivalue_line(
        "markers",
        "needs_langgraph(version): skip on an older LangGraph, which lacks what is tested",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of what the installed LangGraph does not have."""
    have = _parts(version("langgraph"))
    for item in items:
        marker = item.get_closest_marker("needs_langgraph")
        if marker is not None and have < _parts(marker.args[0]):
            item.add_marker(pytest.mark.skip(reason=f"needs langgraph {marker.args[0]}"))


def pytest_collection_finish() -> None:
    """Leave what imports and collection have made, a million objects, to no later collection.

    Otherwise a tenth of the time of all tests goes into looking through it again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def _parts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])
