"""Rules 1 to 27 hold with eager start: the tests of the rules, with models that are watched.

The tests in `test_rules_*.py` build their agents by the fixture `make_agent`. Here that fixture
has the calls of the model start early, and the tests are run again.
"""

from __future__ import annotations

import pytest

from tests.integration import (
    conftest as parts,
)
from tests.integration import (
    test_rules_failure,
    test_rules_model_view,
    test_rules_order,
    test_rules_state,
    test_rules_values,
)

_LEFT_OUT = {
    "test_rule_3_hazards": "a reader starts before a writer that stands before it and elsewhere",
    "test_rule_26_traces": "a tool that starts early is the child of the model's step",
}
"""Tests of what is different here, on purpose; see `test_eager.py`."""


@pytest.fixture(params=["ainvoke", "invoke"])
def mode(request: pytest.FixtureRequest) -> parts.Mode:
    """On an event loop in virtual time, and in threads (rule 27)."""
    return parts.Mode(request.param)


@pytest.fixture
def make_agent() -> parts.MakeAgent:
    """Builds an agent whose calls may start early."""
    return lambda *args, **options: parts._make_agent(*args, eager=True, **options)


for _module in (
    test_rules_order,
    test_rules_model_view,
    test_rules_failure,
    test_rules_state,
    test_rules_values,
):
    globals().update(parts.agent_tests(_module, _LEFT_OUT))
