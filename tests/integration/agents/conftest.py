"""Fixtures of the tests of agents."""

from __future__ import annotations

import pytest

from tests.integration.agents.twins import Twins
from tests.integration.conftest import Mode


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Twins:
    """Runs an agent without and with the middleware, and compares."""
    return Twins(request.param)


@pytest.fixture(params=["ainvoke", "invoke"])
def entry(request: pytest.FixtureRequest) -> Mode:
    """On an event loop in virtual time, and in threads."""
    return Mode(request.param)
