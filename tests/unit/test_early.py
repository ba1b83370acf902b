"""Which calls may start while their message is written, reason by reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk, ToolCall, ToolCallChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import BaseTool, tool
from langgraph.prebuilt import InjectedState, ToolRuntime

from langchain_asyncfc.calls import Call, read_call
from langchain_asyncfc.early import CallsBefore, CallsInWriting, NotEarly
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.toolbox import Toolbox


@tool
def look(path: str = "") -> str:
    """Look."""
    return path


@tool
def write(path: str = "") -> str:
    """Write."""
    return path


@tool
def with_state(path: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
    """Look, with the state."""
    return path


@tool
def with_runtime(path: str, runtime: ToolRuntime) -> str:
    """Look, with the runtime."""
    return path


@tool(return_direct=True)
def direct(path: str = "") -> str:
    """Answer."""
    return path


READS = Effects(reads="fs:{path}")
WRITES = Effects(writes="fs:{path}")


def read(
    kind: BaseTool = look,
    declared: Effects | None = READS,
    *,
    number: int = 1,
    id_: str | None = "own",
    approved: bool = False,
    **args: Any,
) -> Call:
    """A call as it is read from a message."""
    effects = {} if declared is None else {kind.name: declared}
    toolbox = Toolbox(effects=effects)
    toolbox.needs_approval = {kind.name} if approved else set()
    made = ToolCall(name=kind.name, args={"path": "a", **args}, id=id_, type="tool_call")
    return read_call(number, made, toolbox.add(kind))


def reason_against(call: Call, earlier: Sequence[Call | None]) -> NotEarly | None:
    """Why a call may not start early behind others of its message; `None` is an unfinished one."""
    before = CallsBefore()
    for one in earlier:
        before.add(one)
    return before.against(call)


def test_a_call_that_only_reads_may_start() -> None:
    """Nothing is against a call that reads, alone in its message."""
    assert reason_against(read(), []) is None


def test_a_call_that_neither_reads_nor_writes_may_start() -> None:
    """Nothing is against a call that touches nothing."""
    assert reason_against(read(declared=Effects()), []) is None


@pytest.mark.parametrize(
    ("call", "against"),
    [
        (read(declared=None), NotEarly.UNDECLARED),
        (read(declared=Effects(reads=None, writes=None)), NotEarly.UNDECLARED),
        (read(declared=WRITES), NotEarly.WRITES),
        (read(declared=Effects(writes="x", idempotent=True)), NotEarly.WRITES),
        (read(declared=Effects(fence=True)), NotEarly.FENCE),
        (read(declared=Effects(foreground=True)), NotEarly.FOREGROUND),
        (read(direct, declared=Effects()), NotEarly.FOREGROUND),
        (read(approved=True), NotEarly.FOREGROUND),
        (read(with_state), NotEarly.INJECTED),
        (read(with_runtime), NotEarly.INJECTED),
        (read(id_=None), NotEarly.NO_ID),
        (read(id_=""), NotEarly.NO_ID),
        (read(number=2, path="future_1"), NotEarly.REFERENCE),
        (read(number=2, path="in ${future_1.x}"), NotEarly.REFERENCE),
        (read(path="\\future_1"), NotEarly.REFERENCE),
        (read(path="future_7"), NotEarly.PROBLEM),
        (read(path={1, 2}), NotEarly.UNKNOWN_ARGUMENTS),
    ],
)
def test_what_is_against_a_call_itself(call: Call, against: NotEarly) -> None:
    """Each property of a call or its tool that keeps it from starting early."""
    assert reason_against(call, []) is against


def test_a_name_that_no_tool_has_does_not_start() -> None:
    """Nothing is run for it; the step answers it."""
    made = ToolCall(name="other", args={}, id="own", type="tool_call")
    for wraps in (False, True):
        call = read_call(1, made, Toolbox(wraps=wraps).on("other"))
        assert reason_against(call, []) is NotEarly.NO_TOOL


@pytest.mark.parametrize(
    ("earlier", "against"),
    [
        ([None], NotEarly.UNWRITTEN),
        ([read(id_="1")], NotEarly.IDENTICAL),
        ([read(path="b", id_="1"), None], NotEarly.UNWRITTEN),
        ([read(write, WRITES, id_="1")], NotEarly.CONFLICT),
        ([read(write, WRITES, id_="1", path="")], NotEarly.CONFLICT),
        ([read(write, Effects(writes="/"), id_="1")], NotEarly.CONFLICT),
        ([read(write, WRITES, id_="1", number=10, path="future_9")], NotEarly.CONFLICT),
        ([read(path="b")], NotEarly.NO_ID),
        ([read(write, WRITES, id_="1", path="b")], None),
        ([read(write, Effects(writes="db:"), id_="1")], None),
        ([read(path="b", id_="1")], None),
        ([read(write, None, id_="1")], None),
    ],
)
def test_what_is_against_a_call_in_its_message(
    earlier: Sequence[Call | None], against: NotEarly | None
) -> None:
    """What stands before it: incomplete, identical, writing; what is undeclared orders nothing."""
    assert reason_against(read(number=11), earlier) is against


# -- chunks ----------------------------------------------------------------------------------------


def chunk(
    args: str | None = None, index: Any = 0, id_: str | None = None, name: str | None = None
) -> ToolCallChunk:
    """A piece of a call."""
    return ToolCallChunk(name=name, args=args, id=id_, index=index, type="tool_call_chunk")


def test_a_call_is_complete_when_its_object_closes() -> None:
    """Braces in texts and inside do not close it."""
    writing = CallsInWriting()
    pieces = ['{"a": "}', '\\"}"', ', "b": {"c": [1, 2]}', "}"]
    assert writing.feed([chunk("", id_="1", name="look")]) == []
    ends = [writing.feed([chunk(piece)]) for piece in pieces]
    assert ends == [[], [], [], [0]]
    assert writing.calls == [
        {"name": "look", "args": {"a": '}"}', "b": {"c": [1, 2]}}, "id": "1", "type": "tool_call"}
    ]


def test_a_call_without_arguments_is_complete_when_the_next_begins() -> None:
    """Some models write nothing where there are no arguments."""
    writing = CallsInWriting()
    assert writing.feed([chunk("", id_="1", name="look")]) == []
    assert writing.feed([chunk("", index=1, id_="2", name="write")]) == [0]
    assert writing.calls[0] is not None
    assert writing.calls[0]["args"] == {}
    assert writing.calls[1] is None


def test_a_call_that_stays_open_is_not_complete_when_the_next_begins() -> None:
    """What LangChain would make of broken arguments is not known before the message ends."""
    writing = CallsInWriting()
    writing.feed([chunk('{"a": 1', id_="1", name="look")])
    assert writing.feed([chunk('{"a": 2}', index=1, id_="2", name="look")]) == [1]
    assert writing.calls[0] is None


@pytest.mark.parametrize("text", ["[1]", "{a: 1}", '{"a": 1}}', "]", '"a"'])
def test_what_is_no_object_is_no_call(text: str) -> None:
    """Only a whole JSON object counts."""
    writing = CallsInWriting()
    assert writing.feed([chunk(text, id_="1", name="look")]) == []


def test_whole_calls_without_numbers() -> None:
    """Gemini sends each call in one piece, and numbers none."""
    writing = CallsInWriting()
    pieces = [chunk('{"a": 1}', None, "1", "look"), chunk('{"a": 2}', None, "2", "look")]
    assert writing.feed(pieces) == [0, 1]
    assert writing.names == ["look", "look"]


def test_two_calls_under_one_number() -> None:
    """Another id begins another call, as where LangChain adds chunks up."""
    writing = CallsInWriting()
    assert writing.feed([chunk('{"a": 1}', 0, "1", "look")]) == [0]
    assert writing.feed([chunk('{"a": 2}', 0, "2", "look")]) == [1]


_texts = st.text('a}{]\\"\n ü', max_size=5)
_json = st.recursive(
    st.none() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.dictionaries(_texts, _json, max_size=2), min_size=1, max_size=3),
    st.integers(1, 7),
)
def test_calls_are_those_of_the_message(args: list[dict[str, Any]], size: int) -> None:
    """However the stream is cut: what is complete is what LangChain adds up, and all is found."""
    writing = CallsInWriting()
    written: list[AIMessageChunk] = []
    completed: list[int] = []
    for number, given_args in enumerate(args):
        text = json.dumps(given_args, ensure_ascii=number % 2 == 0)
        pieces = [chunk("", number, f"c{number}", "look")]
        pieces += [chunk(text[at : at + size], number) for at in range(0, len(text), size)]
        for piece in pieces:
            written.append(AIMessageChunk("", tool_call_chunks=[piece]))
            completed += writing.feed([piece])
    assert completed == list(range(len(args)))
    message = add_ai_message_chunks(*written)
    assert writing.calls == message.tool_calls
