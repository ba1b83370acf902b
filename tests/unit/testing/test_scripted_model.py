"""The scripted model: policies, pace, streams, bound tools, and real agents around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from pydantic import BaseModel, ValidationError

from langchain_asyncfc.testing import (
    BoundScriptedModel,
    InvalidHistoryError,
    ScriptedChatModel,
    ScriptExhaustedError,
    assert_valid_history,
    call,
    in_virtual_time,
)

HOUR = 3600.0


@tool
async def nap(hours: float) -> str:
    """Sleep for some hours."""
    await asyncio.sleep(hours * HOUR)
    return f"slept {hours:g} h"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers, in a thread."""
    return a + b


def usage(output_tokens: int) -> UsageMetadata:
    """Usage data with which a policy says how long its reply is."""
    return UsageMetadata(
        input_tokens=10, output_tokens=output_tokens, total_tokens=10 + output_tokens
    )


def agent_policy(messages: list[BaseMessage]) -> AIMessage:
    """Call both tools at once, then answer with what they said."""
    if isinstance(messages[-1], HumanMessage):
        calls = [call("nap", hours=1), call("add", a=1, b=2)]
        return AIMessage("I do both.", tool_calls=calls, usage_metadata=usage(60))
    texts = [message.text for message in messages if isinstance(message, ToolMessage)]
    return AIMessage(" and ".join(texts), usage_metadata=usage(30))


def now() -> float:
    """The running loop's clock."""
    return asyncio.get_running_loop().time()


def added(chunks: list[AIMessageChunk]) -> AIMessage:
    """The message that the chunks add up to."""
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return AIMessage(**total.model_dump(exclude={"type", "tool_call_chunks", "chunk_position"}))


class TestPolicy:
    """The policy decides, and sees what a model would see."""

    def test_sees_the_messages(self) -> None:
        """The policy gets exactly the messages that the model was sent."""
        model = ScriptedChatModel(policy=lambda messages: f"{len(messages)} {messages[-1].text}")
        reply = model.invoke([SystemMessage("be brief"), HumanMessage("hi")])
        assert reply.content == "2 hi"

    @in_virtual_time
    async def test_may_be_async(self) -> None:
        """An async policy is awaited, under `ainvoke` and under `astream`."""

        async def policy(messages: list[BaseMessage]) -> str:
            await asyncio.sleep(HOUR)
            return "late"

        model = ScriptedChatModel(policy=policy)
        assert (await model.ainvoke("hi")).content == "late"
        assert [chunk.text async for chunk in model.astream("hi") if chunk.text] == ["late"]
        assert now() == 2 * HOUR

    def test_async_policy_needs_an_async_call(self) -> None:
        """Under `invoke` an async policy is a clear error, without a warning about a coroutine."""

        async def policy(messages: list[BaseMessage]) -> str:
            return "never"  # pragma: no cover

        with pytest.raises(TypeError, match="call the model with ainvoke or astream"):
            ScriptedChatModel(policy=policy).invoke("hi")

    def test_any_awaitable_is_refused_under_invoke(self) -> None:
        """An awaitable that is no coroutine is refused in the same way."""

        class Later:
            def __await__(self) -> Iterator[None]:
                yield  # pragma: no cover

        def policy(messages: list[BaseMessage]) -> Any:
            return Later()

        with pytest.raises(TypeError, match="ainvoke"):
            ScriptedChatModel(policy=policy).invoke("hi")

    def test_errors_come_through(self) -> None:
        """What the policy raises is raised by the call, as an API error would be."""

        def policy(messages: list[BaseMessage]) -> str:
            raise ConnectionError("429")

        with pytest.raises(ConnectionError, match="429"):
            ScriptedChatModel(policy=policy).invoke("hi")

    def test_must_return_a_message_or_text(self) -> None:
        """Anything else is an error that names what was returned."""

        def policy(messages: list[BaseMessage]) -> Any:
            return HumanMessage("not mine to say")

        with pytest.raises(TypeError, match="not HumanMessage"):
            ScriptedChatModel(policy=policy).invoke("hi")

    def test_its_message_is_not_written_into(self) -> None:
        """A policy may return one and the same object again and again."""
        mine = AIMessage("same")
        model = ScriptedChatModel(policy=lambda _: mine)
        first, second = model.invoke("a"), model.invoke("b")
        assert first.id != second.id
        assert (mine.id, mine.usage_metadata, mine.response_metadata) == (None, None, {})

    @pytest.mark.parametrize(("field", "value"), [("ttft", -1), ("tokens_per_second", 0)])
    def test_impossible_pace_is_refused(self, field: str, value: float) -> None:
        """A negative time to first token and a speed of zero are errors at construction."""
        with pytest.raises(ValidationError, match=field):
            ScriptedChatModel.replies([], **{field: value})


