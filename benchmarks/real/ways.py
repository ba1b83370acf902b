"""The ways of running a task: the same graph, with `ToolNode` or with ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from benchmarks.real.questions import Question
from langchain_asyncfc import AsyncFCToolNode, asyncfc_instructions, tools_condition

Way = Literal["a", "c", "d"]

WAYS: Final[dict[Way, str]] = {
    "a": "`ToolNode`",
    "c": "`AsyncFCToolNode` without labels",
    "d": "`AsyncFCToolNode` with labels",
}
"""Named as in the end-to-end benchmark. There the calls of (a) stand in a message each; a real
model puts as many into a message as it likes, in all ways."""

STEPS: Final = 40
"""Messages that a model may write in a turn; the run is wrong if it needs more. BFCL's own limit
is 20; waiting takes messages too, so it is twice that in all ways."""

_CHARACTERS: Final = 4
"""A token, where a service does not tell how many it counted: as many as in English text."""


class TooManyStepsError(Exception):
    """Raised when a model goes on and on."""


@dataclass(slots=True)
class Meter:
    """What the model's service counted in one run.

    Attributes:
        requests: Messages that the model wrote.
        input: Tokens sent to it.
        cached: Those of them that the service had in its cache.
        output: Tokens that it wrote.
        calls: Tool calls that it made, those about futures included.
        told: Whether the service told all these tokens; if not, some are guessed.
    """

    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    calls: int = 0
    told: bool = True

    def add(self, prompt: Sequence[AnyMessage], reply: AIMessage) -> None:
        """Count a request."""
        self.requests += 1
        self.calls += len(reply.tool_calls)
        usage = reply.usage_metadata
        if usage is None:
            self.told = False
            self.input += sum(map(tokens_of, prompt))
            self.output += tokens_of(reply)
            return
        self.input += usage["input_tokens"]
        self.output += usage["output_tokens"]
        self.cached += usage.get("input_token_details", {}).get("cache_read", 0)


def tokens_of(message: AnyMessage) -> int:
    """A guess at a message's length."""
    calls = message.tool_calls if isinstance(message, AIMessage) else ()
    return (len(message.text) + sum(len(str(call)) for call in calls)) // _CHARACTERS


@dataclass(frozen=True, slots=True)
class Setup:
    """How a way answers calls.

    Attributes:
        node: Runs the calls.
        condition: Belongs to the node.
        tools: What the model is told of.
        instructions: The system message; BFCL gives none where a model calls functions.
    """

    node: ToolNode
    condition: Callable[..., str]
    tools: Sequence[BaseTool | dict[str, Any]]
    instructions: str | None = field(default=None)

    def prompt(self) -> list[AnyMessage]:
        """The messages before the conversation."""
        return [SystemMessage(self.instructions)] if self.instructions else []


def setup(way: Way, question: Question, tools: Sequence[BaseTool]) -> Setup:
    """Prepare a way."""
    if way == "a":
        return Setup(ToolNode(tools), toolnode_condition, tools)
    effects = {spec.name: spec.effects for spec in question.tools} if way == "d" else None
    node = AsyncFCToolNode(tools, effects=effects)
    return Setup(node, tools_condition, node.model_tools, asyncfc_instructions())


def build(model: BaseChatModel, chosen: Setup, meter: Meter) -> Any:
    """The graph: a model node, a tools node, and a condition between them.

    Args:
        model: The model.
        chosen: The way.
        meter: Counts what the model takes; raises `TooManyStepsError` in the model's node.
    """
    bound = model.bind_tools(chosen.tools)

    async def agent(state: MessagesState) -> dict[str, Any]:
        said = [isinstance(message, AIMessage) for message in _turn(state["messages"])]
        if sum(said) >= STEPS:
            raise TooManyStepsError
        prompt = [*chosen.prompt(), *state["messages"]]
        reply = await bound.ainvoke(prompt)
        meter.add(prompt, reply)
        return {"messages": [reply]}

    async def route(state: MessagesState) -> str:
        return chosen.condition(state)

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_node("tools", chosen.node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route)
    builder.add_edge("tools", "agent")
    return builder.compile()


def _turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """What was said since the user spoke last."""
    starts = [k for k, message in enumerate(messages) if message.type == "human"]
    return messages[starts[-1] :]
