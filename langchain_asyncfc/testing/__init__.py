"""Helpers for tests: scripted models, checked histories, checked labels, virtual time."""

from __future__ import annotations

from langchain_asyncfc.testing.executors import ManualExecutor
from langchain_asyncfc.testing.history import InvalidHistoryError, Provider, assert_valid_history
from langchain_asyncfc.testing.label_checks import (
    LabelReport,
    StrictLabels,
    WrongLabels,
    WrongLabelsError,
    check_effects,
)
from langchain_asyncfc.testing.models import (
    BoundScriptedModel,
    ScriptedChatModel,
    ScriptExhaustedError,
    call,
)
from langchain_asyncfc.testing.virtual_time import (
    VirtualTimeDeadlock,
    VirtualTimeLoop,
    hold_clock,
    in_virtual_time,
    run_virtual,
)

__all__ = [
    "BoundScriptedModel",
    "InvalidHistoryError",
    "LabelReport",
    "ManualExecutor",
    "Provider",
    "ScriptExhaustedError",
    "ScriptedChatModel",
    "StrictLabels",
    "VirtualTimeDeadlock",
    "VirtualTimeLoop",
    "WrongLabels",
    "WrongLabelsError",
    "assert_valid_history",
    "call",
    "check_effects",
    "hold_clock",
    "in_virtual_time",
    "run_virtual",
]
