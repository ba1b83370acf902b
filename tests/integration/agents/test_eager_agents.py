"""Eager start through `create_agent` and `AsyncFCMiddleware`."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest

from tests.integration import conftest as parts
from tests.integration import (
    test_rules_failure,
    test_rules_model_view,
    test_rules_order,
    test_rules_state,
)
from tests.integration.agents import test_create_agent_rules as agents
from tests.integration.test_eager_rules import _LEFT_OUT as DIFFERENT

_LEFT_OUT = {*DIFFERENT, *agents._LEFT_OUT}


@pytest.fixture(params=["ainvoke", "invoke"])
def mode(request: pytest.FixtureRequest) -> parts.Mode:
    """On an event loop in virtual time, and in threads (rule 27)."""
    return parts.Mode(request.param)


@pytest.fixture
def make_agent() -> parts.MakeAgent:
    """Builds an agent by `create_agent` whose calls may start early."""

    def make(*args: Any, **options: Any) -> Any:
        eager = "executor" not in options
        return agents._make_agent(*args, eager=eager, **options)

    return make


def _tests(module: ModuleType) -> dict[str, Any]:
    """The tests of a module that build their agents by the fixture."""
    return {
        name: function
        for name, function in vars(module).items()
        if name.startswith("test_rule_")
        and name not in _LEFT_OUT
        and "make_agent" in inspect.signature(function).parameters
    }


for _module in (test_rules_order, test_rules_model_view, test_rules_failure, test_rules_state):
    globals().update(_tests(_module))
