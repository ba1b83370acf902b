"""Time travel: replays and forks of threads that had futures, and histories that are edited.

The anchor is `ToolNode`: what it does from a checkpoint, the library does. Each tool says in which
era it ran: "first" is the run that wrote the checkpoints, later ones are replays and forks. A value
of an earlier era may stand in a history only where the checkpoint itself tells it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from langchain_asyncfc import Effects
from langchain_asyncfc.executors import Job, ThreadExecutor
from langchain_asyncfc.futures import Outcome
from langchain_asyncfc.testing import assert_valid_history, call
from tests.integration.conftest import PATIENCE
from tests.integration.reliability.faces import (
    FACES,
    Agent,
    Face,
    Lab,
    Scene,
    batches,
    everything,
    from_here,
    go,
    is_placeholder,
    on,
    outcomes,
    play,
    record,
    since_human,
    substance,
)

PURE = Effects()
WRITES = Effects(writes="db:")
THREAD = on("t")

Options = dict[str, Any]


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Face:
    """Each way to have futures."""
    return Face(request.param)


@pytest.fixture(params=["async", "sync"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """On an event loop in virtual time, and in threads."""
    return request.param == "async"


@pytest.fixture(params=["in_place", "append"])
def delivery(request: pytest.FixtureRequest) -> str:
    """Each way of delivery."""
    return request.param


@pytest.fixture(params=["review", "settle"])
def on_final(request: pytest.FixtureRequest) -> str:
    """Each way to end a turn without leaving anything behind."""
    return request.param


two_ways = pytest.mark.parametrize(
    ("is_async", "delivery"),
    [(True, "append"), (False, "in_place")],
    ids=["async-append", "sync-in_place"],
)
"""Two of the four, where a test has many cases."""


# -- the story -------------------------------------------------------------------------------------


def value_or_reference(messages: Sequence[BaseMessage], call_id: str) -> str:
    """What a model passes on: the id of an unfinished future, or the text of an answer."""
    [answer] = [m for m in messages if isinstance(m, ToolMessage) and m.tool_call_id == call_id]
    return record(answer)["future"] if is_placeholder(answer) else answer.text


def story(lab: Lab) -> Callable[[list[BaseMessage]], AIMessage | str]:
    """Three messages with calls, the second with a reference; then an answer, maybe too early."""

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        match len(batches(messages)):
            case 0:
                return AIMessage(
                    "", tool_calls=[call("slow", "a", x="a"), call("quick", "b", x="b")]
                )
            case 1:
                got = value_or_reference(messages, "a")
                return AIMessage("", tool_calls=[call("use", "u", x=got)])
            case 2:
                return AIMessage("", tool_calls=[call("slow", "c", x="c")])
        lab.gate.open()
        return "done"

    return policy


def story_tools(lab: Lab, does: Effects | None) -> list[Any]:
    """The tools of the story."""
    return [
        lab.tool("slow", slow=True, does=does),
        lab.tool("quick", does=PURE),
        lab.tool("use", does=PURE),
    ]


def told(messages: Sequence[BaseMessage]) -> dict[str, str]:
    """By call id the outcomes that a history tells."""
    found = {}
    waiting = {record(m)["future"] for m in messages if is_placeholder(m)}
    for call_id, _, text in outcomes(messages):
        if not any(str(text).startswith(f"{future} is") for future in waiting):
            found[call_id] = str(text)
    return found


def shape(messages: Sequence[BaseMessage]) -> str:
    """A history's substance without arguments, where references stood."""
    return repr(
        [
            (*item[:2], [(name, call_id) for name, _, call_id in item[2]])
            if item[0] == "ai"
            else item
            for item in substance(messages)
        ]
    )


def history(agent: Agent) -> list[Any]:
    """The checkpoints of the thread, oldest first."""
    return list(agent.graph.get_state_history(THREAD))[::-1]


