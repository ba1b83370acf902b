"""`AsyncFCMiddleware` next to middleware that counts calls, and next to the list of todos."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelCallLimitMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
)
from langgraph.checkpoint.memory import InMemorySaver

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import assert_valid_history, call
from tests.integration.agents.helpers import (
    PURE,
    Comparison,
    Later,
    Talk,
    ask,
    go,
    quiet,
    texts,
    unfinished,
)
from tests.integration.conftest import Gate, Mode, Workshop

THREAD = {"configurable": {"thread_id": "t"}}
EXITS = pytest.mark.parametrize("exits", ["continue", "error", "end"])


def tools(workshop: Workshop, gate: Gate) -> list[Any]:
    """A slow tool and a fast one."""
    return [workshop.tool("slow", gate, does=PURE), workshop.tool("fast", does=PURE)]


def turns() -> list[Any]:
    """Two calls, two calls, one call."""
    return [
        ask(call("slow", "a", x="1"), call("fast", "b", x="2")),
        ask(call("slow", "c", x="3"), call("fast", "d", x="4")),
        ask(call("fast", "e", x="5")),
    ]


# -- ToolCallLimitMiddleware -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exits", "first"), [("continue", True), ("continue", False), ("error", False), ("end", True)]
)
def test_limit_of_one_tool(entry: Mode, exits: Any, first: bool) -> None:
    """Calls beyond the limit are blocked as without futures, on either side."""

    def around(fc: list[Any]) -> list[Any]:
        limit = ToolCallLimitMiddleware(tool_name="slow", run_limit=1, exit_behavior=exits)
        return [limit, *fc] if first else [*fc, limit]

    Comparison(_patient(exits), around, turns).check(entry, slow=_shown(entry, exits))


@EXITS
@pytest.mark.parametrize("limit", [1, 3])
def test_limit_of_all_tools(entry: Mode, exits: Any, limit: int) -> None:
    """All calls are counted, and the exchange by which a turn waits is not."""
    Comparison(
        _patient(exits),
        lambda fc: [*fc, ToolCallLimitMiddleware(run_limit=limit, exit_behavior=exits)],
        turns,
    ).check(entry, slow=_shown(entry, exits) and (limit > 1 or exits == "continue"))


def _patient(exits: str) -> Any:
    """Tools that need nobody to open a gate, where the model does not speak again."""
    if exits == "continue":
        return tools
    return lambda workshop, gate: tools(workshop, Later())


def _shown(mode: Mode, exits: str) -> bool:
    """Whether the model is sure to see a placeholder."""
    return mode.is_async or exits == "continue"


def test_limits_of_two_tools(entry: Mode) -> None:
    """Two limits side by side."""
    Comparison(
        tools,
        lambda fc: [
            ToolCallLimitMiddleware(tool_name="slow", run_limit=1),
            *fc,
            ToolCallLimitMiddleware(tool_name="fast", run_limit=2),
        ],
        turns,
    ).check(entry)


def test_limit_counts_calls_that_await(entry: Mode) -> None:
    """A limit of all tools counts a call to `await_future` that the model makes itself."""
    talk = Talk(
        [ask(call("fast", "a", x="1"), call("await_future", "b")), ask(call("fast", "c", x="2"))]
    )
    limit = ToolCallLimitMiddleware(run_limit=2)
    agent = create_agent(
        talk.model, tools(Workshop(), Gate()), middleware=[AsyncFCMiddleware(), limit]
    )
    final = entry.run(agent, go())
    assert texts(final["messages"])[1].startswith("Tool call limit exceeded")


def test_counts_of_a_thread(entry: Mode) -> None:
    """What is counted over the runs of a thread is the same with futures."""
    counted = []
    for futures in (False, True):
        talk = Talk(turns())
        own = [AsyncFCMiddleware()] if futures else []
        agent = create_agent(
            talk.model,
            tools(Workshop(), Later()),
            middleware=[*own, ToolCallLimitMiddleware(thread_limit=9)],
            checkpointer=InMemorySaver(),
        )
        entry.run(agent, go(), THREAD)
        counted.append(agent.get_state(THREAD).values["thread_tool_call_count"])
    assert counted[0] == counted[1] == {"__all__": 5}


# -- ModelCallLimitMiddleware ----------------------------------------------------------------------


@pytest.mark.parametrize(("exits", "first"), [("end", True), ("end", False), ("error", False)])
def test_model_limit(entry: Mode, exits: Any, first: bool) -> None:
    """A run that is ended waits for its calls, and their results stand in the history."""

    def around(fc: list[Any]) -> list[Any]:
        limit = ModelCallLimitMiddleware(run_limit=2, exit_behavior=exits)
        return [limit, *fc] if first else [*fc, limit]

    Comparison(_patient("end"), around, turns).check(entry, slow=_shown(entry, "end"))


@pytest.mark.parametrize("limit", [4, 5])
def test_model_limit_counts_the_call_after_waiting(limit: int) -> None:
    """An answer that comes too early costs one more call of the model, which is counted."""
    talk = Talk(turns())
    agent = create_agent(
        talk.model,
        tools(Workshop(), Later()),
        middleware=[AsyncFCMiddleware(), ModelCallLimitMiddleware(run_limit=limit)],
    )
    messages = Mode("ainvoke").run(agent, go())["messages"]
    assert_valid_history(messages)
    assert texts(messages) == ["slow(1)", "fast(2)", "slow(3)", "fast(4)", "fast(5)"]
    last = "Model call limits exceeded: run limit (4/4)" if limit == 4 else "done"
    assert messages[-1].text == last


def test_settling_needs_no_further_call() -> None:
    """With `on_final="settle"` the answer stands, and the limit is that of a run without."""
    comparison = Comparison(
        lambda workshop, _: tools(workshop, Later()),
        lambda fc: [*fc, ModelCallLimitMiddleware(run_limit=4)],
        turns,
        options={"on_final": "settle"},
    )
    assert comparison.check(Mode("ainvoke")).messages[-1].text == "done"


# -- TodoListMiddleware ----------------------------------------------------------------------------


def todo(text: str, status: str = "pending") -> dict[str, str]:
    """One item of the list."""
    return {"content": text, "status": status}


@pytest.mark.parametrize("first", [True, False])
def test_todos(entry: Mode, first: bool) -> None:
    """The list is written at once while tools run, in order, and two at a time are refused."""
    result = Comparison(
        tools,
        lambda fc: [TodoListMiddleware(), *fc] if first else [*fc, TodoListMiddleware()],
        lambda: [
            ask(call("slow", "a", x="1"), call("write_todos", "b", todos=[todo("x")])),
            ask(call("write_todos", "c", todos=[]), call("write_todos", "d", todos=[])),
            ask(call("write_todos", "e", todos=[todo("x", "completed"), todo("y")])),
        ],
    ).check(entry)
    assert result.others["todos"] == [todo("x", "completed"), todo("y")]
    assert "Updated todo list" in result.talk.seen(1)[1]


def test_todos_with_the_value_of_a_future(entry: Mode, gate: Gate) -> None:
    """A todo may hold the value of a future; the lists are written in the order of the calls."""
    talk = Talk(
        [
            ask(call("slow", x="1")),
            ask(call("write_todos", todos=[todo("${future_1} first")])),
            ask(call("write_todos", todos=[todo("second")])),
        ],
        gates=[gate],
    )
    agent = create_agent(
        talk.model,
        tools(Workshop(), gate),
        middleware=[AsyncFCMiddleware(), TodoListMiddleware()],
    )
    final = entry.run(agent, go())
    assert "slow(1) first" in texts(final["messages"])[1]
    assert final["todos"] == [todo("second")]


@pytest.mark.parametrize("on_final", ["review", "settle"])
@pytest.mark.parametrize("limit", [None, 5])
def test_many_late_lists(entry: Mode, gate: Gate, on_final: Any, limit: int | None) -> None:
    """However many lists come late, all are written, in order, before the run ends."""
    writes = [ask(call("write_todos", todos=[todo(f"${{future_1}} {n}")])) for n in range(4)]

    def opening(_: Any) -> Any:
        gate.open()
        return writes[-1]

    talk = Talk([ask(call("slow", x="1")), *writes[:-1], opening], gates=[gate])
    around = [ModelCallLimitMiddleware(run_limit=limit)] if limit else []
    agent = create_agent(
        talk.model,
        tools(Workshop(), gate),
        middleware=[AsyncFCMiddleware(on_final=on_final), TodoListMiddleware(), *around],
    )
    with quiet():
        final = entry.run(agent, go())
    assert not unfinished(final["messages"])
    lists = texts(final["messages"])[1:]
    assert len(lists) == 4
    assert all(f"slow(1) {n}" in text for n, text in enumerate(lists))
    assert final["todos"] == [todo("slow(1) 3")]
