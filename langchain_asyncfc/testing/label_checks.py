"""Are the labels true? Runs calls against each other on a world of the user's, and compares.

Two calls that do not conflict by their labels may run in any order, and at once. So every way to
run the two from one and the same world must come to the same results and the same world. Where
it does not, a label is missing.

What a call really reads and writes cannot be seen. Only what comes of it is: so calls that never
bring a difference to light prove nothing, and labels that seem too strict may be needed for calls
that were not given.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as create_tool

from langchain_asyncfc.effects import Effects, Levels, access_of
from langchain_asyncfc.hazards import hazard
from langchain_asyncfc.testing.interleaving import (
    Actor,
    Schedule,
    interleave,
    run_on_loop,
    schedules,
)
from langchain_asyncfc.testing.worlds import World, entered
from langchain_asyncfc.toolbox import Toolbox

__all__ = ["LabelReport", "StrictLabels", "WrongLabels", "WrongLabelsError", "check_effects"]

_NOTHING: Final[Schedule] = ()


class WrongLabelsError(AssertionError):
    """Raised by `LabelReport.assert_sound` when labels are wrong."""


@dataclass(frozen=True, slots=True)
class WrongLabels:
    """Calls that do not wait for each other by their labels, and ought to.

    Attributes:
        calls: The calls, as `name(argument=value)`: two, or one that changes the world although
            its labels say that it writes nothing, or that is not idempotent.
        why: What differed, and in which order of running.
        enough: Effects by tool name that would make these calls wait for each other.
    """

    calls: tuple[str, ...]
    why: str
    enough: Mapping[str, Effects]

    def __str__(self) -> str:
        wider = [f"{name}: {_shown(effects)}" for name, effects in self.enough.items()]
        return "\n".join([" and ".join(self.calls), f"  {self.why}", *_enough(wider)])


def _enough(wider: Sequence[str]) -> list[str]:
    return [f"  Enough for these calls would be: {'; '.join(wider)}"] if wider else []


@dataclass(frozen=True, slots=True)
class StrictLabels:
    """Calls that wait for each other by their labels, and never showed a reason to.

    Attributes:
        calls: The two calls.
        hazard: Why they wait.
        runs: In how many ways they were run.
    """

    calls: tuple[str, str]
    hazard: str
    runs: int

    def __str__(self) -> str:
        return f"{' and '.join(self.calls)}: {self.hazard}, no difference in {self.runs} runs"


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What came of running calls against each other.

    Attributes:
        wrong: Labels that are not sound.
        perhaps_too_strict: Conflicts that never showed. For information: other calls may show one.
        unrepeatable: Calls whose outcome differs from run to run although nothing else runs, so
            that nothing can be said of them. Give them a world without clocks and chance.
        pairs: How many pairs of calls were looked at.
        runs: How often calls were run in all.
    """

    wrong: tuple[WrongLabels, ...]
    perhaps_too_strict: tuple[StrictLabels, ...]
    unrepeatable: tuple[str, ...]
    pairs: int
    runs: int

    def assert_sound(self) -> None:
        """Fail where labels are wrong, or where nothing could be said.

        Raises:
            WrongLabelsError: With the report as its text.
        """
        if self.wrong or self.unrepeatable:
            raise WrongLabelsError(f"\n{self}")

    def __str__(self) -> str:
        lines = [f"{self.pairs} pairs of calls in {self.runs} runs"]
        for title, found in (
            ("Wrong labels", self.wrong),
            ("Not repeatable", self.unrepeatable),
            ("Perhaps too strict", self.perhaps_too_strict),
        ):
            if found:
                lines += [f"{title}:", *(str(each) for each in found)]
        return "\n".join(lines)


