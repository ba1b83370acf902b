"""Native asynchronous tools: the history in the form of a model that takes late outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool

from langchain_asyncfc.native import marked, native_history, takes_native_calls
from langchain_asyncfc.records import native_calls
from langchain_asyncfc.testing import ScriptedChatModel


def said(id_: str, *calls: str, native: tuple[str, ...] = (), form: str = "responses") -> AIMessage:
    """A message of the model, with calls of which some are native."""
    blocks: list[Any] = []
    for call in calls:
        if form == "responses":
            mark = {"async": True} if call in native else {}
            blocks.append({"type": "function_call", "call_id": call, "id": f"fc_{call}", **mark})
        else:
            extras = {"item_id": f"fc_{call}", **({"async": True} if call in native else {})}
            blocks.append({"type": "tool_call", "id": call, "extras": extras})
    made = [{"name": "search", "args": {}, "id": call} for call in calls]
    return AIMessage(blocks, tool_calls=made, id=id_)


def output(call: str, text: str, **record: Any) -> ToolMessage:
    """An answer to a call, with a record if there is one."""
    kwargs = {"asyncfc": record} if record else {}
    return ToolMessage(text, tool_call_id=call, id=f"t_{call}", additional_kwargs=kwargs)


def pending(call: str) -> ToolMessage:
    """A placeholder."""
    return output(call, "is running", future="future_1", state="pending")


def late(call: str, after: str) -> ToolMessage:
    """An output that came later."""
    return output(call, "late", future="future_1", state="resolved", after=after)


def ids(messages: list[AnyMessage]) -> list[str | None]:
    """The ids of the messages that a model is shown."""
    return [message.id for message in native_history(messages)]


GO = HumanMessage("go", id="go")


# -- which calls are native ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["responses", "v1"])
def test_native_calls_by_either_form_of_content(form: str) -> None:
    """A call is native where the model's own item says so."""
    assert native_calls(said("a", "c1", "c2", native=("c2",), form=form)) == {"c2"}


@pytest.mark.parametrize(
    "content",
    [
        "a text",
        ["a text"],
        [{"type": "function_call", "call_id": "c1", "async": False}],
        [{"type": "function_call", "call_id": "c1", "async": "yes"}],
        [{"type": "tool_call", "id": "c1", "extras": "async"}],
        [{"type": "function_call", "async": True}],
        [{"type": "function_call", "call_id": "c9", "async": True}],
    ],
)
def test_no_native_calls(content: Any) -> None:
    """What is not marked so, or is no call of the message, is not native."""
    calls = [{"name": "search", "args": {}, "id": "c1"}]
    assert native_calls(AIMessage(content, tool_calls=calls)) == frozenset()


# -- the history -----------------------------------------------------------------------------------


def test_history_without_native_calls_is_the_thread() -> None:
    """A thread of ordinary calls is shown as it is, placeholders too."""
    thread: list[AnyMessage] = [GO, said("a", "c1"), pending("c1")]
    shown = native_history(thread)
    assert shown == thread
    assert shown is not thread


def test_pending_native_call_has_no_output() -> None:
    """The placeholder of a native call is not shown, that of an ordinary one is."""
    thread = [GO, said("a", "c1", "c2", native=("c1",)), pending("c1"), pending("c2")]
    assert ids(thread) == ["go", "a", "t_c2"]


def test_fast_native_call_stays() -> None:
    """An output that came with its batch stands where it is."""
    thread = [GO, said("a", "c1", native=("c1",)), output("c1", "there")]
    assert ids(thread) == ["go", "a", "t_c1"]


def test_late_output_follows_the_group_in_which_it_came() -> None:
    """A late output comes after all outputs of the group, not between them."""
    thread = [
        GO,
        said("a", "c1", native=("c1",)),
        late("c1", after="t_c2"),
        said("b", "c2", "c3"),
        output("c2", "two"),
        output("c3", "three"),
        said("c"),
    ]
    assert ids(thread) == ["go", "a", "b", "t_c2", "t_c3", "t_c1", "c"]