def before_tools(agent: Agent) -> Any:
    """The checkpoint from which the first calls of the thread are issued."""
    return next(s for s in history(agent) if set(s.next) == {"tools"})


def messages_of(state: Any) -> list[BaseMessage]:
    """The messages of a checkpoint."""
    return state.values.get("messages", [])


def is_lost(text: str) -> bool:
    """Whether an outcome says that nobody knows whether the call took effect."""
    return "was lost" in text


def check_story(
    lab: Lab, does: Effects | None, before: list[BaseMessage], after: list[BaseMessage], era: str
) -> None:
    """Check what a replay of the story gave.

    Args:
        lab: Of its tools.
        does: What the slow tool does. Whatever writes something is not started twice.
        before: The messages of the checkpoint.
        after: Those of the end.
        era: That of the replay.
    """
    assert_valid_history(after)
    assert after[-1].text == "done"
    known, final = told(before), told(after)
    asked = {i[2] for i in substance(before) if i[0] == "tool"}
    assert set(final) == {"a", "b", "u", "c"}
    ran = lab.ran_in(era)
    for call_id, name in (("a", "slow"), ("b", "quick"), ("u", "use"), ("c", "slow")):
        given = final["a"] if call_id == "u" else call_id
        times = ran.count((name, given))
        if call_id in known:
            assert final[call_id] == known[call_id]
            assert times == 0
        elif call_id in asked and name == "slow" and does is not PURE:
            assert is_lost(final[call_id])
            assert times == 0
        elif call_id == "u" and is_lost(final["a"]):
            assert "first" not in final[call_id]
            assert times == 0
        else:
            assert final[call_id] == f"{era} {name}({given})"
            assert times == 1
    assert len(ran) == len(set(ran))


@two_ways
@pytest.mark.parametrize("does", [PURE, WRITES, None], ids=["pure", "writes", "undeclared"])
def test_replay_from_every_checkpoint(
    face: Face, is_async: bool, delivery: str, on_final: str, does: Effects | None
) -> None:
    """A call issued after the checkpoint starts again, once; no value of the old run is used."""
    lab = Lab()
    agent = face.build(
        story_tools(lab, does),
        story(lab),
        checkpointer=InMemorySaver(),
        grace=0,
        delivery=delivery,
        on_final=on_final,
    )

    def scene() -> Scene:
        first = yield agent.graph, go(), THREAD
        check_story(lab, does, [], first["messages"], "first")
        states = history(agent)
        assert any(is_placeholder(m) for s in states for m in messages_of(s))
        for number, state in enumerate(states):
            era = f"era{number}"
            # The model opens the gate when it is asked for the end of the story. A run that begins
            # at the tool node waits for its first results.
            waits = face.name == "node" and state.next == ("tools",)
            lab.begin(era, closed=len(batches(messages_of(state))) < 2 and not waits)
            final = yield agent.graph, None, from_here(state.config)
            check_story(lab, does, messages_of(state), final["messages"], era)
        again = yield agent.graph, None, from_here(agent.graph.get_state(THREAD).config)
        assert again["messages"] == final["messages"]

    play(scene(), is_async=is_async)


def test_replay_gives_what_tool_node_gives(
    face: Face, is_async: bool, delivery: str, on_final: str
) -> None:
    """From each checkpoint that `ToolNode` has too, a replay ends as its own replay does."""
    plain_lab, lab = Lab(), Lab()
    plain_lab.gate.open()
    plain = face.build_plain(
        story_tools(plain_lab, PURE), story(plain_lab), checkpointer=InMemorySaver()
    )
    agent = face.build(
        story_tools(lab, PURE),
        story(lab),
        checkpointer=InMemorySaver(),
        grace=5,  # all calls are answered with their results
        delivery=delivery,
        on_final=on_final,
    )
    lab.gate.open()
    expected: dict[str, str] = {}

    def anchor() -> Scene:
        yield plain.graph, go(), THREAD
        plain_lab.begin("second")
        for state in history(plain):
            final = yield plain.graph, None, from_here(state.config)
            expected[f"{shape(messages_of(state))}"] = shape(final["messages"])

    def scene() -> Scene:
        yield agent.graph, go(), THREAD
        lab.begin("second")
        compared = set()
        for state in history(agent):
            before = shape(messages_of(state))
            if any(is_placeholder(m) for m in messages_of(state)) or before not in expected:
                continue
            final = yield agent.graph, None, from_here(state.config)
            assert shape(final["messages"]) == expected[before]
            compared.add(before)
        assert compared == set(expected)

    play(anchor(), is_async=is_async)
    play(scene(), is_async=is_async)


