"""Tests of catching what a tool really returned."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, Tool, tool
from langgraph.types import Command
from pydantic import PrivateAttr

from langchain_asyncfc.errors import ToolCancelled, ToolTimeout
from langchain_asyncfc.recording import (
    Recording,
    RecordingTool,
    answer_in,
    noting,
    readdressed,
)

VALUE = {"rows": [1, 2]}
CALL = {"name": "t", "args": {"x": 1}, "id": "c1", "type": "tool_call"}


@tool
def sync_tool(x: int) -> dict[str, Any]:
    """Give rows."""
    return VALUE


@tool
async def async_tool(x: int) -> dict[str, Any]:
    """Give rows."""
    return VALUE


class Handmade(BaseTool):
    name: str = "handmade"
    description: str = "By hand."

    def _run(self, x: int) -> dict[str, Any]:
        return VALUE


class OwnAsync(Handmade):
    async def _arun(self, x: int) -> dict[str, Any]:
        return VALUE


class Unresolvable(Handmade):
    def _run(self, x: int) -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821, UP037
        return VALUE


TOOLS = [sync_tool, async_tool, Handmade(), OwnAsync(), Unresolvable()]


def recording() -> Recording:
    return Recording(lambda: 0.0)


def told(text: str = "x", call: str = "c1") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call)


@pytest.mark.parametrize("given", TOOLS, ids=lambda t: t.name)
def test_the_very_value_is_caught(given: BaseTool) -> None:
    """Rule 2: references get the object that the tool returned, in `invoke`."""
    noted = recording()
    result = RecordingTool(given, noted).invoke(CALL)
    noted.answered(result)
    assert noted.value(given, result, "c1") is VALUE


@pytest.mark.asyncio
@pytest.mark.parametrize("given", TOOLS, ids=lambda t: t.name)
async def test_the_very_value_is_caught_on_a_loop(given: BaseTool) -> None:
    """Rule 27: the same under `ainvoke`."""
    noted = recording()
    result = await RecordingTool(given, noted).ainvoke(CALL)
    noted.answered(result)
    assert noted.value(given, result, "c1") is VALUE


def test_the_real_tool_is_not_changed() -> None:
    """A tool may be in use elsewhere; everything but running it is the real one's."""
    wrapped = RecordingTool(sync_tool, recording())
    wrapped.invoke(CALL)
    assert not {"_run", "_arun"} & set(vars(sync_tool))
    assert wrapped.name == "sync_tool"
    assert wrapped.args_schema is sync_tool.args_schema


def test_calls_of_a_tool_share_a_noting_copy() -> None:
    """As long as somebody holds it, and the tool has the attributes that it had."""
    given = Handmade()
    held = noting(given)
    assert noting(given) is held
    copied = held.of(given)
    copied.__dict__["worked out"] = given.__dict__["by the tool too"] = object()
    assert held.of(given) is copied
    given.tags = ["changed"]
    changed = held.of(given)
    assert changed is not copied
    assert changed.tags == ["changed"]
    assert held.of(given) is changed


def test_private_attributes_are_the_tool_s() -> None:
    """They are not in what is compared, so that a copy has them in common with its tool."""

    class Private(Handmade):
        _seen: int = PrivateAttr(0)

    given = Private()
    held = noting(given)
    copied = held.of(given)
    given._seen = 1
    assert held.of(given) is copied
    assert copied._seen == 1


def test_a_noting_copy_is_not_kept_for_a_tool_that_is_gone() -> None:
    """Another tool of the same identity gets its own."""
    given = Handmade()
    copied = weakref.ref(noting(given).of(given))
    gc.collect()
    assert copied() is None


def test_a_single_input_tool_is_caught() -> None:
    """The older `Tool` class takes one text."""
    given = Tool("echo", lambda text: [text], "Echo.")
    noted = recording()
    result = RecordingTool(given, noted).invoke({**CALL, "args": {"__arg1": "a"}})
    noted.answered(result)
    assert noted.value(given, result, "c1") == ["a"]


@pytest.mark.asyncio
async def test_sync_tools_leave_the_loop_free() -> None:
    """Rule 1: a sync tool runs in the pool for sync tools, whatever its class."""
    names = []

    @tool
    def where(x: int) -> str:
        """Tell the thread."""
        names.append(threading.current_thread().name)
        return "x"

    class Where(Handmade):
        def _run(self, x: int) -> Any:
            names.append(threading.current_thread().name)

    for given in (where, Where()):
        await RecordingTool(given, recording()).ainvoke(CALL)
    assert names == ["asyncfc-worker"] * 2


def test_a_call_begins_when_its_thread_comes_to_it() -> None:
    """Rule 8: waiting for a thread is not the tool's time."""
    noted = Recording(iter([1.0, 2.0]).__next__)
    assert (noted.began, noted.in_queue) == (None, False)
    noted.in_queue = True
    noted.begin()
    assert (noted.began, noted.in_queue) == (1.0, False)
    noted.begin()
    assert noted.began == 2.0