@pytest.mark.parametrize("after", ["t_c2", "b"])
def test_late_output_keeps_its_place_behind_a_hidden_one(after: str) -> None:
    """What it came after may itself be hidden, or have come later still."""
    first = [GO, said("a", "c1", native=("c1",)), late("c1", after=after)]
    second = said("b", "c2", native=("c2",))
    end: list[AnyMessage] = [said("c"), HumanMessage("and?", id="and"), said("d")]
    shown = ["go", "a", "b", "t_c1", "c", "and"]
    assert ids([*first, second, pending("c2"), *end]) == [*shown, "d"]
    assert ids([*first, second, late("c2", after="and"), *end]) == [*shown, "t_c2", "d"]


def test_late_output_after_the_user_spoke() -> None:
    """An output of an earlier turn comes after what the user said since."""
    thread = [
        GO,
        said("a", "c1", native=("c1",)),
        late("c1", after="and"),
        said("b"),
        HumanMessage("and?", id="and"),
        said("c"),
    ]
    assert ids(thread) == ["go", "a", "b", "and", "t_c1", "c"]


def test_late_output_whose_place_is_gone_stands_by_its_call() -> None:
    """When the message it came after was removed, it stands where the thread has it."""
    thread = [GO, said("a", "c1", native=("c1",)), late("c1", after="gone"), said("b")]
    assert ids(thread) == ["go", "a", "t_c1", "b"]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call in a thread that hypothesis makes: native or not, and what became of it."""

    native: bool
    fate: str
    after: int


_CALLS = st.builds(
    _Call,
    st.booleans(),
    st.sampled_from(["pending", "late", "lost place", "fast"]),
    st.integers(0, 40),
)
_BATCHES = st.lists(st.tuples(st.lists(_CALLS, max_size=3), st.booleans()), max_size=5)


@st.composite
def threads(draw: st.DrawFn) -> list[AnyMessage]:
    """Threads whose late outputs came after any later message."""
    thread: list[AnyMessage] = [GO]
    places: list[tuple[int, _Call]] = []
    for number, (calls, user) in enumerate(draw(_BATCHES)):
        names = [f"c{number}_{n}" for n in range(len(calls))]
        native = tuple(n for n, call in zip(names, calls, strict=True) if call.native)
        thread.append(said(f"a{number}", *names, native=native))
        for name, call in zip(names, calls, strict=True):
            places.append((len(thread), call))
            thread.append(pending(name) if call.fate == "pending" else output(name, "value"))
        if user:
            thread.append(HumanMessage("more", id=f"h{number}"))
    for at, call in places:
        later = thread[at + 1 :]
        if call.native and (call.fate == "lost place" or (call.fate == "late" and later)):
            after = "gone" if call.fate == "lost place" else later[call.after % len(later)].id
            message = thread[at]
            assert isinstance(message, ToolMessage)
            assert after is not None
            thread[at] = late(message.tool_call_id, after)
    return thread


def _record(message: AnyMessage) -> dict[str, Any]:
    record: dict[str, Any] = message.additional_kwargs.get("asyncfc", {})
    return record


def _parts(thread: list[AnyMessage]) -> tuple[set[str | None], dict[str | None, str]]:
    """The messages that are hidden, and those that are moved with what they came after."""
    native = {i for m in thread if isinstance(m, AIMessage) for i in native_calls(m)}
    own = [m for m in thread if isinstance(m, ToolMessage) and m.tool_call_id in native]
    known = {message.id for message in thread}
    hidden = {m.id for m in own if _record(m).get("state") == "pending"}
    moved = {m.id: after for m in own if (after := _record(m).get("after")) in known}
    return hidden, moved


@given(threads())
def test_everything_is_shown_once_but_pending_native_calls(thread: list[AnyMessage]) -> None:
    """No message is lost, doubled or changed; only placeholders of native calls are left out."""
    hidden, _ = _parts(thread)
    shown = native_history(thread)
    assert all(any(message is other for other in thread) for message in shown)
    assert sorted(str(m.id) for m in shown) == sorted(
        str(m.id) for m in thread if m.id not in hidden
    )


@given(threads())
def test_the_rest_keeps_its_order(thread: list[AnyMessage]) -> None:
    """All that is not a late output stands in the thread's order."""
    hidden, moved = _parts(thread)
    stay = [message.id for message in thread if message.id not in hidden | moved.keys()]
    assert [i for i in ids(thread) if i not in moved] == stay


