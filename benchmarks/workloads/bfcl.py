"""BFCL's `multi_turn_base`: 200 tasks over eight stateful Python APIs.

Data and APIs come from the package `bfcl-eval`, which is installed without its dependencies:

    pip install --no-deps bfcl-eval==2026.3.23 mpmath==1.3.0

What the methods read and write stands in `data/bfcl_effects.json`.

Source: Berkeley Function-Calling Leaderboard (Patil et al., 2025), Apache-2.0.
"""

from __future__ import annotations

import ast
import copy
import functools
import importlib
import inspect
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.workloads.tasks import Location, Planned, Source, Task, ToolSpec, at
from langchain_asyncfc import Effects

_MISSING = (
    "This part needs BFCL's tasks and APIs. Install them without their dependencies: "
    "python -m pip install --no-deps bfcl-eval==2026.3.23 mpmath==1.3.0"
)
EFFECTS = Path(__file__).parent.parent / "data" / "bfcl_effects.json"

_SHORTEST_PART = 4
"""Characters: a shorter text is part of some result by chance."""

_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


def data(name: str) -> Path:
    """A file or folder of the package's data.

    Raises:
        SystemExit: When the package is not installed; says how to install it.
    """
    try:
        return Path(str(files("bfcl_eval") / "data" / name))
    except ModuleNotFoundError:
        raise SystemExit(_MISSING) from None


def rows(name: str) -> list[dict[str, Any]]:
    """The lines of one of its JSON files."""
    return [json.loads(line) for line in data(name).read_text().splitlines()]


def json_schema(given: Any) -> Any:
    """BFCL's parameter specification as JSON schema."""
    if isinstance(given, list):
        return [json_schema(item) for item in given]
    if not isinstance(given, dict):
        return given
    found = {
        key: {name: json_schema(inner) for name, inner in value.items()}
        if key == "properties"
        else json_schema(value)
        for key, value in given.items()
        if key not in ("default", "optional")
    }
    kind = found.get("type")
    if kind == "any":
        del found["type"]
    elif isinstance(kind, str):
        found["type"] = _TYPES.get(kind, kind)
    return found


# -- the APIs -----------------------------------------------------------------------------------


def module(name: str) -> Any:
    """A module of the packages that are installed without their types."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{_MISSING} ({error})") from None


@functools.cache
def api_class(name: str) -> type:
    """The class of an API."""
    places = module("bfcl_eval.constants.executable_backend_config").CLASS_FILE_PATH_MAPPING
    found: type = getattr(module(places[name]), name)
    return found


@functools.cache
def methods(api: str) -> dict[str, inspect.Signature]:
    """The public methods of an API, without `self`."""
    found = inspect.getmembers(api_class(api), inspect.isfunction)
    return {
        name: inspect.signature(method).replace(
            parameters=list(inspect.signature(method).parameters.values())[1:]
        )
        for name, method in found
        if not name.startswith("_")
    }


class ApiWorld:
    """Instances of the APIs of one task.

    The mutable defaults of `post_tweet` and mpmath's global precision would be shared between
    runs: the first are passed as fresh lists, the second is kept here between calls.
    """

    def __init__(self, config: Mapping[str, Any], apis: Sequence[str]) -> None:
        self._apis: dict[str, Any] = {}
        self._owner: dict[str, Any] = {}
        self._dps = 15  # mpmath's default
        for name in apis:
            api = self._apis[name] = api_class(name)()
            if hasattr(api, "_load_scenario"):
                api._load_scenario(copy.deepcopy(dict(config.get(name, {}))), long_context=False)
            self._owner.update(dict.fromkeys(methods(name), (name, api)))

    def act(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Call a method; the result is frozen, since many methods return their own state."""
        mpmath = module("mpmath")
        name, api = self._owner[tool]
        given = copy.deepcopy(dict(args))
        for parameter in methods(name)[tool].parameters.values():
            if isinstance(parameter.default, list | dict):
                given.setdefault(parameter.name, copy.deepcopy(parameter.default))
        before, mpmath.mp.dps = mpmath.mp.dps, self._dps
        try:
            result = getattr(api, tool)(**given)
            return (
                result if isinstance(result, str) else json.loads(json.dumps(result, default=str))
            )
        except Exception as error:  # noqa: BLE001 - BFCL's own runner tells the model too
            return f"Error during execution: {error}"
        finally:
            self._dps, mpmath.mp.dps = mpmath.mp.dps, before

    def state(self) -> Any:
        """All attributes of all instances."""
        return {"dps": self._dps, **{name: _plain(api, {}) for name, api in self._apis.items()}}


