"""Agents whose tools ask a person, with futures and without, to be compared.

Each tool says when it begins and when it ends, so that what runs twice is seen. What happens while
others run is decided by gates: `turn n` opens when the model is called and `n` of its messages
have called tools, and `asked` as soon as a tool has asked.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

import langgraph.types
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.types import Command, Interrupt, interrupt

from langchain_asyncfc import Effects
from langchain_asyncfc.testing import assert_valid_history, run_virtual
from tests.integration.agents.helpers import CONTROL, substance, unfinished
from tests.integration.conftest import PATIENCE, Gate, assert_no_tasks, declared
from tests.integration.reliability.faces import Agent, Face, batches, on, since_human

PURE = Effects()
FOREGROUND = Effects(foreground=True)

Script = Sequence[Sequence[tuple[str, dict[str, Any]]]]
"""The model's messages by the calls that they make: tool and arguments. Then it says `done`."""

Answer = Callable[[Any], Any]
How = Literal["map", "value", "first", "last"]


def yes(question: Any) -> str:
    """What a person answers."""
    return f"yes to {question}"


class Desk:
    """Makes tools and the model's replies.

    Attributes:
        delay: Virtual seconds that a tool takes after its gate; only on an event loop.
        log: What tools began and ended, in order.
    """

    def __init__(self, *, delay: float = 5.0, is_open: bool = False) -> None:
        self.delay = delay
        self.log: list[tuple[str, str, Any]] = []
        self._gates: dict[str, Gate] = defaultdict(Gate)
        self._is_open = is_open

    def count(self, what: str) -> Counter[tuple[str, Any]]:
        """How often each call began or ended."""
        return Counter((name, x) for kind, name, x in self.log if kind == what)

    def gate(self, name: str) -> Gate:
        """A gate by its name."""
        return self._gates[name]

    def open(self, name: str) -> None:
        """Open a gate."""
        self._gates[name].open()

    def _pass(self, until: str | None) -> None:
        if until is not None and not self._is_open:
            self._gates[until].wait()

    async def _apass(self, until: str | None) -> None:
        if until is not None and not self._is_open:
            await asyncio.wait_for(self._gates[until].wait_async(), PATIENCE * 1000)
            if self.delay:
                await asyncio.sleep(self.delay)

    def _ask(self, question: str) -> Any:
        try:
            return interrupt(question)
        except GraphInterrupt:
            self.open("asked")
            raise

    def ask(
        self,
        name: str = "ask",
        does: Effects | None = None,
        *,
        until: str | None = None,
        times: int = 1,
        error: type[Exception] | None = None,
        **options: Any,
    ) -> BaseTool:
        """A tool that asks a person.

        Args:
            name: Its name.
            does: Its effects; undeclared without.
            until: The gate that it passes before it asks.
            times: How often it asks.
            error: What it raises once it has its answers.
            **options: Fields of the tool.
        """

        def end(x: Any) -> str:
            said = [self._ask(f"{name}({x}) {n}?") for n in range(times)]
            self.log.append(("end", name, x))
            if error is not None:
                raise error(f"{name}({x}) failed")
            return f"{name}({x}): {', '.join(map(str, said))}"

        def run(x: Any = "") -> str:
            self.log.append(("start", name, x))
            self._pass(until)
            return end(x)

        async def arun(x: Any = "") -> str:
            self.log.append(("start", name, x))
            await self._apass(until)
            return end(x)

        return declared(run, arun, name, does, options)

    def work(
        self,
        name: str = "work",
        does: Effects | None = None,
        *,
        until: str | None = None,
        error: type[Exception] | None = None,
        **options: Any,
    ) -> BaseTool:
        """A tool that asks nobody; the arguments are as for `ask`."""

        def end(x: Any) -> str:
            self.log.append(("end", name, x))
            if error is not None:
                raise error(f"{name}({x}) failed")
            return f"{name}({x})"

        def run(x: Any = "") -> str:
            self.log.append(("start", name, x))
            self._pass(until)
            return end(x)

        async def arun(x: Any = "") -> str:
            self.log.append(("start", name, x))
            await self._apass(until)
            return end(x)

        return declared(run, arun, name, does, options)

    def policy(
        self, script: Script, *, plain: bool = False
    ) -> Callable[[list[BaseMessage]], AIMessage | str]:
        """What the model says; without futures with values in place of references."""

        steps = [s for s in script if not plain or any(n not in CONTROL for n, _ in s)]

        def reply(messages: list[BaseMessage]) -> AIMessage | str:
            turn = since_human(messages)
            self.open(f"turn {len(batches(turn))}")
            # What awaits at the end of a turn was a text before.
            made = sum(isinstance(m, AIMessage) and not m.text and bool(m.tool_calls) for m in turn)
            humans = sum(isinstance(m, HumanMessage) for m in messages)
            if made >= len(steps) or humans > 1:
                return f"done {humans}"
            number = sum(len(own_calls(m)) for m in messages)
            values = {f"future_{n}": text for n, text in enumerate(_texts(messages), 1)}
            calls = []
            for name, args in steps[made]:
                if name in CONTROL and plain:
                    continue
                number += name not in CONTROL
                given = _plain(args, values) if plain else args
                made_as = f"w{number}" if name in CONTROL else f"c{number}"
                calls.append({"name": name, "args": given, "id": made_as, "type": "tool_call"})
            return AIMessage("", tool_calls=calls)

        return reply