class TestReplies:
    """A fixed list of replies."""

    def test_gives_them_in_order(self) -> None:
        """Each call takes the next reply, text or message."""
        model = ScriptedChatModel.replies(["one", AIMessage("two", id="mine")])
        first, second = model.invoke("a"), model.invoke("b")
        assert (first.content, second.content, second.id) == ("one", "two", "mine")

    def test_an_exception_is_raised(self) -> None:
        """An exception in the list stands for a failed call; the next call goes on."""
        model = ScriptedChatModel.replies([TimeoutError("slow"), "fine"])
        with pytest.raises(TimeoutError, match="slow"):
            model.invoke("a")
        assert model.invoke("a").content == "fine"

    def test_exhausted_script_says_so(self) -> None:
        """One call too many names the length of the script and shows the last message."""
        model = ScriptedChatModel.replies(["only"])
        model.invoke("a")
        with pytest.raises(ScriptExhaustedError, match=r"has 1 replies(.|\n)*surprise"):
            model.invoke([HumanMessage("a"), HumanMessage("surprise")])

    def test_exhausted_script_without_messages(self) -> None:
        """The error needs no message to show."""
        with pytest.raises(ScriptExhaustedError, match=r"sent 0 messages(.|\n)*nothing"):
            ScriptedChatModel.replies([]).invoke([])

    def test_takes_the_models_options(self) -> None:
        """Other fields of the model can be set along with the replies."""
        assert ScriptedChatModel.replies(["x"], ttft=0.4).ttft == 0.4


class TestCalls:
    """What the model was asked is recorded."""

    def test_records_what_it_was_sent(self) -> None:
        """`calls` has the messages of each call, in order, unchanged by later edits."""
        model = ScriptedChatModel(policy=lambda _: "ok")
        asked = HumanMessage("first")
        model.invoke([asked])
        asked.content = "edited"
        list(model.stream("second"))
        assert [[m.text for m in messages] for messages in model.calls] == [["first"], ["second"]]

    def test_bindings_and_copies_share_the_record(self) -> None:
        """Calls of a binding and of a copy appear in the record of the first model."""
        model = ScriptedChatModel(policy=lambda _: "ok")
        bound = model.bind_tools([add])
        bound.invoke("bound")
        model.model_copy(update={"streaming": True}).invoke("copied")
        assert [messages[0].text for messages in model.calls] == ["bound", "copied"]
        assert bound.calls is model.calls

    def test_records_the_tools_of_each_call(self) -> None:
        """`call_kwargs` has what each call was given, `calls` in step with it."""
        model = ScriptedChatModel(policy=lambda _: "ok")
        model.invoke("plain")
        model.bind_tools([add], tool_choice="any").invoke("bound")
        plain, bound = model.call_kwargs
        assert "tools" not in plain
        assert bound["tools"][0]["function"]["name"] == "add"
        assert bound["tool_choice"] == "any"

    def test_rejects_what_providers_reject(self) -> None:
        """With `check_history` an invalid history is an error, and is recorded."""
        model = ScriptedChatModel(policy=lambda _: "ok", check_history=True)
        assert model.invoke("hi").content == "ok"
        with pytest.raises(InvalidHistoryError, match="orphan-tool-message"):
            model.invoke([HumanMessage("hi"), ToolMessage("1", tool_call_id="x")])
        with pytest.raises(InvalidHistoryError, match="ends-with-assistant"):
            model.invoke([HumanMessage("hi"), AIMessage("hello")])
        assert len(model.calls) == 3