# -- forks -----------------------------------------------------------------------------------------


def two_calls(lab: Lab) -> Callable[[list[BaseMessage]], AIMessage | str]:
    """One message with two calls, then an answer; asked "again", the model awaits everything."""

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        if since_human(messages)[0].text == "again":
            return awaits(messages)
        if not batches(since_human(messages)):
            calls = [call("slow", "c1", x=1), call("slow", "c2", x=2)]
            return AIMessage("", tool_calls=calls)
        lab.gate.open()
        return "done"

    return policy


def awaits(messages: list[BaseMessage]) -> AIMessage | str:
    """Awaits everything, once, and answers."""
    if any(isinstance(m, AIMessage) for m in since_human(messages)):
        return "done"
    return AIMessage("", tool_calls=[call("await_future")])


def with_calls(message: BaseMessage, *calls: Any, text: str = "") -> AIMessage:
    """A message under the id of another one."""
    return AIMessage(text, tool_calls=list(calls), id=message.id)


EDITS: dict[str, Callable[[AIMessage], AIMessage]] = {
    "arguments": lambda m: with_calls(m, call("slow", "c1", x="new"), m.tool_calls[1]),
    "other tool": lambda m: with_calls(m, call("quick", "c1", x=1), m.tool_calls[1]),
    "call removed": lambda m: with_calls(m, m.tool_calls[1]),
    "call added": lambda m: with_calls(m, *m.tool_calls, call("quick", "c3", x=3)),
    "order": lambda m: with_calls(m, *m.tool_calls[::-1]),
    "ids swapped": lambda m: with_calls(m, call("slow", "c2", x=1), call("slow", "c1", x=2)),
    "other calls": lambda m: with_calls(m, call("quick", "new", x=9)),
    "no calls": lambda m: with_calls(m, text="never mind"),
}
"""What is done to the message whose calls have not been issued, under its own id."""


@two_ways
@pytest.mark.parametrize("detached", [False, True], ids=["review", "detach"])
@pytest.mark.parametrize("edit", EDITS)
def test_fork_with_an_edited_message(
    face: Face, is_async: bool, delivery: str, edit: str, detached: bool
) -> None:
    """A fork with other calls under the ids of the old ones ends as with `ToolNode`."""
    anchor_lab, lab = Lab(), Lab()
    anchor = face.build_plain(
        _two_tools(anchor_lab), two_calls(anchor_lab), checkpointer=InMemorySaver()
    )
    agent = face.build(
        _two_tools(lab),
        two_calls(lab),
        checkpointer=InMemorySaver(),
        grace=0,
        delivery=delivery,
        on_final="detach" if detached else "review",
    )
    finals: list[Any] = []

    def scene(agent: Agent, lab: Lab) -> Scene:
        if agent.owner is None:
            lab.gate.open()
        yield agent.graph, go(), THREAD
        before = before_tools(agent)
        edited = EDITS[edit](messages_of(before)[-1])  # type: ignore[arg-type]
        for era in ("second", "third"):
            fork = agent.graph.update_state(
                before.config, {"messages": [edited]}, as_node=agent.model_node
            )
            lab.begin(era)
            final = yield agent.graph, None, from_here(fork)
            if agent.owner is not None:
                assert_valid_history(final["messages"])
        found = substance(final["messages"])
        if detached and agent.owner is not None:
            final = yield agent.graph, go("again"), THREAD
            assert_valid_history(final["messages"])
            found = substance(final["messages"])[:-2]
        finals.append(found)

    play(scene(anchor, anchor_lab), is_async=is_async)
    play(scene(agent, lab), is_async=is_async)
    expected, found = finals
    assert found == expected
    assert sorted(map(repr, lab.ran_in("third"))) == sorted(map(repr, anchor_lab.ran_in("third")))


