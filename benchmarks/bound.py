"""How near a run comes to the bound B*, in virtual time on real graphs.

B* is the chain of decoding: call k starts after its own decoding and after everything that it
depends on, and the final answer is decoded after all results. No order of work that decodes the
same messages can be faster. Virtual time makes the figures exact and the same each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call, run_virtual

TTFT = 0.4
TOKENS_PER_SECOND = 60.0
CALL_TOKENS = 60
ANSWER_TOKENS = 60


def _decode(tokens: int) -> float:
    return TTFT + tokens / TOKENS_PER_SECOND


@tool
async def look_up(key: str, seconds: float) -> str:
    """Look something up."""
    await asyncio.sleep(seconds)
    return f"value of {key}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a workload: how long its tool takes, and whether the model needs it next."""

    seconds: float
    needed_next: bool = False


def _policy(calls: Sequence[Call], *, awaits: bool) -> Callable[[list[Any]], AIMessage]:
    """A model that makes one call a turn, then answers.

    Where it needs a value next it says so by `await_result`, and in its last call it asks for
    all; with ToolNode it has no such flag.
    """

    def reply(messages: list[Any]) -> AIMessage:
        assert_valid_history(messages, for_model_call=True)
        turn = sum(isinstance(m, AIMessage) for m in messages)
        if turn >= len(calls):
            return _said("done", [], ANSWER_TOKENS)
        args: dict[str, Any] = {"key": f"k{turn}", "seconds": calls[turn].seconds}
        if awaits and turn == len(calls) - 1:
            args["await_result"] = "all"
        elif awaits and calls[turn].needed_next:
            args["await_result"] = True
        return _said("", [call("look_up", **args)], CALL_TOKENS)

    return reply


def _said(text: str, calls: list[Any], tokens: int) -> AIMessage:
    usage = {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}
    return AIMessage(text, tool_calls=calls, usage_metadata=usage)


def agent_graph(model: BaseChatModel, node: ToolNode, condition: Any) -> Any:
    """An agent: the model, and a node for its tools, in turn.

    Args:
        model: The model.
        node: Runs its calls.
        condition: Says where to go when the model has spoken.
    """

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", condition)
    builder.add_edge("tools", "agent")
    return builder.compile()


def _time(node: ToolNode, condition: Any, policy: Any) -> float:
    model = ScriptedChatModel(policy=policy, ttft=TTFT, tokens_per_second=TOKENS_PER_SECOND)

    graph = agent_graph(model, node, condition)

    async def run() -> float:
        config: RunnableConfig = {"recursion_limit": 1_000}
        result = await graph.ainvoke({"messages": [HumanMessage("go")]}, config)
        if result["messages"][-1].text != "done":
            msg = "The run did not come to its answer."
            raise AssertionError(msg)
        return asyncio.get_running_loop().time()

    return run_virtual(run())


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of one workload: the bound, with ToolNode, with labels and without."""

    bound: float
    toolnode: float
    labelled: float
    unlabelled: float


def bound(calls: Sequence[Call]) -> float:
    """B* of independent calls, where a value that is needed next holds decoding up."""
    now, last_end = 0.0, 0.0
    for one in calls:
        now += _decode(CALL_TOKENS)
        last_end = max(last_end, now + one.seconds)
        if one.needed_next:
            now += one.seconds
    return max(now, last_end) + _decode(ANSWER_TOKENS)


def measure(calls: Sequence[Call]) -> Result:
    """Run a workload in each way."""
    tools: list[BaseTool] = [look_up]
    return Result(
        bound(calls),
        _time(ToolNode(tools), toolnode_condition, _policy(calls, awaits=False)),
        _time(
            AsyncFCToolNode(tools, effects={"look_up": Effects()}),
            tools_condition,
            _policy(calls, awaits=True),
        ),
        _time(AsyncFCToolNode(tools), tools_condition, _policy(calls, awaits=True)),
    )


WORKLOADS: dict[str, list[Call]] = {
    **{f"{n} independent tools of 1 s": [Call(1.0)] * n for n in (2, 5, 10, 20, 50)},
    "10 fast tools (2 ms)": [Call(0.002)] * 10,
    "10 tools of 1 s, every value needed next": [Call(1.0, needed_next=True)] * 10,
    "20 of 1 s, every third needed next": [Call(1.0, n % 3 == 0) for n in range(20)],
    "one call of 1 s": [Call(1.0)],
}


def report(*, quick: bool) -> list[str]:
    """The table, as Markdown lines. It is the same each time, so `quick` changes nothing."""
    del quick
    lines = [
        "| one call a turn | B* | ToolNode | read-only | of B* | no effects | vs ToolNode |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, calls in WORKLOADS.items():
        r = measure(calls)
        lines.append(
            f"| {name} | {r.bound:.2f} s | {r.toolnode:.2f} s | {r.labelled:.2f} s | "
            f"{r.bound / r.labelled:.1%} | {r.unlabelled:.2f} s | "
            f"{r.toolnode / r.unlabelled:.3f}x |"
        )
    return lines