class TestBindTools:
    """Bound tools are kept, in the form in which real models keep them."""

    def test_keeps_them_as_given(self) -> None:
        """The tools, the choice and other arguments can be read on the binding."""
        bound = ScriptedChatModel(policy=lambda _: "ok").bind_tools(
            [add, nap], tool_choice="auto", parallel_tool_calls=False
        )
        assert isinstance(bound, BoundScriptedModel)
        assert bound.bound_tools == [add, nap]
        assert bound.tool_choice == "auto"
        assert bound.kwargs["parallel_tool_calls"] is False
        assert [spec["function"]["name"] for spec in bound.kwargs["tools"]] == ["add", "nap"]

    def test_leaves_the_model_alone(self) -> None:
        """Binding makes a copy; the model itself has no tools afterwards."""
        model = ScriptedChatModel(policy=lambda _: "ok")
        bound = model.bind_tools([add])
        assert (model.bound_tools, bound.tool_choice) == ([], None)
        assert "tool_choice" not in bound.kwargs

    def test_structured_output(self) -> None:
        """`with_structured_output` works as with a real model: a call of the schema's tool."""

        class Answer(BaseModel):
            """An answer."""

            value: int

        model = ScriptedChatModel.replies([AIMessage("", tool_calls=[call("Answer", value=42)])])
        assert model.with_structured_output(Answer).invoke("?") == Answer(value=42)


class TestUsage:
    """Token counts."""

    def test_is_filled_in(self) -> None:
        """Four characters are a token, in and out; a call counts as name and JSON arguments."""
        reply = AIMessage("12345", tool_calls=[call("add", a=1)])  # 2 + 1 ("add") + 2 ('{"a": 1}')
        model = ScriptedChatModel(policy=lambda _: reply)
        sent = [HumanMessage("12345678"), AIMessage("1", tool_calls=[call("nap", hours=1)])]
        assert model.invoke(sent).usage_metadata == UsageMetadata(
            input_tokens=2 + 1 + 1 + 3, output_tokens=5, total_tokens=12
        )

    def test_arguments_are_counted_as_written(self) -> None:
        """Letters beyond ASCII in arguments count as letters, not as escapes."""
        reply = AIMessage("", tool_calls=[call("add", a="éé")])  # 1 + 3 ('{"a": "éé"}')
        made = ScriptedChatModel(policy=lambda _: reply).invoke("hi").usage_metadata
        assert made is not None
        assert made["output_tokens"] == 4

    def test_count_can_be_replaced(self) -> None:
        """`count_tokens` is any function of a text."""
        model = ScriptedChatModel(
            policy=lambda _: "four little words here", count_tokens=lambda text: len(text.split())
        )
        reply = model.invoke("hi there")
        assert reply.usage_metadata is not None
        assert reply.usage_metadata["output_tokens"] == 4
        assert reply.usage_metadata["input_tokens"] == 2

    def test_the_policys_own_is_kept(self) -> None:
        """A message that has usage data keeps it."""
        model = ScriptedChatModel(policy=lambda _: AIMessage("x", usage_metadata=usage(99)))
        assert model.invoke("hi").usage_metadata == usage(99)