def _two_tools(lab: Lab) -> list[Any]:
    return [lab.tool("slow", slow=True, does=PURE), lab.tool("quick", does=PURE)]


Edit = Callable[[Sequence[Any]], list[Any]]


def _by_hand(placeholder: Any) -> ToolMessage:
    return ToolMessage("by hand", tool_call_id=placeholder.tool_call_id, id=placeholder.id)


def _removed(*messages: BaseMessage) -> list[RemoveMessage]:
    return [RemoveMessage(m.id or "") for m in messages]


def _summary(text: str) -> HumanMessage:
    return HumanMessage(text, additional_kwargs={"lc_source": "summarization"})


PENDING_EDITS: dict[str, Edit] = {
    "by hand": lambda m: [_by_hand(m[2])],
    "all by hand": lambda m: [_by_hand(m[2]), _by_hand(m[3])],
    "text": lambda m: [m[2].model_copy(update={"content": "please wait"})],
    "record gone": lambda m: [m[2].model_copy(update={"additional_kwargs": {}})],
    "arguments": lambda m: [EDITS["arguments"](m[1])],
    "call removed": lambda m: [EDITS["call removed"](m[1]), *_removed(m[2])],
    "exchange removed": lambda m: _removed(*m[1:4]),
    "everything removed": lambda m: [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage("go")],
    "summary": lambda m: [*_removed(*m), _summary("Once future_1 and future_2 ran.")],
    "other message": lambda m: [with_calls(m[1], text="well,"), *_removed(*m[2:4]), _summary("on")],
}
"""What is done to `[human, ai with two calls, placeholder, placeholder]`."""


@two_ways
@pytest.mark.parametrize("does", [PURE, WRITES], ids=["pure", "writes"])
@pytest.mark.parametrize("edit", PENDING_EDITS)
def test_fork_with_edited_placeholders(
    face: Face, is_async: bool, delivery: str, edit: str, does: Effects
) -> None:
    """A fork of a history with placeholders comes to its end, without a value of the old run."""
    lab = Lab()
    agent = face.build(
        [lab.tool("slow", slow=True, does=does), lab.tool("quick", does=does)],
        two_calls(lab),
        checkpointer=InMemorySaver(),
        grace=0,
        delivery=delivery,
    )

    def scene() -> Scene:
        yield agent.graph, go(), THREAD
        before = with_placeholders(agent)
        old = messages_of(before)
        for era in ("second", "third"):
            changes = PENDING_EDITS[edit](old)
            fork = agent.graph.update_state(before.config, {"messages": changes}, as_node="tools")
            lab.begin(era)
            final = yield agent.graph, None, from_here(fork)
            check_fork(lab, old, final["messages"], edit, era)
            if edit == "arguments":
                text = told(final["messages"])["c1"]
                assert text == f"{era} slow(new)" if does is PURE else is_lost(text)

    play(scene(), is_async=is_async)


def with_placeholders(agent: Agent) -> Any:
    """The checkpoint after the first calls of the thread were issued."""
    return next(s for s in history(agent) if sum(map(is_placeholder, messages_of(s))) == 2)