def own_calls(message: BaseMessage) -> list[Any]:
    """The calls of a message but for control calls."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return [call for call in calls if call["name"] not in CONTROL]


def _texts(messages: Sequence[BaseMessage]) -> list[str]:
    """The results of all calls, in the order in which they were made."""
    ids = [c["id"] for m in messages if isinstance(m, AIMessage) for c in m.tool_calls]
    found = {m.tool_call_id: m.text for m in messages if m.type == "tool"}
    return [found[i] for i in ids if i in found]


def _plain(args: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    def value(given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given in values:
            return values[given]
        return re.sub(r"\$\{(future_\d+)\}", lambda m: values[m[1]], given)

    return {k: value(v) for k, v in args.items() if k != "await_result"}


class Traces(BaseCallbackHandler):
    """Notes which runs were begun and not closed.

    Attributes:
        open: Their names by id.
        tools: How often a tool's run was begun.
        twice: Runs that were closed more than once.
    """

    run_inline = True

    def __init__(self) -> None:
        self.open: dict[Any, str] = {}
        self.tools: Counter[str] = Counter()
        self.twice: list[str] = []

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, **more: Any) -> None:
        """Note a tool."""
        del input_str
        self.open[run_id] = more.get("name") or (serialized or {}).get("name") or "?"
        self.tools[self.open[run_id]] += 1

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **more: Any) -> None:
        """Note a chain."""
        del serialized, inputs
        self.open[run_id] = f"chain {more.get('name')}"

    def _close(self, run_id: Any) -> None:
        if self.open.pop(run_id, None) is None:
            self.twice.append(str(run_id))

    def on_tool_end(self, output: Any, *, run_id: Any, **more: Any) -> None:
        """Note the end of a tool."""
        del output, more
        self._close(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """Note the end of a tool."""
        del error, more
        self._close(run_id)

    def on_chain_end(self, outputs: Any, *, run_id: Any, **more: Any) -> None:
        """Note the end of a chain."""
        del outputs, more
        self._close(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """Note the end of a chain."""
        del error, more
        self._close(run_id)


@dataclass(eq=False)
class Case:
    """What an agent does whose tools ask. A case is only the same as itself.

    Attributes:
        tools: Makes the tools.
        script: What the model says.
        options: Of the node or the middleware.
        stops: How often the run stops when all that is asked is answered at once.
        shared: How often identical calls may run at most, where they are joined.
        flat: Whether calls refer to others of their message. Without futures each call then has a
            message of its own.
    """

    tools: Callable[[Desk], Sequence[BaseTool]]
    script: Script
    options: dict[str, Any] = field(default_factory=dict)
    stops: int = 1
    shared: int = 0
    flat: bool = False


@dataclass(frozen=True)
class Way:
    """One way to run an agent.

    Attributes:
        face: The face.
        is_async: Whether on an event loop, each run on one of its own.
        delivery: The option.
        on_final: The option.
    """

    face: Literal["node", "middleware"]
    is_async: bool
    delivery: str = "in_place"
    on_final: str = "review"

    def __str__(self) -> str:
        entry = "ainvoke" if self.is_async else "invoke"
        return f"{self.face}-{entry}-{self.delivery}-{self.on_final}"


SHOWS_OPEN_ONLY = hasattr(langgraph.types, "_interrupt_id")
"""Whether LangGraph shows only what waits for an answer; older versions show all of a step."""

WAYS = [
    Way(face, is_async, delivery)
    for face in ("node", "middleware")
    for is_async in (True, False)
    for delivery in ("in_place", "append")
]


@dataclass
class Talk:
    """A thread of an agent.

    Attributes:
        agent: The agent.
        is_async: Whether on an event loop.
        traces: Of all its runs.
        stops: What was asked at each stop.
        errors: What runs raised.
        patience: Virtual seconds that a run may take.
        runner: The event loop of all runs; by default each has one of its own.
        warns: What the library may warn of.
        detached: Whether calls may go on after a run.
        answered: The questions that were answered, by id and text.
    """

    agent: Agent
    is_async: bool
    config: dict[str, Any] = field(default_factory=lambda: on("t"))
    traces: Traces = field(default_factory=Traces)
    stops: list[list[Interrupt]] = field(default_factory=list)
    patience: float = 100_000.0
    runner: asyncio.Runner | None = None
    warns: re.Pattern[str] | None = None
    detached: bool = False
    answered: set[tuple[str, str]] = field(default_factory=set)

    def run(self, value: Any, **more: Any) -> list[Interrupt]:
        """Run it once, on an event loop of its own; what it asks."""
        config = {**self.config, "callbacks": [self.traces], **more}
        if isinstance(value, Command) and isinstance(value.resume, dict):
            shown = self.agent.graph.get_state(self.config).interrupts
            self.answered |= {(i.id, str(i.value)) for i in shown if i.id in value.resume}
        with complaints("langchain_asyncfc", self.warns), complaints("asyncio"):
            if self.is_async and self.runner is not None:
                self.runner.run(self._arun(value, config))
            elif self.is_async:
                run_virtual(self._arun(value, config), timeout=self.patience)
            else:
                self.agent.graph.invoke(value, config)
        assert self.detached or not self.traces.open, self.traces.open
        assert not self.traces.twice
        asked = self.asked()
        if asked:
            self.stops.append(asked)
        return asked

    async def _arun(self, value: Any, config: Any) -> None:
        try:
            await self.agent.graph.ainvoke(value, config)
        finally:
            if not self.detached:
                assert_no_tasks()

    def asked(self) -> list[Interrupt]:
        """What waits for an answer."""
        asked = list(self.agent.graph.get_state(self.config).interrupts)
        if SHOWS_OPEN_ONLY:
            return asked
        still = [i for i in asked if (i.id, str(i.value)) not in self.answered]
        return still or asked

    def messages(self) -> list[BaseMessage]:
        """The thread's messages."""
        return list(self.agent.graph.get_state(self.config).values.get("messages", []))

    def answer_all(self, how: How = "map", answer: Answer = yes) -> list[BaseMessage]:
        """Answer until nothing is asked any more; the messages.

        Args:
            how: All at once by id, by a single value where one thing is asked, or the first or
                last of them at each stop.
            answer: What is said to a question.
        """
        for _ in range(20):
            asked = self.asked()
            if not asked:
                return self.messages()
            self.run(Command(resume=_resume(asked, how, answer)))
        raise AssertionError(self.stops)

    def talk(self, how: How = "map", answer: Answer = yes) -> list[BaseMessage]:
        """Begin, and answer until nothing is asked any more; the messages."""
        self.run({"messages": [HumanMessage("go")]})
        return self.answer_all(how, answer)