@pytest.mark.parametrize("given", [sync_tool, async_tool], ids=lambda t: t.name)
def test_an_ended_call_is_not_run_again(given: BaseTool) -> None:
    """Rule 18: a wrapper that tries again after the timeout starts nothing."""
    noted = recording()
    noted.stop = ToolTimeout("over")
    with pytest.raises(ToolTimeout, match="over"):
        RecordingTool(given, noted).invoke(CALL)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(RecordingTool(given, noted).ainvoke(CALL))


@pytest.mark.asyncio
async def test_a_cancelled_tool_raises_why() -> None:
    """Rule 26: the trace of a cancelled tool is closed, with the reason."""

    began = asyncio.Event()

    @tool
    async def hang(x: int) -> str:
        """Hang."""
        began.set()
        await asyncio.Event().wait()
        return "never"

    for reason in (ToolTimeout("after 3 seconds"), ToolCancelled("by the model")):
        noted = recording()
        running = asyncio.ensure_future(RecordingTool(hang, noted).ainvoke(CALL))
        await began.wait()
        began.clear()
        noted.stop = reason
        running.cancel()
        with pytest.raises(type(reason), match=str(reason)):
            await running


def test_an_async_only_tool_is_interrupted_under_invoke() -> None:
    """Rule 19: what runs on the background loop can be ended, a thread cannot."""
    began = threading.Event()

    @tool
    async def hang(x: int) -> str:
        """Hang."""
        began.set()
        await asyncio.Event().wait()
        return "never"

    noted, raised = recording(), []
    assert not noted.interrupt()

    def run() -> None:
        try:
            RecordingTool(hang, noted).invoke(CALL)
        except ToolCancelled as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(10)
    noted.stop = ToolCancelled("enough")
    assert noted.interrupt()
    thread.join(10)
    assert raised == [noted.stop]
    assert not noted.interrupt()


# -- the value ----------------------------------------------------------------------------------


def noted_value(raw: Any, final: Any, answered: Any = None, given: Any = None) -> Any:
    noted = recording()
    noted.returned(raw)
    noted.answered(final if answered is None else answered)
    return noted.value(given, final, "c1")


def test_a_wrapper_has_the_last_word() -> None:
    """Rule 2: a reference gets the answer that the model sees, if a wrapper changed it."""
    assert noted_value(VALUE, told("other"), answered=told("text")) == "other"
    message = told("text")
    assert noted_value(VALUE, message) is VALUE


def test_without_a_run_the_text_is_the_value() -> None:
    """A wrapper that answers by itself runs nothing."""
    noted = recording()
    assert noted.value(None, told("cached"), "c1") == "cached"
    assert noted.value(None, None, "c1") is None


def test_an_artifact_is_not_the_value() -> None:
    """Rule 25: with `content_and_artifact` the content is what others refer to."""

    @tool(response_format="content_and_artifact")
    def both(x: int) -> tuple[Any, Any]:
        """Give both."""
        return VALUE, "artifact"

    assert noted_value((VALUE, "artifact"), told(), given=both) is VALUE
    assert noted_value(VALUE, told(), given=both) is VALUE


@pytest.mark.parametrize("raw", [told("own"), Command(update={"messages": [told("own")]})])
def test_a_message_or_command_has_its_text_as_value(raw: Any) -> None:
    """Rule 25: what a tool returns for the graph is not what another tool wants."""
    assert noted_value(raw, raw) == "own"
    assert noted_value(raw, told("x")) == "x"


@pytest.mark.parametrize(
    "result",
    [
        told(),
        [AIMessage("y"), told("z", "c2"), told()],
        Command(update={"seen": 1, "messages": [AIMessage("y"), told()]}),
        Command(update=[told()]),
        [Command(goto="a"), Command(update={"messages": [told("z", "c2")]}), told()],
    ],
)
def test_the_answer_is_found_anywhere(result: Any) -> None:
    """Rule 10: the one message that answers the call."""
    assert answer_in(result, "c1") == told()
    assert answer_in(result, "c9") is None


def test_a_shared_answer_is_readdressed() -> None:
    """Rule 15: each joined call gets the message under its own call id."""
    first = ToolMessage("x", tool_call_id="c1", id="m1", artifact=[1])
    second = readdressed(Command(update={"messages": [first], "seen": 1}), "c1", "c2")
    assert second == ToolMessage("x", tool_call_id="c2", artifact=[1])
    assert readdressed(None, "c1", "c2") is None


@pytest.mark.asyncio
async def test_a_sync_tool_gets_a_sync_run_manager() -> None:
    """Rule 26: what a sync tool traces from its thread nests under its run."""
    given: list[Any] = []

    class Traced(BaseTool):
        name: str = "traced"
        description: str = "Traced."

        def _run(self, x: int, run_manager: CallbackManagerForToolRun | None = None) -> int:
            given.append(run_manager)
            return x

    await RecordingTool(Traced(), recording()).ainvoke(CALL)
    assert type(given[0]) is CallbackManagerForToolRun


def test_an_async_tool_that_cancels_itself_is_a_cancelled_tool() -> None:
    """Rule 16: under `invoke` a stray cancellation is an error, and ends nothing else."""

    @tool
    async def stray(x: int) -> str:
        """Cancel."""
        raise asyncio.CancelledError

    with pytest.raises(ToolCancelled, match="The tool was cancelled"):
        RecordingTool(stray, recording()).invoke(CALL)