def check_fork(
    lab: Lab, old: list[BaseMessage], after: list[BaseMessage], edit: str, era: str
) -> None:
    """Check the end of a fork whose placeholders were edited."""
    assert_valid_history(after)
    assert after[-1].text == "done"
    shown = everything(after)
    assert "first" not in shown
    assert (
        shown.count("by hand") == ["by hand", "all by hand"].index(edit) + 1
        if ("by hand" in edit)
        else "by hand" not in shown
    )
    if edit in {"exchange removed", "everything removed", "summary", "other message"}:
        # The model asks again, under numbers of its own.
        assert {m.id for m in old[2:4]}.isdisjoint(m.id for m in after)
        ran = sorted(x for _, x in lab.ran_in(era))
        assert ran == [1, 2]
        assert told(after) == {"c1": f"{era} slow(1)", "c2": f"{era} slow(2)"}
    for call_id, text in told(after).items():
        fresh = text.startswith(f"{era} slow")
        left = {"by hand", "please wait"} if call_id == "c1" else {"by hand"}
        assert fresh or is_lost(text) or text in left or edit == "record gone", text
    if edit == "summary":
        numbers = [record(m).get("future") for m in after if record(m).get("future")]
        assert not {"future_1", "future_2"} & set(numbers)


def test_fork_of_a_fork(face: Face, is_async: bool, delivery: str) -> None:
    """Each of a chain of forks, and each again after the others, has values of its own only."""
    lab = Lab()
    agent = face.build(
        _two_tools(lab), two_calls(lab), checkpointer=InMemorySaver(), grace=0, delivery=delivery
    )

    def scene() -> Scene:
        yield agent.graph, go(), THREAD
        config = before_tools(agent).config
        forks = []
        for number in range(4):
            asked = agent.graph.get_state(config).values["messages"][-1]
            edited = with_calls(asked, call("slow", "c1", x=number), call("slow", "c2", x=9))
            config = agent.graph.update_state(
                config, {"messages": [edited]}, as_node=agent.model_node
            )
            forks.append((number, config))
        for turn, (number, fork) in enumerate([*forks, *forks[::-1]]):
            era = f"era{turn}"
            lab.begin(era, closed=face.name == "middleware")
            final = yield agent.graph, None, from_here(fork)
            assert_valid_history(final["messages"])
            expected = {"c1": f"{era} slow({number})", "c2": f"{era} slow(9)"}
            assert told(final["messages"]) == expected
            assert sorted(lab.ran_in(era)) == [("slow", number), ("slow", 9)]

    play(scene(), is_async=is_async)


# -- history that is edited while calls run --------------------------------------------------------


FORGETS: dict[str, Edit] = {
    "exchange": lambda m: _removed(*m[1:4]),
    "everything": lambda m: [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage("anew")],
    "summary": lambda m: [*_removed(*m[:4]), _summary("Once future_1 and future_2 ran.")],
    "call": lambda m: [with_calls(m[1], m[1].tool_calls[1]), *_removed(m[2])],
    "other call": lambda m: [
        with_calls(m[1], call("quick", "c9", x=9)),
        *_removed(*m[2:4]),
        ToolMessage("by hand", tool_call_id="c9"),
    ],
    "by hand": lambda m: [_by_hand(m[2])],
    "record": lambda m: [m[2].model_copy(update={"additional_kwargs": {}})],
}
"""What is done to `[human, ai with two calls, placeholder, placeholder]` while both calls run."""


