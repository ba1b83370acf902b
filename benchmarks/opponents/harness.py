"""Pydantic AI with the `BackgroundTools` of its harness, its model scripted by a `FunctionModel`.

It is the nearest to asynchronous function calling that can be installed: a tool that is marked
`background="optional"` gets an argument `run_in_background`, the model is told that the call is
pending and goes on, and the result comes by itself with the next request, as a message of the
user's role. There are no references, and nothing orders calls by what they read and write, so the
model must have read whatever a call depends on before it makes it. To wait, the model ends its
response, and is asked again when the next result is there.

Without the capability Pydantic AI runs the calls of one message in parallel and waits for all of
them, as `ToolNode` does: that is (a) and (b).

Source: pydantic-ai-harness, `background_tools`; pydantic-ai, `models.function`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from pydantic_ai import Agent, Tool
from pydantic_ai.capabilities import UseThreadExecutor
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextContent,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import UsageLimits
from pydantic_ai_harness import BackgroundTools

from benchmarks.caching import uncached
from benchmarks.opponents.starter import FOREGROUND, START, Starter, numbered
from benchmarks.pace import Pace, decode
from benchmarks.stage import Outcome, Stage, Truth
from benchmarks.workloads.conflicts import dependencies
from benchmarks.workloads.tasks import Task, ToolSpec

_RESULT = re.compile(
    rf'<tool_result tool_name="[^"]*" tool_call_id="{START}_(\d+)">\n(.*?)\n</tool_result>',
    re.DOTALL,
)
_LIMITS = UsageLimits(request_limit=None)


class _AtOnce(Executor):
    """Runs jobs where they are submitted.

    The text of `BackgroundTools`' instructions is made by a plain function, for which Pydantic AI
    starts a thread that virtual time does not know; this is its own way of saying where such
    functions run.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a job."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - the future's owner raises it
            future.set_exception(error)
        return future


class Harness:
    """Runs of one task with Pydantic AI.

    Args:
        task: The task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._deps = dependencies(task)
        self._stage = Stage(task)
        self._truth = Truth(task)
        self._player: Starter
        self._agent = Agent(
            FunctionModel(self._answer),
            tools=[_tool(spec, self._stage) for spec in task.tools],
            capabilities=[UseThreadExecutor(_AtOnce()), BackgroundTools()],
        )

    async def run(self, times: Pace) -> Outcome:
        """Run the task once, in virtual time. The outcome says whether it was right."""
        self._stage.begin(times)
        player = Starter(self._task, self._deps, times.tokens, "idle", self)
        self._player = player
        clock = asyncio.get_running_loop().time
        start = clock()
        history: list[ModelMessage] = []
        for player.turn in range(len(self._task.turns)):
            said = f"Request {player.turn}"
            done = await self._agent.run(said, message_history=history, usage_limits=_LIMITS)
            history = done.all_messages()
        seconds = clock() - start
        wrong = self._truth.difference(self._stage, self.read(_translated(history)))
        return Outcome(
            seconds, len(player.output), sum(player.output), uncached(player.asked), wrong
        )

    def background(self, call: ToolCall) -> ToolCall:
        """The same call with `run_in_background`."""
        number = numbered(call["id"], FOREGROUND)
        args = {**call["args"], "run_in_background": True}
        return ToolCall(name=call["name"], args=args, id=f"{START}_{number}")

    def read(self, messages: Sequence[AnyMessage]) -> dict[int, str]:
        """Each result that stands in the messages, by call. Of `None` Pydantic AI sends nothing."""
        found: dict[int, str] = {}
        for message in messages:
            if isinstance(message, HumanMessage):
                found.update((int(k), body) for k, body in _RESULT.findall(str(message.content)))
            elif isinstance(message, ToolMessage):
                number = numbered(message.tool_call_id, FOREGROUND)
                if number is not None:
                    found[number] = str(message.content)
        return {k: text or "null" for k, text in found.items()}

    async def _answer(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        """The model."""
        del info
        reply = self._player.reply(_translated(messages))
        await asyncio.sleep(decode(self._player.output[-1]))
        if not reply.tool_calls:
            return ModelResponse(parts=[TextPart(str(reply.content))])
        return ModelResponse(
            parts=[ToolCallPart(c["name"], c["args"], str(c["id"])) for c in reply.tool_calls]
        )


def _tool(spec: ToolSpec, stage: Stage) -> Tool[None]:
    async def act(**args: Any) -> Any:
        return await stage.play(spec.name, args)

    tool = Tool.from_schema(act, spec.name, spec.description, dict(spec.schema))
    tool.metadata = {"background": "optional"}
    return tool


def _translated(messages: Sequence[ModelMessage]) -> list[AnyMessage]:
    """Pydantic AI's messages as LangChain's, which the player reads and the cache's size counts."""
    found: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, ModelRequest):
            for part in message.parts:
                if isinstance(part, ToolReturnPart):
                    text = part.model_response_str()
                    found.append(ToolMessage(text, tool_call_id=part.tool_call_id))
                elif isinstance(part, UserPromptPart):
                    found.append(HumanMessage(_text(part)))
        else:
            found.append(_said(message))
    return found


def _said(message: ModelResponse) -> AIMessage:
    calls = [
        ToolCall(name=part.tool_name, args=part.args_as_dict(), id=part.tool_call_id)
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    return AIMessage(message.text or "", tool_calls=calls)


def _text(part: UserPromptPart) -> str:
    if isinstance(part.content, str):
        return part.content
    return "\n".join(
        item.content if isinstance(item, TextContent) else str(item) for item in part.content
    )