def _plain(value: Any, known: dict[int, int]) -> Any:
    """A value with everything in it as plain data; an object met again becomes its number.

    Args:
        value: The value. What is numbered must outlive the walk, or its `id` would be given again.
        known: The numbers of the objects met so far, by `id`.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple):
        return [_plain(inner, known) for inner in value]
    if id(value) in known:
        return f"<{known[id(value)]}>"
    known[id(value)] = len(known)
    return _inside(value, known)


def _inside(value: Any, known: dict[int, int]) -> Any:
    """The same for an object that is met for the first time."""
    if isinstance(value, random.Random):
        return repr(value.getstate())
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, known) for inner in value]
    if hasattr(value, "__dict__"):
        # When a file was changed is read from the machine's clock.
        inside = {k: _plain(v, known) for k, v in vars(value).items() if k != "_last_modified"}
        return {"": type(value).__name__, **inside}
    return sorted(map(repr, value)) if isinstance(value, set) else repr(value)


# -- the tasks ----------------------------------------------------------------------------------


@functools.cache
def _docs() -> dict[str, dict[str, Any]]:
    folder = data("multi_turn_func_doc")
    return {
        doc["name"]: doc
        for file in sorted(folder.glob("*.json"))
        if file.stem not in ("memory_kv", "memory_rec_sum", "memory_vector", "web_search")
        for doc in map(json.loads, file.read_text().splitlines())
    }


@functools.cache
def _effects() -> dict[str, Effects]:
    listed = json.loads(EFFECTS.read_text())
    return {
        method: Effects(sides["reads"], sides["writes"])
        for methods in listed.values()
        for method, sides in methods.items()
    }


@functools.cache
def spec(tool: str) -> ToolSpec:
    """One of the methods as a tool, with its effects."""
    doc = _docs()[tool]
    schema = json_schema(doc["parameters"])
    return ToolSpec(tool, doc["description"], schema, _effects().get(tool, Effects()))


def _read_call(text: str, apis: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """A line of the ground truth, such as `cd(folder='document')`."""
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    tool = node.func.id
    signature = next(methods(api)[tool] for api in apis if tool in methods(api))
    names = list(signature.parameters)
    args = {name: ast.literal_eval(value) for name, value in zip(names, node.args, strict=False)}
    args |= {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    return tool, args


@functools.cache
def multi_turn(*, merged: bool) -> tuple[Task, ...]:
    """The 200 tasks.

    Args:
        merged: Whether all of a task's turns are one, in which the user asks for everything.
    """
    truths = {row["id"]: row["ground_truth"] for row in rows(f"possible_answer/{MULTI_TURN}")}
    return tuple(_task(row, truths[row["id"]], merged=merged) for row in rows(MULTI_TURN))


MULTI_TURN = "BFCL_v4_multi_turn_base.json"


def _task(row: dict[str, Any], truth: list[list[str]], *, merged: bool) -> Task:
    apis = row["involved_classes"]
    made = [[_read_call(text, apis) for text in turn] for turn in truth]
    texts = ["\n".join(m["content"] for m in turn) for turn in row["question"]]
    world = functools.partial(ApiWorld, row["initial_config"], apis)
    running = world()
    results: list[Any] = []
    calls: list[Planned] = []
    turns: list[tuple[int, ...]] = []
    for number, turn in enumerate(made):
        told = "\n".join(texts if merged else texts[: number + 1])
        for tool, args in turn:
            sources, sees = origins(args, results, told)
            calls.append(Planned(tool, args, sources, sees))
            results.append(running.act(tool, args))
        turns.append(tuple(range(len(calls) - len(turn), len(calls))))
    if merged:
        turns = [tuple(range(len(calls)))]
    tools = tuple(spec(tool) for tool in dict.fromkeys(call.tool for call in calls))
    kind = "merged" if merged else "turns"
    return Task(f"{row['id']} ({kind})", tuple(calls), tuple(turns), tools, world)


# -- where values come from ---------------------------------------------------------------------


def origins(
    args: Mapping[str, Any], results: Sequence[Any], told: str
) -> tuple[tuple[Source, ...], frozenset[int]]:
    """Where the values in a call's arguments come from that the user did not give.

    A field of an earlier result can be passed on by reference, since the model knows it by name.
    A value that was chosen from a list, or cut out of a text, must have been read there. In both
    cases the latest result that has the value counts.

    Args:
        args: The arguments.
        results: The results of the calls before.
        told: What the user has said.

    Returns:
        The values that can be passed on, and the results that must have been read.
    """
    sources, sees = [], set()
    for location, value in _leaves(args, ()):
        if isinstance(value, bool) or value is None or _says(told, value):
            continue
        for i in reversed(range(len(results))):
            path = next((p for p, v in _leaves(results[i], ()) if _same(v, value)), None)
            if path is not None and not _chosen(results[i], path):
                sources.append(Source(location, i, path))
                break
            if path is not None or _mentions(results[i], value):
                sees.add(i)
                break
    return tuple(sources), frozenset(sees)


def _leaves(value: Any, location: Location) -> Iterator[tuple[Location, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*location, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*location, index))
    else:
        yield location, value


def _chosen(result: Any, path: Location) -> bool:
    """Whether a place in a result is one of several in a list."""
    return any(
        isinstance(step, int) and len(at(result, path[:depth])) > 1
        for depth, step in enumerate(path)
    )


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _says(text: str, value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in text.lower()
    plain = text.replace(",", "")
    return re.search(rf"(?<![\d.]){re.escape(f'{value:g}')}(?:\.0+)?(?!\.?\d)", plain) is not None


def _mentions(result: Any, value: Any) -> bool:
    texts = [leaf for _, leaf in _leaves(result, ()) if isinstance(leaf, str)]
    if isinstance(value, str):
        return len(value) >= _SHORTEST_PART and any(value in text for text in texts)
    return any(_says(text, value) for text in texts)