@two_ways
@pytest.mark.parametrize("final_option", ["review", "settle", "detach"])
@pytest.mark.parametrize("what", FORGETS)
def test_messages_removed_while_calls_run(
    face: Face, is_async: bool, delivery: str, what: str, final_option: str
) -> None:
    """Nothing is orphaned, nothing comes twice, no id is used again, and the run ends."""
    lab = Lab()
    done: list[list[BaseMessage]] = []

    def forget(messages: list[BaseMessage]) -> list[BaseMessage]:
        if done or sum(map(is_placeholder, messages)) < 2:
            return []
        done.append(messages)
        return FORGETS[what](messages)

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        if since_human(messages)[0].text == "again":
            lab.gate.open()
            return awaits(messages)
        asked = {c["id"] for m in batches(messages) for c in m.tool_calls}
        if not done:
            calls = [call("slow", "c1", x=1), call("slow", "c2", x=2)]
            return AIMessage("", tool_calls=calls)
        if "c3" not in asked:
            return AIMessage("", tool_calls=[call("slow", "c3", x=3)])
        if "c4" not in asked:
            lab.gate.open()
            return AIMessage("", tool_calls=[call("quick", "c4", x=4)])
        return "done"

    agent = face.build(
        _two_tools(lab),
        policy,
        checkpointer=InMemorySaver(),
        between=forget,
        grace=0,
        delivery=delivery,
        on_final=final_option,
    )

    def scene() -> Scene:
        final = yield agent.graph, go(), THREAD
        assert done
        assert_valid_history(final["messages"])
        if final_option == "detach":
            final = yield agent.graph, go("again"), THREAD
            assert_valid_history(final["messages"])
        messages = final["messages"]
        assert messages[-1].text == "done"
        # Each call ran once, and what it gave is told at most once.
        assert sorted(x for _, x in lab.ran_in("first")) == [1, 2, 3, 4]
        counts = [everything(messages).count(f"first {n}") for n in names()]
        assert all(count <= 1 for count in counts[:2]), counts
        assert counts[2:] == [1, 1]
        known = told(messages)
        kept = {"call": {"c2"}, "by hand": {"c2"}, "record": {"c2"}}.get(what, set())
        for call_id in kept:
            assert known[call_id] == f"first slow({call_id[1]})"
        if what == "by hand":
            assert known["c1"].startswith("by hand")
        numbers = [record(m).get("future") for m in messages if record(m).get("future")]
        assert len(numbers) == len(set(numbers))
        if what in {"exchange", "everything", "summary", "other call"}:
            assert not {"future_1", "future_2"} & set(numbers)

    play(scene(), is_async=is_async)


def names() -> list[str]:
    """The calls as their results begin."""
    return ["slow(1)", "slow(2)", "slow(3)", "quick(4)"]


# -- detached futures ------------------------------------------------------------------------------


def detached_talk(lab: Lab) -> Callable[[list[BaseMessage]], AIMessage | str]:
    """Says what the human says: "call x" calls, "again" opens the gate and awaits."""

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        last = since_human(messages)
        match last[0].text.split():
            case ["call", x]:
                if len(batches(last)):
                    return "bye"
                return AIMessage("", tool_calls=[call("slow", f"c-{x}", x=x)])
            case ["wait", x]:
                if len(batches(last)):
                    return "waited"
                made = call("quick", f"c-{x}", x=x, await_result=True)
                return AIMessage("", tool_calls=[made])
        lab.gate.open()
        return awaits(messages)

    return policy


def detaching_agent(face: Face, delivery: str, **options: Any) -> tuple[Agent, Lab]:
    """An agent that detaches, and its tools."""
    lab = Lab()
    agent = face.build(
        _two_tools(lab),
        detached_talk(lab),
        checkpointer=InMemorySaver(),
        grace=0,
        delivery=delivery,
        on_final="detach",
        **options,
    )
    return agent, lab


@pytest.fixture
def detaching(face: Face, delivery: str) -> tuple[Agent, Lab]:
    """An agent that detaches, and its tools."""
    return detaching_agent(face, delivery)


class Reporting(ThreadExecutor):
    """Runs calls in threads, and says when the first of them has its outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def submit(self, job: Job, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Start a job."""

        def tell(outcome: Outcome) -> None:
            done(outcome)
            self.ended.set()

        return super().submit(job, tell)


def until(event: threading.Event) -> tuple[Any, Any, Any]:
    """For a scene: threads wait for an event; in virtual time all that can happen happens."""

    def wait(_: Any) -> None:
        assert event.wait(PATIENCE)

    async def rest(_: Any) -> None:
        await asyncio.sleep(1)

    return RunnableLambda(wait, rest), None, None