class TestPace:
    """Decoding takes its time."""

    @in_virtual_time
    async def test_no_time_by_default(self) -> None:
        """Without a pace a reply takes no time, not even a turn of the loop."""
        other: list[str] = []
        asyncio.get_running_loop().call_soon(other.append, "ran")
        model = ScriptedChatModel(policy=lambda _: "x" * 4000)
        await model._agenerate([HumanMessage("hi")])
        assert (now(), other) == (0.0, [])

    @in_virtual_time
    async def test_ttft_and_tokens(self) -> None:
        """A reply of 60 tokens at 60 a second takes a second more than the first token."""
        model = ScriptedChatModel(policy=lambda _: "x" * 240, ttft=0.4, tokens_per_second=60)
        await model.ainvoke("hi")
        assert now() == 0.4 + 60 / 60

    @in_virtual_time
    async def test_ttft_alone(self) -> None:
        """Without a speed the whole reply is there with its first token."""
        model = ScriptedChatModel(policy=lambda _: "x" * 240, ttft=0.4)
        await model.ainvoke("hi")
        assert now() == 0.4

    @in_virtual_time
    async def test_usage_sets_the_time(self) -> None:
        """`output_tokens` of the policy's message counts, whatever the text is."""
        reply = AIMessage("short", usage_metadata=usage(120))
        model = ScriptedChatModel(policy=lambda _: reply, tokens_per_second=60)
        await model.ainvoke("hi")
        assert now() == 2.0

    @in_virtual_time
    async def test_streams_token_by_token(self) -> None:
        """Each chunk comes when its token is decoded; a name's token before its arguments'."""
        reply = AIMessage("12345678", tool_calls=[call("add", a=1)])
        model = ScriptedChatModel(policy=lambda _: reply, ttft=1, tokens_per_second=2)
        times = [
            (now(), chunk.text or chunk.tool_call_chunks[0]["name"])
            async for chunk in model.astream("hi")
            if chunk.text or (chunk.tool_call_chunks and chunk.tool_call_chunks[0]["name"])
        ]
        assert times == [(1.5, "1234"), (2.0, "5678"), (2.5, "add")]
        assert now() == 1 + 5 / 2

    @in_virtual_time
    async def test_streaming_takes_as_long_as_not(self) -> None:
        """The last chunk comes when `ainvoke` would have returned."""
        for tokens in (1, 7, 60, 61):
            reply = AIMessage("some text", tool_calls=[call("add", a=1)])
            reply.usage_metadata = usage(tokens)
            model = ScriptedChatModel.replies([reply, reply], ttft=0.4, tokens_per_second=60)
            start = now()
            await model.ainvoke("hi")
            middle = now()
            async for _ in model.astream("hi"):
                pass
            assert now() - middle == pytest.approx(middle - start, abs=1e-12)

    @in_virtual_time
    async def test_streaming_nothing_takes_its_time(self) -> None:
        """A reply without text or calls, such as hidden reasoning, streams for its tokens."""
        reply = AIMessage("", usage_metadata=usage(60))
        model = ScriptedChatModel(policy=lambda _: reply, ttft=0.4, tokens_per_second=60)
        async for _ in model.astream("hi"):
            pass
        assert now() == 0.4 + 60 / 60

    @in_virtual_time
    async def test_late_readers_do_not_slow_it_down(self) -> None:
        """A reader that is busy between chunks finds the next ones ready, as over a network."""
        model = ScriptedChatModel(policy=lambda _: "x" * 16, tokens_per_second=1)
        seen = []
        async for chunk in model.astream("hi"):
            if chunk.text:
                seen.append(now())
                await asyncio.sleep(1.5 if len(seen) == 1 else 0)
        assert seen == [1.0, 2.5, 3.0, 4.0]

    @in_virtual_time
    async def test_cancelling_ends_the_call(self) -> None:
        """A cancelled call ends at once, at the token it has reached."""
        model = ScriptedChatModel(policy=lambda _: "x" * 400, tokens_per_second=10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await model.ainvoke("hi")
        assert now() == 3.0

    def test_sync_twins_sleep_as_long(self, slept: list[float]) -> None:
        """`invoke` and `stream` spend the same time in `time.sleep`."""
        model = ScriptedChatModel(policy=lambda _: "x" * 240, ttft=0.4, tokens_per_second=60)
        model.invoke("hi")
        assert slept == [0.4 + 60 / 60]
        slept.clear()
        assert sum(1 for chunk in model.stream("hi") if chunk.text) == len(slept) == 60
        assert sum(slept) == pytest.approx(0.4 + 60 / 60)

    def test_sync_twins_do_not_sleep_without_pace(self, slept: list[float]) -> None:
        """Without a pace `time.sleep` is not called."""
        model = ScriptedChatModel(policy=lambda _: "text")
        model.invoke("hi")
        list(model.stream("hi"))
        assert slept == []


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds given to `time.sleep`, on a clock that moves by nothing else."""
    sleeps: list[float] = []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + sum(sleeps))
    return sleeps


STREAMED: dict[str, AIMessage] = {
    "text": AIMessage("Hello, wörld! 👋 " * 5, id="m1"),
    "empty": AIMessage("", id="m1"),
    "one call": AIMessage("", id="m1", tool_calls=[call("add", a=1, b=[1, {"c": "é\n"}])]),
    "calls with text": AIMessage("So:", id="m1", tool_calls=[call("add", a=1), call("nap")]),
    "broken call": AIMessage(
        "",
        id="m1",
        invalid_tool_calls=[
            InvalidToolCall(
                type="invalid_tool_call", name="add", args="not json", id="c9", error=None
            )
        ],
    ),
    "blocks": AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "So."}],
        id="m1",
        tool_calls=[call("add", a=1)],
    ),
    "metadata": AIMessage(
        "x",
        id="m1",
        additional_kwargs={"refusal": None},
        response_metadata={"finish_reason": "stop"},
        usage_metadata=usage(7),
    ),
}


class TestStream:
    """Chunks add up to the policy's message."""

    @pytest.mark.parametrize("name", STREAMED)
    @in_virtual_time
    async def test_adds_up_to_the_message(self, name: str) -> None:
        """The sum of the chunks is what `ainvoke` returns: content, calls, id, usage, metadata."""
        model = ScriptedChatModel(policy=lambda _: STREAMED[name], tokens_per_second=60)
        whole = await model.ainvoke("hi")
        assert whole.content == STREAMED[name].content
        assert added([chunk async for chunk in model.astream("hi")]) == whole
        assert added(list(ScriptedChatModel(policy=lambda _: STREAMED[name]).stream("hi"))) == whole

    def test_name_first_then_arguments_in_pieces(self) -> None:
        """A call's first chunk has name and id, the rest of them pieces of its arguments."""
        made = call("search", "c1", query="kangaroo")
        model = ScriptedChatModel.replies([AIMessage("So:", id="m1", tool_calls=[made])])
        chunks = list(model.stream("hi"))
        assert {chunk.id for chunk in chunks} == {"m1"}
        pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
        assert (pieces[0]["name"], pieces[0]["id"], pieces[0]["args"]) == ("search", "c1", "")
        assert len(pieces) > 2
        assert all(piece["name"] is None and piece["id"] is None for piece in pieces[1:])
        assert "".join(piece["args"] or "" for piece in pieces) == '{"query": "kangaroo"}'

    def test_id_is_the_runs_unless_given(self) -> None:
        """All chunks have one id, also where the policy gave none."""
        chunks = list(ScriptedChatModel.replies(["a longer text"]).stream("hi"))
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[0].id is not None
        assert chunks[0].id.startswith("lc_run-")

    def test_more_tokens_than_characters(self) -> None:
        """A count beyond the number of characters gives no empty chunks."""
        model = ScriptedChatModel(policy=lambda _: "abc", count_tokens=lambda text: 10 * len(text))
        assert [chunk.text for chunk in model.stream("hi")] == ["a", "b", "c", ""]

    def test_streaming_inside_of_invoke(self) -> None:
        """With `streaming` callbacks see the chunks under `invoke` too."""
        seen: list[str] = []

        class Handler(BaseCallbackHandler):
            def on_llm_new_token(self, token: Any, **_: Any) -> None:
                seen.append(token)

        model = ScriptedChatModel(policy=lambda _: "12345678", streaming=True)
        assert model.invoke("hi", config={"callbacks": [Handler()]}).content == "12345678"
        assert [token for token in seen if token] == ["1234", "5678"]


def test_call_makes_unique_ids() -> None:
    """Two calls never share an id, and any argument name can be used."""
    first, second = call("t", name="x", id="y"), call("t")
    assert first["id"] != second["id"]
    assert (first["name"], first["args"]) == ("t", {"name": "x", "id": "y"})
    assert call("t", "mine")["id"] == "mine"


def test_is_known_to_traces_as_scripted() -> None:
    """Traces name the model's type."""
    assert ScriptedChatModel(policy=lambda _: "")._llm_type == "scripted"


def state_graph(model: ScriptedChatModel, tools: list[BaseTool]) -> Any:
    """The plain LangGraph agent loop."""
    bound = model.bind_tools(tools)

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile()


def langchain_agent(model: ScriptedChatModel, tools: list[BaseTool]) -> Any:
    """LangChain's agent."""
    return create_agent(model, tools)


def react_agent(model: ScriptedChatModel, tools: list[BaseTool]) -> Any:
    """LangGraph's older prebuilt agent."""
    with pytest.warns(DeprecationWarning, match="create_react_agent"):
        return create_react_agent(model, tools)


def bound_react_agent(model: ScriptedChatModel, tools: list[BaseTool]) -> Any:
    """The older agent with a model that the tools were bound to before."""
    with pytest.warns(DeprecationWarning, match="create_react_agent"):
        return create_react_agent(model.bind_tools(tools), tools)


MakeAgent = Callable[[ScriptedChatModel, list[BaseTool]], Any]
AGENTS = [state_graph, langchain_agent, react_agent, bound_react_agent]
QUESTION = {"messages": [HumanMessage("go", id="q")]}
# Two model calls of 60 and 30 tokens, and an hour of tools between them; the sync tool is free.
RUN_TIME = (0.4 + 60 / 60) + HOUR + (0.4 + 30 / 60)


@pytest.mark.parametrize("make_agent", AGENTS)
class TestAgents:
    """Real agents run on it, in virtual time."""

    @in_virtual_time
    async def test_loop_takes_the_time_that_arithmetic_says(self, make_agent: MakeAgent) -> None:
        """An hour of tools and two decodings take exactly their sum, and no wall time."""
        model = ScriptedChatModel(
            policy=agent_policy, ttft=0.4, tokens_per_second=60, check_history=True
        )
        result = await make_agent(model, [nap, add]).ainvoke(QUESTION)
        assert result["messages"][-1].text == "slept 1 h and 3"
        assert now() == RUN_TIME
        assert_valid_history(result["messages"])
        assert len(model.calls) == 2
        names = {spec["function"]["name"] for spec in model.call_kwargs[0]["tools"]}
        assert names == {"nap", "add"}

    @in_virtual_time
    async def test_stream_mode_messages(self, make_agent: MakeAgent) -> None:
        """Chunks arrive while they are decoded, and add up to the messages of the final state."""
        model = ScriptedChatModel(policy=agent_policy, ttft=0.4, tokens_per_second=60)
        chunks: dict[str, list[AIMessageChunk]] = {}
        times: list[float] = []
        final: dict[str, Any] = {}
        stream: AsyncIterator[tuple[str, Any]] = make_agent(model, [nap, add]).astream(
            QUESTION, stream_mode=["messages", "values"]
        )
        async for mode, data in stream:
            if mode == "values":
                final = data
            elif isinstance(data[0], AIMessageChunk):
                chunks.setdefault(str(data[0].id), []).append(data[0])
                times.append(now())
        answers = [m for m in final["messages"] if isinstance(m, AIMessage)]
        assert [added(group).tool_calls for group in chunks.values()] == [
            answer.tool_calls for answer in answers
        ]
        assert [added(group).text for group in chunks.values()] == [a.text for a in answers]
        assert [added(group).usage_metadata for group in chunks.values()] == [usage(60), usage(30)]
        assert list(chunks) == [answer.id for answer in answers]
        assert len(set(times)) > 10
        assert now() == pytest.approx(RUN_TIME, abs=1e-9)

    @in_virtual_time
    async def test_astream_events(self, make_agent: MakeAgent) -> None:
        """Events show the streams of both model calls and both tools."""
        model = ScriptedChatModel(policy=agent_policy, ttft=0.4, tokens_per_second=60)
        agent = make_agent(model, [nap, add])
        events = [event async for event in agent.astream_events(QUESTION, version="v2")]
        kinds = [event["event"] for event in events]
        assert kinds.count("on_chat_model_end") == 2
        assert kinds.count("on_tool_end") == 2
        assert kinds.count("on_chat_model_stream") > 10
        assert now() == pytest.approx(RUN_TIME, abs=1e-9)


def test_agent_without_asyncio() -> None:
    """Under plain `invoke` a graph runs on the sync twins."""
    model = ScriptedChatModel.replies(
        [AIMessage("", tool_calls=[call("add", a=1, b=2)]), "It is 3."], check_history=True
    )
    result = langchain_agent(model, [add]).invoke(QUESTION)
    assert [message.text for message in result["messages"]] == ["go", "", "3", "It is 3."]
