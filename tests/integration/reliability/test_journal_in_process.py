"""The journal over two lives of a thread, in one process.

The first life ends in the middle of a step, or while the model thinks, and its store takes nothing
from that moment on, as if the process had been killed. The second one is another graph over the
same checkpointer and store. What a process leaves that is really killed is in
`reliability/test_crash_journal.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import BaseStore, PutOp
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.executors import worker_pool
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, run_virtual
from langchain_asyncfc.testing import call as tool_call
from tests.integration.conftest import PATIENCE, Gate, assert_no_tasks, declared
from tests.integration.reliability.faces import batches, loop, on

Face = Literal["node", "middleware"]
Call = tuple[str, str, dict[str, Any]]

JOURNAL = ("asyncfc",)
BANK = Effects(writes="bank")
PURE = Effects()
WAIT = {"x": 9, "await_result": True}
LONG = 3600.0


class Killed(Exception):
    """What ends a life."""


class Line(BaseStore):
    """A process's line to the store.

    Attributes:
        kept: Opened when the outcome of a call is written.
        is_cut: Whether nothing goes through any more.
        tried: How often somebody tried in vain.
    """

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store
        self.kept = Gate()
        self.is_cut = False
        self.tried = 0

    def _through(self) -> None:
        if self.is_cut:
            self.tried += 1
            raise ConnectionError("the line is cut")

    def _done(self, ops: Sequence[Any]) -> None:
        values = [op.value for op in ops if isinstance(op, PutOp)]
        if any(value is not None and "outcome" in value for value in values):
            self.kept.open()

    def batch(self, ops: Iterable[Any]) -> Any:
        """Do what is asked for."""
        self._through()
        results = self._store.batch(ops := list(ops))
        self._done(ops)
        return results

    async def abatch(self, ops: Iterable[Any]) -> Any:
        """Do what is asked for."""
        self._through()
        results = await self._store.abatch(ops := list(ops))
        self._done(ops)
        return results


class Lives:
    """A thread in two lives. Its tools are `pay`, `look`, and `end`, which ends the first life.

    Attributes:
        script: The calls of the model's messages: tool, id, arguments. `"end"` instead ends the
            first life in the model. At last it says `done`.
        options: Of the node or the middleware.
        returns: What `pay` and `look` return, by default a text that names the life.
        ran: What ran, in order: life, tool and argument.
        life: Which life it is.
        gate: Holds `pay` and `look` in the first life. It is opened when that ends, at last.
        began: Opened when the first of them runs.
        ended: Opened when the first of them has run.
        until: What has to happen before the first life ends.
        is_killed: Whether it ends as if killed. Else it ends with an error, and cleans up.
    """

    def __init__(self, face: Face, *, is_async: bool) -> None:
        self.face = face
        self.is_async = is_async
        self.store = InMemoryStore()
        self.saver = InMemorySaver()
        self.line = Line(self.store)
        self.script: list[Sequence[Call] | Literal["end"]] = []
        self.options: dict[str, Any] = {"grace": 0.0}
        self.returns: Callable[[str, str], Any] | None = None
        self.more: list[BaseTool] = []
        self.ran: list[tuple[int, str, Any]] = []
        self.life = 1
        self.gate = Gate()
        self.began, self.ended = Gate(), Gate()
        self.until: Literal["began", "ended", "kept"] = "kept"
        self.is_killed = True

    # -- tools and the model ---------------------------------------------------------------------

    def _tool(self, name: str, does: Effects, **options: Any) -> BaseTool:
        def begin(x: Any) -> tuple[int, Gate]:
            self.ran.append((self.life, name, x))
            self.began.open()
            return self.life, self.gate

        def result(life: int, x: Any) -> Any:
            self.ended.open()
            text = f"{name}({x}) of life {life}"
            return text if self.returns is None else self.returns(name, text)

        def run(x: Any = None) -> Any:
            life, gate = begin(x)
            gate.wait()
            return result(life, x)

        async def arun(x: Any = None) -> Any:
            life, gate = begin(x)
            await gate.wait_async()
            return result(life, x)

        if self.returns is not None:
            options["response_format"] = "content_and_artifact"
        return declared(run, arun, name, does, options)

    def _end(self) -> BaseTool:
        def run(x: Any = None) -> str:
            if self.life == 1:
                self._awaited().wait()
                self._kill()
            return "went on"

        async def arun(x: Any = None) -> str:
            if self.life == 1:
                await self._awaited().wait_async()
                self._kill()
            return "went on"

        return declared(run, arun, "end", PURE, {})

    def _awaited(self) -> Gate:
        if self.until == "began":
            return self.began
        self.gate.open()
        return self.ended if self.until == "ended" else self.line.kept

    def _kill(self) -> None:
        self.line.is_cut = self.is_killed
        raise Killed

    def _next(self, messages: list[BaseMessage]) -> AIMessage | str | None:
        """What the model says; `None` where the life ends."""
        made = len(batches(messages))
        steps = [step for step in self.script if self.life == 1 or step != "end"]
        if sum(isinstance(m, HumanMessage) for m in messages) > 1 or made >= len(steps):
            return "done"
        if (step := steps[made]) == "end":
            return None
        calls = [tool_call(name, i, **args) for name, i, args in step]
        return AIMessage("", id=f"message {made + 1} of life {self.life}", tool_calls=calls)

    def _reply(self, messages: list[BaseMessage]) -> AIMessage | str:
        reply = self._next(messages)
        if reply is None:
            self._awaited().wait()
            self._kill()
        return reply or ""

    async def _areply(self, messages: list[BaseMessage]) -> AIMessage | str:
        reply = self._next(messages)
        if reply is None:
            await self._awaited().wait_async()
            self._kill()
        return reply or ""

    # -- running ---------------------------------------------------------------------------------

    def graph(self) -> Any:
        """A graph as a new process builds it."""
        self.line = line = Line(self.store)
        kept = {"checkpointer": self.saver, "store": line}
        tools = [self._tool("pay", BANK), self._tool("look", PURE), self._end(), *self.more]
        policy: Any = self._areply if self.is_async else self._reply
        model = ScriptedChatModel(policy=policy, check_history=True)
        if self.face == "middleware":
            own = AsyncFCMiddleware(instructions="", **self.options)
            return create_agent(model, tools, middleware=[own], **kept)
        node = AsyncFCToolNode(tools, handle_tool_errors=False, **self.options)
        builder = loop(model.bind_tools(node.model_tools), node, tools_condition)
        builder.add_conditional_edges("tools", node.review_condition("agent"), ["agent", "__end__"])
        return builder.compile(**kept)

    def run(self, value: Any, config: Any = None, *, graph: Any = None) -> list[BaseMessage]:
        """Run a graph to its end, by default a new one; the messages."""
        graph = graph or self.graph()
        config = config or on("t")
        if self.is_async:
            final = run_virtual(self._arun(graph, value, config))
        else:
            final = graph.invoke(value, config)
        return final["messages"]

    async def _arun(self, graph: Any, value: Any, config: Any) -> Any:
        try:
            return await graph.ainvoke(value, config)
        finally:
            assert_no_tasks()

    def first(self, *, is_cut: bool = False) -> None:
        """The first life.

        Args:
            is_cut: Whether the store takes nothing from the beginning.
        """
        graph = self.graph()
        self.line.is_cut = is_cut
        with pytest.raises(Killed):
            self.run({"messages": [HumanMessage("go")]}, graph=graph)
        self.gate.open()  # threads of the first life end
        worker_pool().rest(PATIENCE)
        self.life = 2

    def second(self, value: Any = None, config: Any = None) -> dict[str, str]:
        """The second life, to its end; what each call was answered."""
        messages = self.run(value, config)
        assert_valid_history(messages)
        assert messages[-1].text == "done"
        return {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}

    def runs_of(self, name: str) -> list[int]:
        """In which lives a tool ran."""
        return [life for life, tool, _ in self.ran if tool == name]

    def entries(self) -> list[Any]:
        """What the journal holds."""
        return [item.value for item in self.store.search(JOURNAL)]


@pytest.fixture(params=["node", "middleware"])
def face(request: pytest.FixtureRequest) -> Face:
    """Both faces."""
    return request.param


@pytest.fixture(params=[True, False], ids=["ainvoke", "invoke"])
def lives(request: pytest.FixtureRequest, face: Face) -> Lives:
    """In threads and on event loops."""
    return Lives(face, is_async=request.param)


def pay_and(*more: Call) -> list[Call]:
    """A payment, and other calls of its message."""
    return [("pay", "c1", {"x": 1}), *more]


END: Call = ("end", "c2", WAIT)
PLACES: dict[str, tuple[list[Any], float]] = {
    "in-the-background": ([pay_and(), [END]], 0.0),
    "while-the-model-thinks": ([pay_and(), "end"], 0.0),
    "without-a-placeholder": ([pay_and(END)], LONG),
}
"""Where a life ends: what the model says, and the grace period."""


def end_at(lives: Lives, place: str) -> None:
    """Have the first life end in a place."""
    script, lives.options["grace"] = PLACES[place]
    lives.script = list(script)


# -- what has ended -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_an_outcome_is_taken(lives: Lives, place: str) -> None:
    """What had finished gives its value, wherever the life ended, and does not run again."""
    end_at(lives, place)
    lives.script.append([("look", "c9", {"x": "future_1", "await_result": True})])
    lives.first()
    told = lives.second()
    assert told["c1"] == "pay(1) of life 1"
    assert told["c9"] == "look(pay(1) of life 1) of life 2"
    assert lives.runs_of("pay") == [1]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_left_of_what_was_taken(
    lives: Lives, place: str, request: pytest.FixtureRequest
) -> None:
    """The entry of an outcome that the second life has delivered is removed when that ends."""
    if (lives.face, place) == ("middleware", "without-a-placeholder"):
        reason = "LangGraph had kept the answer by itself"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
    end_at(lives, place)
    lives.first()
    assert lives.entries()
    lives.second()
    assert lives.entries() == []


@pytest.mark.parametrize("place", ["in-the-background", "while-the-model-thinks"])
def test_an_outcome_of_a_safe_call_is_taken(lives: Lives, place: str) -> None:
    """A call that may run again does not have to, once its outcome is written."""
    end_at(lives, place)
    lives.script[0] = [("look", "c1", {"x": 1})]
    lives.first()
    assert [set(entry) for entry in lives.entries()] == [{"call", "outcome"}]
    assert lives.second()["c1"] == "look(1) of life 1"
    assert lives.runs_of("look") == [1]
    assert lives.entries() == []


def test_a_new_question_takes_an_outcome_as_well(lives: Lives) -> None:
    """A person who asks again, instead of going on, gets what had finished."""
    lives.script = [pay_and(), "end"]
    lives.first()
    assert lives.second({"messages": [HumanMessage("well?")]})["c1"] == "pay(1) of life 1"
    assert lives.runs_of("pay") == [1]
    assert lives.entries() == []


def test_what_was_delivered_is_not_needed_any_more(lives: Lives) -> None:
    """An entry whose outcome stands in the messages is removed by the next life at the latest."""
    look = ("look", "c2", {"x": 2, "await_result": "all"})
    lives.script = [pay_and(), [look], [("end", "c3", WAIT)]]
    lives.until = "began"
    lives.gate.open()
    lives.first()
    assert {entry["call"] for entry in lives.entries()} >= {"c1"}
    told = lives.second()
    assert (told["c1"], told["c2"]) == ("pay(1) of life 1", "look(2) of life 1")
    assert lives.runs_of("pay") == [1]
    assert lives.entries() == []


# -- what was running -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_a_call_that_was_running_is_lost(lives: Lives, place: str) -> None:
    """Rule 22: it does not start twice, also where no placeholder tells of it."""
    end_at(lives, place)
    lives.until = "began"
    lives.script.append([("look", "c9", {"x": "future_1", "await_result": True})])
    lives.first()
    assert lives.entries() == [{"call": "c1"}]
    told = lives.second()
    assert "pay may or may not have taken effect" in told["c1"]
    assert "lost" in told["c9"]
    assert lives.runs_of("pay") == [1]
    assert lives.runs_of("look") == []
    assert lives.entries() == []


@pytest.mark.parametrize("place", PLACES)
def test_a_safe_call_that_was_running_runs_again(lives: Lives, place: str) -> None:
    """Rule 22: it writes nothing, and has no entry before it has ended."""
    end_at(lives, place)
    lives.script[0] = [("look", "c1", {"x": 1}), *lives.script[0][1:]]
    lives.until = "began"
    lives.first()
    assert lives.entries() == []
    assert lives.second()["c1"] == "look(1) of life 2"
    assert lives.runs_of("look") == [1, 2]
    assert lives.entries() == []


# -- lives that clean up --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["in-the-background", "while-the-model-thinks"])
@pytest.mark.parametrize("tool", ["pay", "look"])
def test_a_call_that_ended_with_its_run(lives: Lives, place: str, tool: str) -> None:
    """Rule 22: nobody cancelled it, so it is treated as after a crash, as without a journal."""
    end_at(lives, place)
    lives.script[0] = [(tool, "c1", {"x": 1})]
    lives.until, lives.is_killed = "began", False
    lives.first()
    told = lives.second()["c1"]
    if tool == "pay":
        assert "pay may or may not have taken effect" in told
    else:
        assert told == "look(1) of life 2"


def test_an_error_that_was_raised_of_a_safe_call(lives: Lives) -> None:
    """It is run again, as without a journal; the run ended because of it, and nobody was told."""
    lives.script = [[("end", "c1", {"x": 1})], [("look", "c2", {"x": 2, "await_result": True})]]
    lives.until, lives.is_killed = "began", False
    lives.first()
    assert lives.second()["c1"] == "went on"


# -- what cannot be used --------------------------------------------------------------------------


def unwritable(_: str, text: str) -> tuple[str, Any]:
    """A result that no serializer takes."""
    return text, threading.Lock()


def test_an_outcome_that_cannot_be_written_is_lost(lives: Lives) -> None:
    """Its entry says that it was started, and that is all that is known."""
    lives.script = [pay_and(), "end"]
    lives.returns = unwritable
    lives.first()
    assert lives.entries() == [{"call": "c1", "outcome": None}]
    lives.returns = None
    assert "pay may or may not have taken effect" in lives.second()["c1"]
    assert lives.runs_of("pay") == [1]
    assert lives.entries() == []


def test_a_safe_call_whose_outcome_cannot_be_written_runs_again(lives: Lives) -> None:
    """It is safe to."""
    lives.script = [[("look", "c1", {"x": 1})], "end"]
    lives.returns = unwritable
    lives.first()
    lives.returns = None
    assert lives.second()["c1"] == "look(1) of life 2"
    assert lives.entries() == []


def test_without_a_journal(lives: Lives) -> None:
    """With `journal=False` nothing is written, and what was not delivered is lost."""
    lives.script, lives.until = [pay_and(), "end"], "ended"
    lives.options["journal"] = False
    lives.first()
    assert lives.store.search(()) == []
    assert "pay may or may not have taken effect" in lives.second()["c1"]
    assert lives.store.search(()) == []


def test_a_store_that_fails(lives: Lives, caplog: pytest.LogCaptureFixture) -> None:
    """Calls go on as without one; a warning says why."""
    lives.script, lives.until = [pay_and(), "end"], "began"
    lives.first(is_cut=True)
    graph = lives.graph()
    lives.line.is_cut = True
    messages = lives.run(None, graph=graph)
    told = [m.text for m in messages if isinstance(m, ToolMessage)]
    assert "pay may or may not have taken effect" in told[0]
    assert lives.line.tried
    said = [r for r in caplog.records if r.name == "langchain_asyncfc.journal"]
    assert said
    assert {record.levelno for record in said} == {logging.WARNING}
    assert lives.runs_of("pay") == [1]


# -- what is told apart ---------------------------------------------------------------------------


@pytest.mark.parametrize("until", ["began", "kept"])
def test_a_replay_never_gets_an_older_outcome(lives: Lives, until: str) -> None:
    """Rule 22: from before the model spoke, its calls are others, and start again."""
    lives.script, lives.until = [pay_and(), "end"], until
    lives.first()
    node = "model" if lives.graph().get_state(on("t")).next == ("model",) else "agent"
    states = list(lives.graph().get_state_history(on("t")))
    [before] = [s for s in states if s.next == (node,) and len(s.values["messages"]) == 1]
    told = lives.second(None, {**before.config, "recursion_limit": 40})
    assert told["c1"] == "pay(1) of life 2"
    assert lives.runs_of("pay") == [1, 2]


def test_a_thread_does_not_read_anothers_entries(lives: Lives) -> None:
    """Rule 21: the same calls, of messages with the same ids, in another thread are others."""
    lives.script = [pay_and(END)]
    lives.options["grace"] = LONG
    lives.first()
    entries = lives.entries()
    lives.life = 1
    other = Lives(lives.face, is_async=lives.is_async)
    other.store, other.script, other.life = lives.store, lives.script, 2
    other.gate.open()
    assert other.second({"messages": [HumanMessage("go")]}, on("u"))["c1"] == "pay(1) of life 2"
    assert lives.entries() == entries


# -- with a person --------------------------------------------------------------------------------


def asks(lives: Lives) -> BaseTool:
    """A tool that asks a person, and writes down that it goes on."""

    def run(x: Any = None) -> str:
        answer = interrupt("may I?")
        lives.ran.append((lives.life, "ask", x))
        return f"{answer} in life {lives.life}"

    async def arun(x: Any = None) -> str:
        return run(x)

    return declared(run, arun, "ask", BANK, {})


@pytest.mark.parametrize("grace", [0.0, LONG])
def test_what_asks_is_not_lost(lives: Lives, grace: float) -> None:
    """Rule 20: its entry is removed when it asks, and it runs when it is answered."""
    lives.more = [asks(lives)]
    lives.script = [[("look", "c1", {"x": 1}), ("ask", "c2", {})]]
    lives.options["grace"] = grace
    lives.gate.open()
    lives.run({"messages": [HumanMessage("go")]})
    assert lives.runs_of("ask") == []
    assert not any(entry["call"] == "c2" for entry in lives.entries())
    lives.life = 2
    told = lives.second(Command(resume="yes"))
    assert told == {"c1": "look(1) of life 1", "c2": "yes in life 2"} | {
        i: text for i, text in told.items() if i not in ("c1", "c2")
    }
    assert lives.runs_of("look") == [1]
    assert lives.runs_of("ask") == [2]
    assert lives.entries() == []