def _resume(asked: Sequence[Interrupt], how: How, answer: Answer) -> Any:
    if how == "value" and len(asked) == 1:
        return answer(asked[0].value)
    chosen = {"first": asked[:1], "last": asked[-1:]}.get(how, asked)
    return {i.id: answer(i.value) for i in chosen}


@contextmanager
def complaints(of: str, but: re.Pattern[str] | None = None) -> Iterator[None]:
    """Assert that a logger warns of nothing.

    Args:
        of: Its name.
        but: What it may say.
    """
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(of)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not [text for text in said if but is None or not but.search(text)], said


def without_args(messages: Sequence[BaseMessage]) -> list[Any]:
    """The substance of a history; of calls without arguments, where references may stand."""
    found: list[Any] = []
    for item in substance(messages):
        if item[0] == "ai":
            found.append(("ai", item[1], [(name, i) for name, _, i in item[2]]))
        else:
            found.append(item)
    return found


@functools.lru_cache(maxsize=64)
def anchor(case: Case) -> tuple[list[Any], Counter[tuple[str, Any]]]:
    """What comes of a case without futures, and how often each call ended.

    It is the same for all tests of a case, and half of their time: it is kept.
    """
    desk = Desk(is_open=True)
    script = [[call] for batch in case.script for call in batch] if case.flat else case.script
    agent = Face("middleware").build_plain(
        case.tools(desk), desk.policy(script, plain=True), checkpointer=InMemorySaver()
    )
    talk = Talk(agent, is_async=False)
    return without_args(talk.talk()), desk.count("end")


def opened(
    case: Case, way: Way, *, saver: Any = None, delay: float = 5.0, **options: Any
) -> tuple[Desk, Talk]:
    """An agent with futures, and its thread."""
    desk = Desk(delay=delay)
    agent = Face(way.face).build(
        case.tools(desk),
        desk.policy(case.script),
        checkpointer=saver or InMemorySaver(),
        delivery=way.delivery,
        on_final=way.on_final,
        **case.options,
        **options,
    )
    return desk, Talk(agent, way.is_async)


def check_same(case: Case, desk: Desk, messages: Sequence[BaseMessage]) -> None:
    """Check that all came out as without futures, and that nothing ran twice."""
    expected, wanted = anchor(case)
    assert_valid_history(messages)
    assert not unfinished(messages)
    found = without_args(messages)
    if case.flat:
        found, expected = ([i for i in items if i[0] == "tool"] for items in (found, expected))
    assert found == expected, difference(found, expected)
    ends = desk.count("end")
    assert set(ends) == set(wanted), (ends, wanted)
    for call, times in ends.items():
        assert times == wanted[call] or times <= case.shared, (call, times, desk.log)
    starts = {k: n for k, n in desk.count("start").items() if not k[0].startswith("ask")}
    assert starts == {k: n for k, n in ends.items() if not k[0].startswith("ask")}, desk.log


def difference(found: Sequence[Any], expected: Sequence[Any]) -> str:
    """Where two histories differ."""
    pairs = zip_longest(found, expected)
    return "\n".join(f"{f}\n  and not {e}" for f, e in pairs if f != e)