@given(threads())
def test_late_outputs_end_the_group_they_came_after(thread: list[AnyMessage]) -> None:
    """A late output stands behind its group's own outputs, and before the next message."""
    _, moved = _parts(thread)
    order = [message.id for message in thread]
    shown = native_history(thread)
    for place, message in enumerate(shown):
        if message.id not in moved:
            continue
        heads = [m.id for m in shown[:place] if not isinstance(m, ToolMessage)]
        until = order.index(moved[message.id])
        assert heads[-1] == [m.id for m in thread[: until + 1] if m.type != "tool"][-1]
        rest = shown[place + 1 :]
        following = next((n for n, m in enumerate(rest) if m.type != "tool"), len(rest))
        assert all(other.id in moved for other in rest[:following])


@given(threads(), st.integers(0, 40))
def test_what_was_shown_stays_where_it_was(thread: list[AnyMessage], cut: int) -> None:
    """A history only grows at its end, so that nothing is told twice and caches stay warm."""
    # What the thread was when the model was called that wrote its message at the cut.
    replies = [n for n, message in enumerate(thread) if isinstance(message, AIMessage)]
    if not replies:
        return
    end = replies[cut % len(replies)]
    earlier = {message.id for message in thread[:end]}
    then = [
        pending(m.tool_call_id)
        if isinstance(m, ToolMessage) and _parts(thread)[1].get(m.id, m.id) not in earlier
        else m
        for m in thread[:end]
    ]
    before = ids(then)
    assert ids(thread)[: len(before)] == before


# -- marks -----------------------------------------------------------------------------------------


@tool
def search(topic: str) -> str:
    """Search."""
    return topic


@pytest.mark.skipif(
    "extras" not in BaseTool.model_fields, reason="tools have extras since langchain-core 1.2"
)
def test_marked() -> None:
    """A mark is put on a copy or taken off one, beside what else the tool says."""
    there = search.model_copy(update={"extras": {"async": True, "defer_loading": True}})
    assert marked(there, native=True) is there
    assert marked(search, native=False) is search
    assert marked(there, native=False).extras == {"defer_loading": True}
    assert marked(marked(search, native=True), native=False).extras is None
    assert marked(search, native=True).extras == {"async": True}
    assert search.extras is None


@pytest.mark.parametrize(
    ("options", "takes"),
    [
        ({"model": "gpt-4.1"}, False),
        ({"model": "gpt-4.1", "use_responses_api": True}, True),
        ({"model": "gpt-4.1", "output_version": "responses/v1"}, True),
        ({"model": "gpt-4.1", "output_version": "v1"}, False),
        ({"model": "gpt-4.1", "use_previous_response_id": True}, True),
        ({"model": "gpt-4.1", "reasoning": {"effort": "low"}}, True),
        ({"model": "gpt-6-test", "use_responses_api": False}, False),
        ({"model": "x", "use_responses_api": False, "output_version": "responses/v1"}, False),
    ],
)
def test_models_that_take_native_calls(options: dict[str, Any], takes: bool) -> None:
    """OpenAI's clients do when they talk to the Responses API, by option or by themselves."""
    ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI
    assert takes_native_calls(ChatOpenAI(api_key="key", **options)) is takes


def test_other_models_take_no_native_calls() -> None:
    """A model of another provider does not, whatever it is called."""
    assert not takes_native_calls(ScriptedChatModel.replies([]))
