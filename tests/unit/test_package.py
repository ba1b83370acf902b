"""The public names of the package."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import langchain_asyncfc


def test_every_public_name_is_there() -> None:
    """What `__all__` lists can be imported."""
    assert all(getattr(langchain_asyncfc, name) is not None for name in langchain_asyncfc.__all__)


def test_a_name_that_is_not_there() -> None:
    """An unknown name is an ordinary `AttributeError`."""
    with pytest.raises(AttributeError, match="no attribute 'AsyncFCMidleware'"):
        _ = langchain_asyncfc.AsyncFCMidleware  # type: ignore[attr-defined]


def test_the_middleware_without_langchain(monkeypatch: Any) -> None:
    """Without the package langchain, or with an old one, the error says what to install."""
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)
    monkeypatch.delitem(sys.modules, "langchain_asyncfc.middleware", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'langchain-asyncfc\[langchain\]'"):
        _ = langchain_asyncfc.AsyncFCMiddleware


def test_a_package_that_something_else_misses(monkeypatch: Any) -> None:
    """A missing package that is not langchain is named as it is."""
    monkeypatch.setitem(sys.modules, "langgraph.config", None)
    monkeypatch.delitem(sys.modules, "langchain_asyncfc.middleware", raising=False)
    with pytest.raises(ImportError, match=r"langgraph\.config|needs the package langchain"):
        _ = langchain_asyncfc.AsyncFCMiddleware
