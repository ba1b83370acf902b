"""Rules 1 to 7: when calls start, and what they are given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from pydantic import BaseModel

from langchain_asyncfc import AsyncFCToolNode, Effects, effects
from langchain_asyncfc.testing import call, in_virtual_time, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Ask, Gate, MakeAgent, Mode, Workshop

PURE = Effects()


class Point(BaseModel):
    """A data object."""

    x: int
    y: int = 2


# -- rule 1 ----------------------------------------------------------------------------------------


def test_rule_1_model_is_called_while_the_tool_runs(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, delivery: str
) -> None:
    """The model's second call happens before the tool has ended, and opens the gate."""

    def second(messages: list[Any]) -> Any:
        assert workshop.log == ["slow start"]
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow")), second, "done"],
        delivery=delivery,
    )
    messages = agent.run(mode)
    assert messages[-1].text == "done"
    assert any("slow()" in text for text in agent.seen(2))
    assert workshop.log == ["slow start", "slow end"]


@in_virtual_time
async def test_rule_1_turns_overlap_with_tools(make_agent: MakeAgent, ask: Ask) -> None:
    """Three calls of 10 s in three turns of 1 s each take 12 s and a last turn."""

    @effects()
    @tool
    async def work(x: int) -> int:
        """Work."""
        await asyncio.sleep(10)
        return x

    agent = make_agent(
        [work],
        [
            *[ask(call("work", x=n)) for n in range(3)],
            lambda _: ask(call("await_future")),
            "done",
        ],
        model={"ttft": 1.0},
        grace=0,
    )
    await agent.arun()
    assert asyncio.get_running_loop().time() == pytest.approx(14.0)


# -- rule 2 ----------------------------------------------------------------------------------------


def test_rule_2_reference_waits_and_keeps_the_type(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, delivery: str
) -> None:
    """A later call's argument becomes the earlier value, the very object that the tool returned."""
    value = {"items": [{"id": 7}], "pair": (1, 2)}

    def third(messages: list[Any]) -> Any:
        assert workshop.started() == ["make"]
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("make", gate, result=value, does=PURE), workshop.tool("use", does=PURE)],
        [
            ask(call("make")),
            ask(call("use", x="future_1"), call("use", x="future_1.items[0].id")),
            third,
            "done",
        ],
        delivery=delivery,
    )
    agent.run(mode)
    used = [x for name, x in workshop.inputs if name == "use"]
    assert sorted(used, key=str) == [7, value]
    assert next(x for x in used if x != 7) is value


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("future_1", {"title": "T", "n": 3, "rows": [{"a b": None}]}),
        ("future_1.n", 3),
        ('future_1.rows[0]["a b"]', None),
        ("future_1.rows[-1]", {"a b": None}),
        ("${future_1.n}", 3),
        ("<${future_1.title}|${future_1.n}|${future_1.rows}>", '<T|3|[{"a b": null}]>'),
        (["future_1.n", {"k": "future_1.title"}], [3, {"k": "T"}]),
        ("\\future_1", "future_1"),
        ("\\${future_1}", "${future_1}"),
        ("see future_1", "see future_1"),
        ("future_plans", "future_plans"),
        ("${HOME}", "${HOME}"),
    ],
)
@pytest.mark.parametrize("when", ["running", "delivered", "same message"])
def test_rule_2_notations(
    make_agent: MakeAgent,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    argument: Any,
    expected: Any,
    when: str,
) -> None:
    """Each notation gives the same to a running, a delivered and a sibling future."""
    value = {"title": "T", "n": 3, "rows": [{"a b": None}]}
    make = workshop.tool("make", gate, result=value, does=PURE)
    use = workshop.tool("use", does=PURE)

    async def main() -> None:
        def open_gate(messages: list[Any]) -> Any:
            gate.open()
            return ask(call("await_future"))

        first, then = call("make"), call("use", x=argument)
        replies = {
            "running": [ask(first), ask(then), open_gate, "done"],
            "delivered": [ask(first), open_gate, ask(then), ask(call("await_future")), "done"],
            "same message": [ask(first, then), open_gate, "done"],
        }[when]
        await make_agent([make, use], replies).arun()

    run_virtual(main())
    assert [x for name, x in workshop.inputs if name == "use"] == [expected]