def check_effects(
    tools: Iterable[BaseTool | Callable[..., Any]],
    calls: Sequence[ToolCall],
    state: World,
    *,
    effects: Mapping[str, Effects] | None = None,
    trust_mcp_hints: bool = False,
    most: int = 100,
) -> LabelReport:
    """Run calls against each other, to find labels that are wrong.

    Each pair of calls is run one after the other both ways, and interleaved: coroutine tools at
    each of their suspensions, in virtual time; plain ones, in threads, at each of their lines, in
    real time: one that sleeps for a second does so in every run. Every run begins with a fresh
    world. The calls are run for real, so give tools a world that may be broken.

    Args:
        tools: As for the node.
        calls: Calls to try, as of `langchain_asyncfc.testing.call`. Give some that touch the same
            things: what no pair of them brings to light is not found. A call with itself is a pair
            only if it is given twice.
        state: Makes a fresh world: a function without arguments that returns a function which
            takes a snapshot of the world; or that returns a context manager around one (a
            generator under `@contextmanager`). Snapshots are compared with `==`; a dict by the
            names of things lets the report say more. All of them may be async.
        effects: As for the node.
        trust_mcp_hints: As for the node.
        most: Into how many runs at most a pair goes. With fewer than there are ways, those with
            fewer switches between the calls come first.

    Returns:
        A report; `report.assert_sound()` makes a test of it.

    Raises:
        ValueError: When a call names no tool, or a node would refuse the labels.
        RuntimeError: When an event loop runs in this thread.
        TypeError: When `state` does not make a snapshot function.

    Example:
        ```python
        def world():
            files.clear()
            files["a.py"] = "old"
            return lambda: dict(files)

        calls = [call("read_file", path="a.py"), call("write_file", path="a.py", text="new")]
        check_effects([read_file, write_file], calls, world).assert_sound()
        ```
    """
    prepared = [tool if isinstance(tool, BaseTool) else create_tool(tool) for tool in tools]
    toolbox = Toolbox(effects=effects, trust_mcp_hints=trust_mcp_hints)
    toolbox.add_all(prepared)
    check = _Check(toolbox, state, most)
    for made in calls:
        if made["name"] not in toolbox:
            names = ", ".join(tool.name for tool in prepared)
            msg = f"calls has {_spelled(made)}, but the tools are {names}."
            raise ValueError(msg)
    for made in calls:
        check.single(made)
    for first, second in itertools.combinations(calls, 2):
        check.pair(first, second)
    return check.report()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a run came to.

    Attributes:
        results: Of each call.
        world: The snapshot after it.
    """

    results: tuple[Any, ...]
    world: Any


class _Check:
    """The work of `check_effects`: runs, and what they brought to light."""

    def __init__(self, toolbox: Toolbox, state: World, most: int) -> None:
        self._toolbox = toolbox
        self._state = state
        self._most = most
        self._wrong: list[WrongLabels] = []
        self._strict: list[StrictLabels] = []
        self._unrepeatable: dict[str, None] = {}
        self._alone: dict[str, tuple[_Outcome, int]] = {}
        self._pairs = 0
        self._runs = 0
        self._before: Any = None

    def report(self) -> LabelReport:
        """Everything that was found."""
        return LabelReport(
            tuple(self._wrong),
            tuple(self._strict),
            tuple(self._unrepeatable),
            self._pairs,
            self._runs,
        )

    # -- runs ---------------------------------------------------------------------------------

    def _run(self, calls: Sequence[ToolCall], schedule: Schedule) -> tuple[_Outcome, list[int]]:
        async def main() -> tuple[_Outcome, list[int]]:
            async with entered(self._state) as snapshot:
                results, steps = await interleave([self._actor(made) for made in calls], schedule)
                frozen = tuple(_frozen(result) for result in results)
                return _Outcome(frozen, _frozen(await snapshot())), steps

        self._runs += 1
        found: tuple[_Outcome, list[int]] = run_on_loop(main)
        return found

    def _actor(self, made: ToolCall) -> Actor:
        tool = self._toolbox.on(made["name"]).tool
        assert tool is not None  # noqa: S101 - checked in `check_effects`
        fresh = ToolCall(name=tool.name, args=copy.deepcopy(made["args"]), id=made["id"])
        asked: Any = {**fresh, "type": "tool_call"}
        if _is_async(tool):
            return Actor(lambda: tool.ainvoke(asked), threaded=False)
        return Actor(lambda: tool.invoke(asked), threaded=True)

    # -- one call -----------------------------------------------------------------------------

    def single(self, made: ToolCall) -> None:
        """Run a call by itself, twice: is it repeatable, does it keep to what it says alone?"""
        name = _spelled(made)
        if name in self._alone or name in self._unrepeatable:
            return
        self._before = self._run([], _NOTHING)[0].world
        alone, [steps] = self._run([made], _NOTHING)
        if self._run([made], _NOTHING)[0] != alone:
            self._unrepeatable[name] = None
            return
        self._alone[name] = alone, steps
        declared = self._toolbox.on(made["name"]).effects
        if declared.writes_nothing and alone.world != self._before:
            changed = _difference(self._before, alone.world)
            why = f"It changes the world, and its labels say that it writes nothing: {changed}."
            path = self._name_of_change(made)
            wider = replace(declared, writes=(path,))
            self._wrong.append(WrongLabels((name,), why, {made["name"]: wider}))
        if declared.idempotent and not declared.writes_nothing:
            again = self._run([made, made], ((0, None), (1, None)))[0]
            if again.world != alone.world:
                changed = _difference(alone.world, again.world)
                why = f"It is declared idempotent, and a second time changes more: {changed}."
                not_so = {made["name"]: replace(declared, idempotent=False)}
                self._wrong.append(WrongLabels((name,), why, not_so))

    # -- two calls ----------------------------------------------------------------------------

    def pair(self, first: ToolCall, second: ToolCall) -> None:
        """Run two calls against each other, in every way there is or in the most allowed."""
        names = _spelled(first), _spelled(second)
        if not all(name in self._alone for name in names):
            return
        self._pairs += 1
        why = self._hazard(first, second)
        both = [first, second]
        steps = [self._alone[name][1] for name in names]
        ways = schedules(steps, self._most)
        serial = self._run(both, ways[0])[0]
        for way in ways[1:]:
            found = self._run(both, way)[0]
            if found == serial:
                continue
            if why is None:
                self._blame(both, serial, found, way)
            return
        if why is not None and why != _UNDECLARED:
            self._strict.append(StrictLabels(names, why, len(ways)))

    def _hazard(self, first: ToolCall, second: ToolCall) -> str | None:
        """Why two calls wait for each other, whichever comes first. A fence only waits itself."""
        accesses = [
            access_of(self._toolbox.on(made["name"]).effects, made["args"], frozenset())
            for made in (first, second)
        ]
        one, other = accesses
        if one is None or other is None:
            return _UNDECLARED
        found = hazard(one, other)
        return None if found is None else str(found)

    def _blame(
        self, both: Sequence[ToolCall], serial: _Outcome, found: _Outcome, way: Schedule
    ) -> None:
        names = _spelled(both[0]), _spelled(both[1])
        if self._run(both, way)[0] != found or self._run(both, ((0, None), (1, None)))[0] != serial:
            self._unrepeatable[" and ".join(names)] = None
            return
        differences = [
            f"{name} gives {found_result!r} instead of {result!r}"
            for name, result, found_result in zip(names, serial.results, found.results, strict=True)
            if result != found_result
        ]
        if serial.world != found.world:
            differences.append(f"the world differs: {_difference(serial.world, found.world)}")
        why = (
            "They do not wait for each other by their labels, but "
            f"{_order(names, way)}, {'; '.join(differences)}."
        )
        self._wrong.append(WrongLabels(names, why, self._enough(both, serial, found)))

    def _enough(
        self, both: Sequence[ToolCall], serial: _Outcome, found: _Outcome
    ) -> dict[str, Effects]:
        """Labels that would order these two: a path of one that the other reads or writes."""
        saw = [one != other for one, other in zip(serial.results, found.results, strict=True)]
        writer = 1 if saw[0] and not saw[1] else 0
        if not any(saw):
            # Only the world differs: both write, and the one that says where tells the path.
            writer = 0 if self._written(both[0]) else 1
        other = both[1 - writer]
        path = self._written(both[writer]) or self._name_of_change(both[writer])
        wider: dict[str, Effects] = {}
        for made, adds_write in ((both[writer], True), (other, not any(saw))):
            declared = wider.get(made["name"], self._toolbox.on(made["name"]).effects)
            if made is both[writer] and path == self._written(made):
                continue
            if adds_write:
                declared = replace(declared, writes=(*(declared.writes or ()), path))
            else:
                declared = replace(declared, reads=(*(declared.reads or ()), path))
            wider[made["name"]] = declared
        return wider

    def _written(self, made: ToolCall) -> str | None:
        """The first path that a call says it writes, as text."""
        declared = self._toolbox.on(made["name"]).effects
        access = access_of(declared, made["args"], frozenset())
        return _path(access.writes[0]) if access is not None and access.writes else None

    def _name_of_change(self, made: ToolCall) -> str:
        """A path for what a call changes in the world, by the first key of it that differs."""
        after = self._alone[_spelled(made)][0].world
        keys = _changed(self._before, after)
        return f"world:{_literal(str(keys[0]))}" if keys else "world:"


_UNDECLARED: Final = "undeclared"


def _is_async(tool: BaseTool) -> bool:
    """Whether a tool runs as a coroutine under `ainvoke`, and not in a thread."""
    if hasattr(tool, "coroutine"):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun


def _frozen(value: Any) -> Any:
    """A result or a world as it is now, in a form that can be compared later."""
    if isinstance(value, ToolMessage):
        if value.artifact is None and value.status == "success":
            return value.content
        return value.status, value.content, _frozen(value.artifact)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - what cannot be copied is compared by its text
        return repr(value)


def _spelled(made: ToolCall) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in made["args"].items())
    return f"{made['name']}({arguments})"


def _literal(text: str) -> str:
    """Text that stands for itself in a template."""
    return text.replace("{", "{{").replace("}", "}}")


def _path(levels: Levels) -> str:
    name, rest = ("", levels)
    if levels and levels[0].endswith(":"):
        name, rest = levels[0], levels[1:]
    return _literal(name + "/".join(rest)) or "/"


def _shown(effects: Effects) -> str:
    parts = [
        f"{side}={list(paths)!r}" if len(paths) > 1 else f"{side}={paths[0]!r}"
        for side in ("reads", "writes")
        if (paths := tuple(getattr(effects, side) or ()))
    ]
    flags = ("fence", "idempotent", "foreground", "ack")
    parts += [f"{flag}=True" for flag in flags if getattr(effects, flag)]
    return f"@effects({', '.join(parts)})"


def _changed(before: Any, after: Any) -> list[Any]:
    """The keys under which two worlds differ, if they are mappings."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return []
    missing = object()
    return [
        key
        for key in dict.fromkeys((*before, *after))
        if before.get(key, missing) != after.get(key, missing)
    ]


def _difference(before: Any, after: Any) -> str:
    """How two worlds differ, in short."""
    keys = _changed(before, after)
    if not keys:
        return f"{_short(before)} against {_short(after)}"
    key = keys[0]
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    now = [_short(world[key]) if key in world else "nothing" for world in (before, after)]
    return f"{key!r} is {now[0]} against {now[1]}{more}"


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _order(names: Sequence[str], way: Schedule) -> str:
    """A schedule in words."""
    actor, steps = way[0]
    if steps is None:
        return f"if {names[actor]} runs first"
    plural = "" if steps == 1 else "s"
    return f"if {names[1 - actor]} runs after {steps} step{plural} of {names[actor]}"
