"""A chat model whose behaviour is a Python function, with a realistic pace when asked for.

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        if isinstance(messages[-1], HumanMessage):
            return AIMessage("", tool_calls=[call("search", query="kangaroo")])
        return f"The tool says: {messages[-1].text}"

    model = ScriptedChatModel(policy=policy)
    agent = create_agent(model, tools=[search])

A policy sees what a real model would see and nothing else, so it can react to placeholders, errors
and order. For a fixed list of replies there is `ScriptedChatModel.replies([...])`.
"""

# ruff: noqa: ARG002 - the generating methods have the signatures of BaseChatModel.
from __future__ import annotations

import asyncio
import inspect
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolCall,
    ToolCallChunk,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableBinding
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from langchain_asyncfc.testing.history import assert_valid_history

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.tools import BaseTool

Reply: TypeAlias = AIMessage | str
"""What a policy answers with; a string is an `AIMessage` of that text."""

Policy: TypeAlias = Callable[[list[BaseMessage]], Reply | Awaitable[Reply]]
"""From the messages that the model was sent to its reply."""

# The usual rule of thumb for English text, and the slice in which text is streamed.
CHARACTERS_PER_TOKEN = 4


class ScriptExhaustedError(RuntimeError):
    """Raised when `ScriptedChatModel.replies` has no reply left for a call."""


def count_characters(text: str) -> int:
    """The default token count: a token for every four characters begun, none for an empty text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def call(name: str, /, _id: str | None = None, **args: Any) -> ToolCall:
    """Make a tool call for `AIMessage.tool_calls`, with a unique id unless one is given.

    Example: `AIMessage("", tool_calls=[call("search", query="a"), call("read", path="b")])`
    """
    return ToolCall(name=name, args=args, id=_id or f"call_{uuid.uuid4().hex}", type="tool_call")


class BoundScriptedModel(RunnableBinding[LanguageModelInput, AIMessage]):
    """What `ScriptedChatModel.bind_tools` returns: a binding, as real chat models return.

    `kwargs` holds what each call passes to the model: `tools` in OpenAI format, `tool_choice` if
    one was given, and the other arguments of `bind_tools`. All attributes of the model can be read
    on it.
    """

    @property
    def bound_tools(self) -> list[Any]:
        """The tools as they were given to `bind_tools`, before conversion."""
        return cast("ScriptedChatModel", self.bound).bound_tools

    @property
    def tool_choice(self) -> Any:
        """The `tool_choice` that was given to `bind_tools`, or None."""
        return self.kwargs.get("tool_choice")

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The calls of the model, of all its bindings together."""
        return cast("ScriptedChatModel", self.bound).calls