@pytest.mark.parametrize("running", [True, False], ids=["running", "finished"])
def test_replay_from_before_a_detached_call(
    face: Face, is_async: bool, delivery: str, running: bool
) -> None:
    """A replay starts the call again, though the newer branch's call runs or has a value."""
    executor = Reporting()
    agent, lab = detaching_agent(face, delivery, executor=None if is_async else executor)

    def scene() -> Scene:
        yield agent.graph, go("call a"), THREAD
        before = before_tools(agent)
        old_gate = lab.gate
        yield until(old_gate.entered)
        assert lab.ran == [("first", "slow", "a")]
        if not running:
            old_gate.open()
            yield until(executor.ended)
        lab.begin("second")
        yield agent.graph, None, from_here(before.config)
        final = yield agent.graph, go("again"), THREAD
        old_gate.open()
        assert_valid_history(final["messages"])
        assert told(final["messages"]) == {"c-a": "second slow(a)"}
        assert lab.ran_in("second") == [("slow", "a")]

    play(scene(), is_async=is_async)


def test_branch_that_never_knew_of_a_detached_call(
    detaching: tuple[Agent, Lab], is_async: bool
) -> None:
    """A branch from before the call never hears of it, however many calls of its own it makes."""
    agent, lab = detaching

    def scene() -> Scene:
        yield agent.graph, go("wait start"), THREAD
        start = agent.graph.get_state(THREAD).config
        yield agent.graph, go("call a"), THREAD
        old_gate = lab.gate
        lab.begin("second")
        yield agent.graph, go("wait b"), from_here(start)
        old_gate.open()
        yield agent.graph, go("call c"), THREAD
        final = yield agent.graph, go("again"), THREAD
        assert_valid_history(final["messages"])
        assert set(told(final["messages"])) == {"c-start", "c-b", "c-c"}
        assert "slow(a)" not in everything(final["messages"])

    play(scene(), is_async=is_async)


def test_branch_from_after_a_detached_call(detaching: tuple[Agent, Lab], is_async: bool) -> None:
    """Branches from after the call: the value comes once in each, or the future is lost to it."""
    agent, lab = detaching

    def scene() -> Scene:
        yield agent.graph, go("call a"), THREAD
        after = agent.graph.get_state(THREAD).config
        lab.gate.open()
        left = yield agent.graph, go("again"), from_here(after)
        assert told(left["messages"]) == {"c-a": "first slow(a)"}
        lab.begin("second")
        right = yield agent.graph, go("again"), from_here(after)
        for final in (left, right):
            assert_valid_history(final["messages"])
        assert everything(left["messages"]).count("slow(a)") == 1
        text = told(right["messages"])["c-a"]
        # It ran again, as it writes nothing, or it is gone with the other branch.
        assert text == "second slow(a)" or is_lost(text)

    play(scene(), is_async=is_async)


STATE_EDITS: dict[str, tuple[Edit, bool]] = {
    "by hand, as tools": (lambda m: [_by_hand(m[2])], True),
    "by hand, as model": (lambda m: [_by_hand(m[2]), AIMessage("by hand")], False),
    "a human's word, as tools": (lambda _: [HumanMessage("by the way")], True),
    "an answer, as model": (lambda _: [AIMessage("bye bye", id="bye")], False),
    "removed, as tools": (lambda m: _removed(*m[1:3]), True),
    "all removed, as model": (
        lambda _: [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage("anew"), AIMessage("yes?")],
        False,
    ),
}
"""What is done to `[human, ai with a call, placeholder, ai]` while the call runs."""


