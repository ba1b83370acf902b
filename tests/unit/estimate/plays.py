"""Plays of known times: a script that a model plays with `ToolNode`, and with `AsyncFCToolNode`.

A result is either a value that a later call takes as a whole, or a sentence of which a later call
quotes a word. So what a model needs can be told from what it writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.testing import assert_valid_history, call, run_virtual
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun

TTFT = 0.4
TOKENS_PER_SECOND = 60.0
ANSWER_TOKENS = 60

EFFECTS = {
    "free": Effects(),
    "reader": Effects(reads="shelf:{key}"),
    "writer": Effects(writes="shelf:{key}"),
}
TOOLS = (*EFFECTS, "mystery")


@dataclass(frozen=True)
class Scene:
    """A call, and the earlier calls that it takes a value of or quotes."""

    tool: str
    seconds: float
    key: str = "a"
    takes: int | None = None
    quotes: int | None = None


@dataclass(frozen=True)
class Play:
    """Messages of calls, and the tokens of each message."""

    messages: tuple[tuple[Scene, ...], ...]
    tokens: tuple[int, ...]

    @property
    def scenes(self) -> list[Scene]:
        return [scene for message in self.messages for scene in message]


def value_of(number: int) -> str:
    return f"value-{number:03d}"


def word_of(number: int) -> str:
    return f"zebra{number:03d}"


def result_of(play: Play, number: int) -> str:
    quoted = any(scene.quotes == number for scene in play.scenes)
    return f"It says {word_of(number)} somewhere." if quoted else value_of(number)


@dataclass
class Recorder:
    """What a run took, noted by the model and the tools themselves."""

    replies: list[Reply] = field(default_factory=list)
    tools: list[ToolRun] = field(default_factory=list)

    def record(self, end: float) -> RunRecord:
        return RunRecord(tuple(self.replies), tuple(self.tools), end)


@dataclass
class Actor:
    """The model: plays the script, and says what it waits for where calls become futures."""

    play: Play
    asyncfc: bool = False
    careful: bool = False

    def reply(self, messages: Sequence[AnyMessage]) -> tuple[AIMessage, int]:
        assert_valid_history(messages, for_model_call=True)
        turn = sum(isinstance(m, AIMessage) for m in messages)
        if turn == len(self.play.messages):
            return AIMessage("Done."), ANSWER_TOKENS
        seen = _seen(messages)
        first = sum(len(message) for message in self.play.messages[:turn]) + 1
        numbers = range(first, first + len(self.play.messages[turn]))
        calls = [self._call(n, seen) for n in numbers]
        tokens = self.play.tokens[turn]
        if self.asyncfc:
            tokens += self._wait(calls, list(numbers), turn, seen)
        return AIMessage("", tool_calls=calls), tokens

    def _call(self, number: int, seen: set[int]) -> Any:
        scene = self.play.scenes[number - 1]
        args = {"number": str(number), "key": scene.key}
        if scene.takes is not None:
            known = scene.takes in seen or not self.asyncfc
            args["source"] = value_of(scene.takes) if known else f"future_{scene.takes}"
        if scene.quotes is not None:
            assert scene.quotes in seen or not self.asyncfc
            args["quote"] = word_of(scene.quotes)
        return call(scene.tool, _id=f"call_{number}", **args)

    def _wait(self, calls: list[Any], numbers: list[int], turn: int, seen: set[int]) -> int:
        if turn + 1 == len(self.play.messages):
            calls[-1]["args"]["await_result"] = "all"
            return 5
        needed = set()
        for scene in self.play.messages[turn + 1]:
            needed |= {scene.quotes} | ({scene.takes} if self.careful else set())
        needed -= {None, *seen}
        here = needed.intersection(numbers)
        for number in here:
            calls[numbers.index(number)]["args"]["await_result"] = True
        earlier = [f"future_{n}" for n in sorted(needed - here)]
        if earlier:
            calls.append(call("await_future", futures=earlier))
        return 5 * len(here) + 20 * bool(earlier)


def _seen(messages: Sequence[AnyMessage]) -> set[int]:
    return {
        int(m.tool_call_id.removeprefix("call_"))
        for m in messages
        if isinstance(m, ToolMessage)
        and m.tool_call_id.startswith("call_")
        and "is running" not in m.text
        and m.tool_call_id.removeprefix("call_").isdigit()
    }


def perform(
    play: Play,
    *,
    asyncfc: bool = False,
    careful: bool = False,
    effects: Mapping[str, Effects] | None = None,
) -> RunRecord:
    """Run a play on a real graph in virtual time."""
    actor, recorder = Actor(play, asyncfc, careful), Recorder()

    async def agent(state: MessagesState) -> dict[str, Any]:
        clock = asyncio.get_running_loop().time
        start = clock()
        message, tokens = actor.reply(state["messages"])
        await asyncio.sleep(TTFT + tokens / TOKENS_PER_SECOND)
        calls = tuple(str(c["id"]) for c in message.tool_calls)
        recorder.replies.append(
            Reply(start, clock(), calls=calls, first_token=start + TTFT, output_tokens=tokens)
        )
        return {"messages": [message]}

    tools = [_tool(name, play, recorder) for name in TOOLS]
    node: ToolNode = AsyncFCToolNode(tools, effects=effects) if asyncfc else ToolNode(tools)
    condition: Callable[..., str] = tools_condition if asyncfc else toolnode_condition

    async def route(state: MessagesState) -> str:
        return condition(state)

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route)
    builder.add_edge("tools", "agent")
    graph = builder.compile()

    async def run() -> float:
        start = {"messages": [HumanMessage("go")]}
        await graph.ainvoke(start, {"recursion_limit": 1_000})
        return asyncio.get_running_loop().time()

    end = run_virtual(run())
    recorder.tools.sort(key=lambda run: int(run.call.removeprefix("call_")))
    return recorder.record(end)


def _tool(name: str, play: Play, recorder: Recorder) -> BaseTool:
    async def act(number: str, key: str, source: str = "", quote: str = "") -> str:
        """Act."""
        clock = asyncio.get_running_loop().time
        start, n = clock(), int(number)
        await asyncio.sleep(play.scenes[n - 1].seconds)
        result = result_of(play, n)
        args = {"number": number, "key": key, "source": source, "quote": quote}
        recorder.tools.append(
            ToolRun(f"call_{n}", name, start, start, clock(), args, result=result)
        )
        return result

    return StructuredTool.from_function(coroutine=act, name=name, description="Act.")