class ScriptedChatModel(BaseChatModel):
    """A chat model that answers with what a Python function of the messages returns.

    Decoding a reply takes `ttft + tokens / tokens_per_second` seconds, spent in `asyncio.sleep`, or
    in `time.sleep` under `invoke` and `stream`; by default none. While streaming, the time is spent
    token by token. An `AIMessage` without `usage_metadata` gets one by `count_tokens`; with one,
    its `output_tokens` set the decode time, so a policy can say how long a reply takes.

    An exception that the policy raises is raised by the call, as an API error would be. Cancelling
    a call ends it at the token it has reached. Streamed chunks add up to the policy's message, but
    for its `name`, which LangChain drops when it adds chunks.
    """

    policy: Policy
    """Sync or async; an async one needs `ainvoke` or `astream`."""
    ttft: float = Field(default=0.0, ge=0)
    """Time to first token, in seconds."""
    tokens_per_second: float | None = Field(default=None, gt=0)
    """Decoding speed. None decodes in no time."""
    count_tokens: Callable[[str], int] = count_characters
    """The number of tokens in a text. A tool call counts as its name and its arguments as JSON."""
    streaming: bool = False
    """Stream inside of `invoke` and `ainvoke` too, so that callbacks see the chunks."""
    check_history: bool = False
    """Reject what a provider would reject, as `assert_valid_history` with `for_model_call` does."""
    bound_tools: list[Any] = Field(default_factory=list, repr=False)
    """The tools given to `bind_tools`; empty on a model that none were bound to."""
    calls: list[list[BaseMessage]] = Field(default_factory=list, repr=False)
    """The messages of each call, in order; one list for a model and all its copies and bindings."""
    call_kwargs: list[dict[str, Any]] = Field(default_factory=list, repr=False)
    """The keyword arguments of each call (`tools`, `tool_choice`, …), in the order of `calls`."""

    @classmethod
    def replies(cls, replies: Sequence[Reply | BaseException], **options: Any) -> ScriptedChatModel:
        """Make a model that gives these replies in turn; an exception among them is raised.

        Args:
            replies: One per call of the model, in order.
            **options: The other fields of the model.

        Raises:
            ScriptExhaustedError: At the call after the last reply.
        """
        script = list(replies)
        rest = iter(script)

        def policy(messages: list[BaseMessage]) -> Reply:
            try:
                reply = next(rest)
            except StopIteration:
                last = messages[-1].pretty_repr() if messages else "nothing"
                raise ScriptExhaustedError(
                    f"The script has {len(script)} replies, and the model was called once more. "
                    f"It was sent {len(messages)} messages, the last one:\n{last}"
                ) from None
            if isinstance(reply, BaseException):
                raise reply
            return reply

        return cls(policy=policy, **options)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> BoundScriptedModel:
        """Bind tools, which the policy does not see but a test can: see `BoundScriptedModel`."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return BoundScriptedModel(
            bound=self.model_copy(update={"bound_tools": list(tools)}),
            kwargs={"tools": [convert_to_openai_tool(tool) for tool in tools], **kwargs},
            config={},
        )

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._reply(messages, kwargs)
        seconds = self._decode_time(message)
        if seconds:
            time.sleep(seconds)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = await self._areply(messages, kwargs)
        seconds = self._decode_time(message)
        if seconds:
            await asyncio.sleep(seconds)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        start = time.monotonic()
        message = self._reply(messages, kwargs)
        for due, chunk in self._paced_chunks(message):
            # Due times count from the start, so that a late sleep does not add up.
            if due and (seconds := start + due - time.monotonic()) > 0:
                time.sleep(seconds)
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        clock = asyncio.get_running_loop().time
        message = await self._areply(messages, kwargs)
        start = clock()
        for due, chunk in self._paced_chunks(message):
            if due and (seconds := start + due - clock()) > 0:
                await asyncio.sleep(seconds)
            yield ChatGenerationChunk(message=chunk)

    def _record(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> None:
        # Copies: the graph's reducer writes ids into the very objects that it was given.
        self.calls.append([message.model_copy() for message in messages])
        self.call_kwargs.append(dict(kwargs))
        if self.check_history:
            assert_valid_history(messages, for_model_call=True)

    def _reply(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        self._record(messages, kwargs)
        reply = self.policy(list(messages))
        if inspect.isawaitable(reply):
            if inspect.iscoroutine(reply):
                reply.close()
            raise TypeError("The policy is async: call the model with ainvoke or astream.")
        return self._finished(reply, messages)

    async def _areply(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        self._record(messages, kwargs)
        reply = self.policy(list(messages))
        if inspect.isawaitable(reply):
            reply = await reply
        return self._finished(reply, messages)

    def _finished(self, reply: Any, messages: list[BaseMessage]) -> AIMessage:
        """The reply as a message of its own (LangChain writes into it), with usage filled in."""
        if isinstance(reply, str):
            reply = AIMessage(reply)
        if not isinstance(reply, AIMessage):
            raise TypeError(f"A policy returns an AIMessage or a str, not {type(reply).__name__}.")
        usage = reply.usage_metadata
        if usage is None:
            sent = sum(self._count_message(message) for message in messages)
            made = self._count_message(reply)
            usage = UsageMetadata(input_tokens=sent, output_tokens=made, total_tokens=sent + made)
        return reply.model_copy(update={"usage_metadata": usage})

    def _count_message(self, message: BaseMessage) -> int:
        tokens = self.count_tokens(message.text)
        for _, name, arguments in _written_calls(message):
            tokens += self.count_tokens(name) + self.count_tokens(arguments)
        return tokens

    def _decode_time(self, message: AIMessage) -> float:
        usage = cast("UsageMetadata", message.usage_metadata)
        if self.tokens_per_second is None:
            return self.ttft
        return self.ttft + usage["output_tokens"] / self.tokens_per_second

    def _paced_chunks(self, message: AIMessage) -> list[tuple[float, AIMessageChunk]]:
        """The message as chunks, each with the seconds from the start until it is complete."""
        chunks, weights = [], []
        for weight, chunk in self._chunks(message):
            weights.append(weight)
            chunks.append(chunk)
        decoding = self._decode_time(message) - self.ttft
        total = sum(weights)
        paced, spent = [], 0.0
        for weight, chunk in zip(weights, chunks, strict=True):
            spent += weight
            paced.append((self.ttft + (decoding * (spent / total) if total else 0.0), chunk))
        # The end as `_decode_time` has it, to the last bit.
        paced[-1] = (self._decode_time(message), paced[-1][1])
        return paced

    def _chunks(self, message: AIMessage) -> Iterator[tuple[float, AIMessageChunk]]:
        """Pieces of the message with their tokens: text, then each call's name and arguments."""
        if isinstance(message.content, str):
            for weight, text in self._pieces(message.content):
                yield weight, AIMessageChunk(content=text, id=message.id)
        else:
            content = list(message.content)
            yield self.count_tokens(message.text), AIMessageChunk(content=content, id=message.id)
        for index, (id_, name, arguments) in enumerate(_written_calls(message)):
            head = ToolCallChunk(name=name, args="", id=id_, index=index, type="tool_call_chunk")
            yield (
                self.count_tokens(name),
                AIMessageChunk(content="", id=message.id, tool_call_chunks=[head]),
            )
            for weight, text in self._pieces(arguments):
                part = ToolCallChunk(
                    name=None, args=text, id=None, index=index, type="tool_call_chunk"
                )
                yield weight, AIMessageChunk(content="", id=message.id, tool_call_chunks=[part])
        yield (
            0.0,
            AIMessageChunk(
                content="",
                id=message.id,
                additional_kwargs=message.additional_kwargs,
                response_metadata=message.response_metadata,
                usage_metadata=message.usage_metadata,
                chunk_position="last",
            ),
        )

    def _pieces(self, text: str) -> Iterator[tuple[float, str]]:
        """Cut a text into one slice a token, if it has the characters, with the tokens of each."""
        tokens = self.count_tokens(text)
        slices = max(1, min(tokens, len(text)))
        for number in range(slices if text else 0):
            start, end = number * len(text) // slices, (number + 1) * len(text) // slices
            yield tokens / slices, text[start:end]


def _written_calls(message: BaseMessage) -> Iterator[tuple[str | None, str, str]]:
    """The tool calls of a message as a model writes them: id, name, arguments as text."""
    if isinstance(message, AIMessage):
        for made in message.tool_calls:
            yield made["id"], made["name"], json.dumps(made["args"], ensure_ascii=False)
        for broken in message.invalid_tool_calls:
            yield broken["id"], broken["name"] or "", broken["args"] or ""
