"""BFCL's own verdict on the calls that a model made.

Its checker of several turns runs the calls again on fresh instances and compares their state and
results with those of the ground truth. It is given the calls in the order in which they took
effect, with references replaced by values: what really happened, races included. Its checker of
parallel calls compares names and arguments.

Three of its traps are kept away. It holds instances in its module's globals, by name, so each
verdict has a name of its own and its instances are dropped. Mutable defaults of methods are
shared, and so is mpmath's precision; both are put back. The checker of arguments imports the
clients of all models only to look up whether dots in names become underscores; it is given that
answer instead.

Source: Berkeley Function-Calling Leaderboard (Patil et al., 2025), Apache-2.0.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from benchmarks.real.questions import Question
from benchmarks.workloads.bfcl import api_class, module

_PACKAGE: Final = "bfcl_eval.eval_checker"
_CONFIG: Final = "bfcl_eval.constants.model_config"
_MODEL: Final = "asyncfc"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Acted:
    """A call that took effect.

    Attributes:
        turn: The user's turn that it belongs to, from 0.
        tool: The tool's name.
        args: Its arguments, with values in place of references.
    """

    turn: int
    tool: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run did what was asked, and if not, the checker's reason."""

    valid: bool
    why: str = ""


def verdict(question: Question, acted: Sequence[Acted]) -> Verdict:
    """Judge a run.

    Args:
        question: What was asked.
        acted: The calls in the order in which they took effect.
    """
    found = _parallel(question, acted) if question.workload == "W3" else _turns(question, acted)
    return Verdict(True) if found["valid"] else Verdict(False, str(found["error_type"]))


def _turns(question: Question, acted: Sequence[Acted]) -> dict[str, Any]:
    checker = module(f"{_PACKAGE}.multi_turn_eval.multi_turn_checker")
    # One step a turn: the checker joins the steps of a turn anyhow.
    made = [
        [[_text(call) for call in acted if call.turn == turn]]
        for turn in range(len(question.truth))
    ]
    name = f"{_MODEL}{next(_numbers)}"
    entry = copy.deepcopy(dict(question.entry))
    with _clean_slate(name, entry["involved_classes"]):
        found: dict[str, Any] = checker.multi_turn_checker(
            made, copy.deepcopy(list(question.truth)), entry, "multi_turn_base", name
        )
    return found


def _text(call: Acted) -> str:
    """A call as BFCL evaluates it; names of arguments stay data, whatever a model wrote."""
    return f"{call.tool}(**{dict(call.args)!r})"


@contextmanager
def _clean_slate(name: str, apis: Sequence[str]) -> Iterator[None]:
    """Put back what a verdict changes outside of its instances, and drop these."""
    held = vars(module(f"{_PACKAGE}.multi_turn_eval.multi_turn_utils"))
    precision = module("mpmath").mp
    methods = [m for api in apis for _, m in inspect.getmembers(api_class(api), inspect.isfunction)]
    defaults = [copy.deepcopy(method.__defaults__) for method in methods]
    before, precision.dps = precision.dps, 15  # mpmath's default
    try:
        yield
    finally:
        precision.dps = before
        for method, values in zip(methods, defaults, strict=True):
            method.__defaults__ = values
        for key in [key for key in held if key.startswith(f"{name}_")]:
            del held[key]


def _parallel(question: Question, acted: Sequence[Acted]) -> dict[str, Any]:
    language = module("bfcl_eval.constants.enums").Language.PYTHON
    found: dict[str, Any] = _ast_checker().ast_checker(
        question.entry["function"],
        [{call.tool: dict(call.args)} for call in acted],
        question.truth,
        language,
        "parallel",
        _MODEL,
    )
    return found


@functools.cache
def _ast_checker() -> Any:
    config = ModuleType(_CONFIG)
    names = {_MODEL: SimpleNamespace(underscore_to_dot=True)}
    config.__dict__["MODEL_CONFIG_MAPPING"] = names
    real = sys.modules.get(_CONFIG)
    sys.modules[_CONFIG] = config
    try:
        module("bfcl_eval.constants.enums")  # says how to install the package, where it is missing
        found = importlib.import_module(f"{_PACKAGE}.ast_eval.ast_checker")
    finally:
        del sys.modules[_CONFIG]
        if real is not None:
            sys.modules[_CONFIG] = real
    # Where something else had imported the checker with all models, it does not know this one.
    found.__dict__["MODEL_CONFIG_MAPPING"] = {**found.MODEL_CONFIG_MAPPING, **names}
    return found