def test_rule_2_reference_to_a_fast_result(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A call that was answered at once has a number too and can be referred to later."""
    agent = make_agent(
        [workshop.tool("make", result=[1, 2]), workshop.tool("use")],
        [ask(call("make")), ask(call("use", x="future_1[1]")), "done"],
        grace=60,
    )
    messages = agent.run(mode)
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == ["[1, 2]", "use(2)"]
    assert ("use", 2) in workshop.inputs


@pytest.mark.parametrize("speed", ["fast", "slow"])
def test_rule_2_reference_to_an_earlier_run(
    mode: Mode,
    make_agent: MakeAgent,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    delivery: str,
    speed: str,
) -> None:
    """A finished future of an earlier run of the thread stays valid, its value typed."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    slow = speed == "slow"
    agent = make_agent(
        [workshop.tool("make", gate if slow else None, result={"n": 5}), workshop.tool("use")],
        [
            ask(call("make")),
            *([second] if slow else []),
            "one",
            ask(call("use", x="future_1.n", await_result=True)),
            "two",
        ],
        checkpointer=InMemorySaver(),
        delivery=delivery,
        grace=0.01 if slow else 60,
    )
    config = {"configurable": {"thread_id": "t"}}
    agent.run(mode, config=config)
    agent.run(mode, config=config)
    assert workshop.inputs[-1] == ("use", 5)


def test_rule_2_scalar_for_a_string_parameter(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A number given to a string parameter becomes its text; to any other it stays a number."""
    got: list[Any] = []

    @tool
    def text(s: str) -> str:
        """Take a string."""
        got.append(s)
        return s

    @tool
    def number(n: int) -> str:
        """Take a number."""
        got.append(n)
        return str(n)

    agent = make_agent(
        [workshop.tool("make", result={"i": 3, "f": 1.5, "b": True}), text, number],
        [
            ask(call("make")),
            *[ask(call("text", s=f"future_1.{key}")) for key in "ifb"],
            ask(call("number", n="future_1.i")),
            "done",
        ],
        grace=60,
    )
    agent.run(mode)
    assert got == ["3", "1.5", "true", 3]


def test_rule_2_pydantic_value_and_parameter(mode: Mode, make_agent: MakeAgent, ask: Ask) -> None:
    """A pydantic value is passed on as the object it is, and its fields can be named."""

    got: list[Any] = []

    @tool
    def make() -> Point:
        """Make a point."""
        return Point(x=1)

    @tool
    def use(p: Point, n: int) -> str:
        """Use a point."""
        got.append((p, n))
        return "used"

    agent = make_agent(
        [make, use],
        [ask(call("make")), ask(call("use", p="future_1", n="future_1.y")), "done"],
        grace=60,
    )
    agent.run(mode)
    assert got == [(Point(x=1), 2)]


# -- rule 3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (Effects(writes="fs:/src"), Effects(reads="fs:/src/a.py"), True),
        (Effects(writes="fs:/src"), Effects(reads="fs:"), True),
        (Effects(writes="fs:/src"), Effects(reads="fs:/docs"), False),
        (Effects(writes="fs:/src"), Effects(reads="db:/src"), False),
        (Effects(reads="fs:/src"), Effects(writes="fs:/src"), True),
        (Effects(writes="fs:/src"), Effects(writes="fs:/src"), True),
        (Effects(reads="fs:/src"), Effects(reads="fs:/src"), False),
        (Effects(writes="fs:{x}"), Effects(reads="fs:{x}"), False),
        (Effects(writes="/"), Effects(reads="fs:/src"), True),
        (Effects(writes="fs:/src"), Effects(), False),
    ],
)
@pytest.mark.parametrize("one_batch", [True, False])
@in_virtual_time
async def test_rule_3_hazards(
    make_agent: MakeAgent,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    first: Effects,
    second: Effects,
    waits: bool,
    one_batch: bool,
) -> None:
    """Two declared calls wait for each other on a hazard, and on nothing else."""
    one = workshop.tool("one", gate, does=first)
    two = workshop.tool("two", does=second)
    seen: list[list[str]] = []

    def last(messages: list[Any]) -> Any:
        seen.append(workshop.started())
        gate.open()
        return ask(call("await_future"))

    calls = call("one", x="/a"), call("two", x="/b")
    batches = [ask(*calls)] if one_batch else [ask(made) for made in calls]
    await make_agent([one, two], [*batches, last, "done"]).arun()
    assert seen == [["one"] if waits else ["one", "two"]]
    assert workshop.started() == ["one", "two"]


@in_virtual_time
async def test_rule_3_template_shrinks_when_its_reference_is_known(
    make_agent: MakeAgent, workshop: Workshop, make_gate: type[Gate], ask: Ask
) -> None:
    """With an unfinished reference the parent path is covered, with its value that path alone."""
    name_gate, write_gate = make_gate(), make_gate()
    name = workshop.tool("name", name_gate, result="/a", does=PURE)
    write = workshop.tool("write", write_gate, does=Effects(writes="fs:{x}"))
    read = workshop.tool("read", does=Effects(reads="fs:{x}"))
    seen: list[list[str]] = []

    def note(messages: list[Any]) -> Any:
        seen.append(workshop.started())
        (name_gate if len(seen) == 1 else write_gate).open()
        return ask(call("await_future", timeout=5) if len(seen) == 1 else call("await_future"))

    agent = make_agent(
        [name, write, read],
        [
            ask(call("name")),
            ask(call("write", x="future_1")),
            ask(call("read", x="/b"), call("read", x="/a")),
            note,
            note,
            "done",
        ],
    )
    await agent.arun()
    assert seen == [["name"], ["name", "write", "read"]]
    assert [x for tool_name, x in workshop.inputs if tool_name == "read"] == ["/b", "/a"]


# -- rule 4 ----------------------------------------------------------------------------------------


def test_rule_4_undeclared_tool_waits_and_is_waited_for(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, make_gate: type[Gate], ask: Ask
) -> None:
    """An undeclared call starts after the batch before and before the batch after."""
    gates = [make_gate() for _ in range(3)]
    tools = [
        workshop.tool("before", gates[0], does=PURE),
        workshop.tool("between", gates[1]),
        workshop.tool("after", gates[2], does=PURE),
    ]
    seen: list[list[str]] = []

    def step(number: int) -> Callable[[list[Any]], Any]:
        def reply(messages: list[Any]) -> Any:
            seen.append(workshop.started())
            gates[number].open()
            return ask(call("await_future", futures=[f"future_{number + 1}"]))

        return reply

    agent = make_agent(
        tools,
        [ask(call("before")), ask(call("between")), ask(call("after")), *map(step, range(3)), "."],
    )
    agent.run(mode)
    assert seen[0] == ["before"]
    assert workshop.log == [
        f"{name} {what}" for name in ("before", "between", "after") for what in ("start", "end")
    ]


# -- rule 5 ----------------------------------------------------------------------------------------


def test_rule_5_undeclared_calls_of_one_batch_run_together(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Inside one batch undeclared calls are as parallel as in `ToolNode`: all meet at a barrier."""
    import threading

    barrier = threading.Barrier(3, timeout=20)
    arrived: list[int] = []
    met: list[asyncio.Event] = []

    def meet(x: int) -> str:
        barrier.wait()
        return str(x)

    async def ameet(x: int) -> str:
        met[:] = met or [asyncio.Event()]
        arrived.append(x)
        if len(arrived) == 3:
            met[0].set()
        await met[0].wait()
        return str(x)

    together = StructuredTool.from_function(meet, ameet, name="meet", description="Meet.")
    agent = make_agent(
        [together], [ask(*(call("meet", x=n, await_result="all") for n in range(3))), "done"]
    )
    messages = agent.run(mode)
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == ["0", "1", "2"]


@in_virtual_time
async def test_rule_5_declared_hazard_orders_inside_a_batch(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Declared hazards and references order calls of one batch, in call order."""
    write = workshop.tool("write", gate, does=Effects(writes="fs:"))
    read = workshop.tool("read", does=Effects(reads="fs:"))
    use = workshop.tool("use")

    def second(messages: list[Any]) -> Any:
        assert workshop.started() == ["write"]
        gate.open()
        return ask(call("await_future"))

    replies = [ask(call("write"), call("read"), call("use", x="future_2")), second, "done"]
    await make_agent([write, read, use], replies).arun()
    assert workshop.log == [
        "write start", "write end", "read start", "read end", "use start", "use end",
    ]  # fmt: skip


# -- rule 6 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_rule_6_same_outcomes_as_one_by_one(
    make_agent: MakeAgent, ask: Ask, seed: int
) -> None:
    """With sound effects, results and the final state equal those of serial execution."""
    import random

    rng = random.Random(seed)
    seconds = [rng.random() * 3 for _ in range(40)]

    def tools(cells: dict[str, Any], *, serial: bool) -> list[Any]:
        at = iter(seconds)

        async def pause() -> None:
            if not serial:
                await asyncio.sleep(next(at) + 0.1)

        @effects(reads="cell:{key}")
        @tool
        async def get(key: str) -> Any:
            """Read a cell."""
            await pause()
            return cells.get(key, 0)

        @effects(reads="cell:{key}", writes="cell:{key}")
        @tool
        async def add(key: str, n: int) -> Any:
            """Add to a cell."""
            before = cells.get(key, 0)
            await pause()
            cells[key] = before + n
            return cells[key]

        @effects(reads="cell:", writes=("cell:{key}",))
        @tool
        async def total(key: str) -> Any:
            """Sum all cells into one."""
            await pause()
            cells[key] = sum(cells.values())
            return cells[key]

        return [get, add, total]

    calls: list[dict[str, Any]] = []
    for n in range(1, 25):
        name = rng.choice(["get", "add", "add", "total"])
        args: dict[str, Any] = {"key": rng.choice("abc")}
        if name == "add":
            args["n"] = f"future_{rng.randrange(1, n)}" if n > 1 and rng.random() < 0.5 else n
        calls.append({"name": name, "args": args})
    serial: dict[str, Any] = {}
    by_name = {made.name: made for made in tools(serial, serial=True)}
    expected: list[Any] = []
    for made in calls:
        args = {
            k: expected[int(v[7:]) - 1] if str(v).startswith("future_") else v
            for k, v in made["args"].items()
        }
        expected.append(await by_name[made["name"]].ainvoke(args))

    cells: dict[str, Any] = {}
    batches: list[Any] = []
    rest = list(calls)
    while rest:
        size = rng.randint(1, 4)
        batch, rest = rest[:size], rest[size:]
        batches.append(ask(*(call(made["name"], **made["args"]) for made in batch)))
    agent = make_agent(tools(cells, serial=False), [*batches, "early", "done"], model={"ttft": 0.3})
    messages = await agent.arun(config={"recursion_limit": 100})
    results = [m for m in messages if isinstance(m, ToolMessage) and m.name != "await_future"]
    assert [m.text for m in results] == [str(value) for value in expected]
    assert cells == serial


# -- rule 7 ----------------------------------------------------------------------------------------


def test_rule_7_waiting_call_holds_no_permit(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """With one permit, a call that waits for a reference lets a later one run."""
    slow = workshop.tool("slow", gate, does=PURE)
    use, other = workshop.tool("use", does=PURE), workshop.tool("other", does=PURE)

    def third(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [slow, use, other],
        [ask(call("slow")), ask(call("use", x="future_1"), call("other")), third, "done"],
        max_concurrency=1,
    )
    messages = agent.run(mode)
    texts = [m.text for m in messages if isinstance(m, ToolMessage)][:3]
    assert texts == ["slow()", "use(slow())", "other()"]


@pytest.mark.parametrize("where", ["node", "config"])
@in_virtual_time
async def test_rule_7_permits_are_for_running_calls(
    make_agent: MakeAgent, ask: Ask, where: str
) -> None:
    """At most two calls run at once, those that wait for others not counted."""
    running = peak = 0

    @effects()
    @tool
    async def work(x: Any) -> str:
        """Work."""
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(1)
        running -= 1
        return "done"

    batch = [call("work", x=0), *(call("work", x="future_1") for _ in range(3))]
    batch += [call("work", x=n) for n in range(1, 6)]
    agent = make_agent(
        [work],
        [ask(*batch), "early", "done"],
        **({"max_concurrency": 2} if where == "node" else {}),
    )
    await agent.arun(config={"max_concurrency": 2} if where == "config" else None)
    assert peak == 2
    # Three of the nine are one call (rule 15): seven runs by two permits.
    assert asyncio.get_running_loop().time() == pytest.approx(4.0, abs=0.1)


def test_rule_7_a_call_cannot_refer_to_itself_or_later(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """References to the call itself and to later calls are answered at once with an error."""
    agent = make_agent(
        [workshop.tool("use")],
        [ask(call("use", x="future_1"), call("use", x="future_3"), call("use", x="ok")), "done"],
        grace=60,
    )
    messages = agent.run(mode)
    first, second, third = (m for m in messages if isinstance(m, ToolMessage))
    assert (first.status, second.status, third.text) == ("error", "error", "use(ok)")
    assert "no future exists yet" in first.text
    assert "the only future is future_1" in second.text
    assert workshop.inputs == [("use", "ok")]


def test_rule_5_equals_tool_node_for_fast_calls(mode: Mode, workshop: Workshop, ask: Ask) -> None:
    """A whole batch of fast calls gives the very messages that `ToolNode` gives."""
    from langgraph.graph import START, MessagesState, StateGraph

    def answers(node_class: type[ToolNode], **options: Any) -> list[dict[str, Any]]:
        builder = StateGraph(MessagesState)
        builder.add_node("tools", node_class([workshop.tool("t"), failing], **options))
        builder.add_edge(START, "tools")
        value = {"messages": [HumanMessage("go"), batch]}
        found = mode.run(builder.compile(), value)["messages"][2:]
        return [m.model_dump(exclude={"id"}) for m in found]

    failing = workshop.tool("failing", error=ValueError("no"), handle_tool_error=True)
    batch = ask(call("t", x=1), call("t", x=[1]), call("nothing"), call("t", y=1))
    assert answers(AsyncFCToolNode, grace=60.0) == answers(ToolNode)