@pytest.mark.parametrize("edit", STATE_EDITS)
def test_state_edited_while_detached_calls_run(
    detaching: tuple[Agent, Lab], is_async: bool, edit: str
) -> None:
    """After `update_state` the thread goes on; the outcome comes once or is dropped."""
    agent, lab = detaching
    change, as_tools = STATE_EDITS[edit]

    def scene() -> Scene:
        first = yield agent.graph, go("call a"), THREAD
        messages = first["messages"]
        changes = change(messages)
        if "answer" in edit:
            changes[0].id = messages[-1].id
        elif any(m.type == "ai" for m in changes) and "removed" not in edit:
            changes = [*changes[:-1], messages[-1].model_copy(update={"content": "by hand"})]
        elif "removed" in edit and as_tools:
            changes = [*changes, *_removed(messages[-1])]
        agent.graph.update_state(
            THREAD, {"messages": changes}, as_node="tools" if as_tools else agent.model_node
        )
        final = yield agent.graph, go("again"), THREAD
        final = yield agent.graph, go("again"), THREAD
        assert_valid_history(final["messages"])
        shown = everything(final["messages"])
        assert not any(map(is_placeholder, final["messages"])) or "[future_1] " in shown
        assert lab.ran == [("first", "slow", "a")]
        expected = {"a human's word, as tools": {1}, "an answer, as model": {1}}
        assert shown.count("first slow(a)") in expected.get(edit, {0, 1})
        assert shown.count("by hand") == ("by hand" in edit)

    play(scene(), is_async=is_async)


# -- call ids that come again ----------------------------------------------------------------------


def test_call_ids_that_come_again(face: Face, is_async: bool, delivery: str) -> None:
    """A server that numbers its calls anew each turn: each replay of each turn gets its own."""
    lab = Lab()

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        last = since_human(messages)
        if len(batches(last)) < 2:
            x = f"{last[0].text}{len(batches(last))}"
            return AIMessage("", tool_calls=[call("slow", "0", x=x), call("slow", "1", x=f"{x}!")])
        lab.gate.open()
        return "done"

    agent = face.build(
        [lab.tool("slow", slow=True, does=PURE)],
        policy,
        checkpointer=InMemorySaver(),
        check_history=False,  # Anthropic rejects such ids, with any tool node
        grace=0,
        delivery=delivery,
    )

    def scene() -> Scene:
        for word in ("a", "b"):
            lab.begin("first", closed=True)
            yield agent.graph, go(word), THREAD
        for number, state in enumerate(history(agent)):
            era = f"era{number}"
            lab.begin(era)
            final = yield agent.graph, None, from_here(state.config)
            before, after = messages_of(state), final["messages"]
            assert_valid_history(after, "openai")
            assert everything(after).count("first") <= everything(before).count("first")
            for x in ("a0", "a0!", "a1", "a1!", "b0", "b0!", "b1", "b1!"):
                assert everything(after).count(f"slow({x})") <= 1
                assert lab.ran_in(era).count(("slow", x)) <= 1

    play(scene(), is_async=is_async)


@pytest.mark.parametrize("as_tools", [True, False], ids=["as tools", "as model"])
def test_one_of_two_detached_calls_is_forgotten(
    detaching: tuple[Agent, Lab], is_async: bool, as_tools: bool
) -> None:
    """Removing the messages of one detached call does not take the other one's value away."""
    agent, lab = detaching

    def scene() -> Scene:
        yield agent.graph, go("call a"), THREAD
        final = yield agent.graph, go("call b"), THREAD
        first = final["messages"]
        place = next(i for i, m in enumerate(first) if is_placeholder(m))
        agent.graph.update_state(
            THREAD,
            {"messages": [*_removed(*first[place - 1 : place + 1]), first[-1]]},
            as_node="tools" if as_tools else agent.model_node,
        )
        final = yield agent.graph, go("again"), THREAD
        assert_valid_history(final["messages"])
        assert everything(final["messages"]).count("first slow(b)") == 1
        assert everything(final["messages"]).count("slow(a)") <= 1
        assert lab.ran == [("first", "slow", "a"), ("first", "slow", "b")]

    play(scene(), is_async=is_async)
