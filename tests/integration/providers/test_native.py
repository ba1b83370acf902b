"""Native asynchronous tools: what a model is sent that takes the outputs of calls late.

The server accepts what the real service would: an output for each ordinary call with the next
request, an output for an asynchronous one with any later request, once. It refuses a request with
nothing new in it, so a model that is called too early fails the test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)

from langchain_asyncfc import Effects
from langchain_asyncfc.testing import assert_valid_history
from tests.integration.providers.clients import (
    NATIVE,
    OTHERWISE_NATIVE,
    PROVIDERS,
    Provider,
    Service,
)
from tests.integration.providers.conftest import THREAD, StartTalk, Talk
from tests.integration.providers.conversation import (
    Policy,
    Reply,
    View,
    ask,
    say,
    script,
    together,
)
from tests.integration.providers.openai_responses import native_tools
from tests.integration.providers.settings import Setting, each
from tests.integration.providers.workshop import PATIENCE, Workshop

RUNNING = "is running"
SLOW_TOOLS = frozenset({"slow", "slower", "broken"})
BY_NAME = {provider.name: provider for provider in [*PROVIDERS, *NATIVE, *OTHERWISE_NATIVE]}

AUTO = [
    Setting("invoke", face="node", async_calls="auto"),
    Setting("astream", face="middleware", async_calls="auto"),
    Setting("ainvoke", face="middleware", async_calls="auto"),
    Setting("stream", face="node", async_calls="auto"),
]
ALL_MARKED = [
    Setting("ainvoke", face="node", async_calls="native"),
    Setting("stream", face="middleware", async_calls="native"),
]
ORDINARY = frozenset({"fast", "join", "blocks", "empty"})
"""What stays ordinary in tests with "native", for want of another way."""


def among_clients(*settings: Setting, shift: int = 0, few: bool = False) -> pytest.MarkDecorator:
    """Run a test with every client, and in every setting: each setting with some clients.

    Args:
        settings: The settings.
        shift: At which client to begin, so that not all tests have the same pairs.
        few: With three clients only, for what depends little on the client.
    """
    count = max(3 if few else len(NATIVE), len(settings))
    pairs = [(NATIVE[(n + shift) % len(NATIVE)], settings[n % len(settings)]) for n in range(count)]
    names = [f"{client.name}-{setting}" for client, setting in pairs]
    return pytest.mark.parametrize(("client", "setting"), pairs, ids=names)


def with_clients(*settings: Setting) -> pytest.MarkDecorator:
    """Run a test with every client in every setting."""
    pairs = [(client, setting) for client in NATIVE for setting in settings]
    names = [f"{client.name}-{setting}" for client, setting in pairs]
    return pytest.mark.parametrize(("client", "setting"), pairs, ids=names)


@pytest.fixture
def service(client: Provider, serve: Callable[[Provider], Service]) -> Service:
    """The test's client with its server."""
    return serve(client)


@pytest.fixture
def workshop() -> Workshop:
    """The tools of a test; `slow`, `slower` and `broken` are marked as asynchronous."""
    return Workshop(native=SLOW_TOOLS)


@pytest.fixture
def opens(workshop: Workshop) -> Iterator[Callable[..., None]]:
    """Opens gates when calls stand at them, while the agent waits for an outcome."""
    threads: list[threading.Thread] = []

    def start(*names: str, when: tuple[str, ...] = ()) -> None:
        def run() -> None:
            for name in when or names:
                workshop.gate(name).entered.wait(PATIENCE)
            workshop.open(*names)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


def fast(x: int) -> Reply:
    """A call whose result the model waits for, so that it never depends on time."""
    return ask("fast", x=x, await_result=True)


def check_wire(talk: Talk, *marked: str) -> None:
    """Assert what is true of every conversation with native calls.

    What the model was shown once stays where it stood, so that each output goes out exactly once.
    The server has paired outputs and calls by id. No native call has a placeholder.

    Args:
        talk: The conversation.
        marked: The tools that must be declared as asynchronous; by default the slow ones.
    """
    wanted = frozenset(marked) or SLOW_TOOLS
    views = talk.session.views
    for before, after in pairwise(views):
        assert after.entries[: len(before.entries)] == before.entries
    for view in views:
        outputs = [result for result in view.results if result.call.name in wanted]
        assert not any(RUNNING in result.text for result in outputs), outputs
        ids = [result.call.id for result in outputs]
        assert len(ids) == len(set(ids))
    for body in talk.session.bodies:
        assert native_tools(body) == wanted


def rows(messages: list[AnyMessage]) -> list[tuple[Any, ...]]:
    """What a thread says, without what waited for results (`await_future`)."""
    names = {call["id"]: call["name"] for m in messages for call in getattr(m, "tool_calls", ())}
    order = list(names)
    found: list[tuple[Any, ...]] = []
    for message in messages:
        if isinstance(message, AIMessage):
            calls = [
                (c["name"], {k: v for k, v in c["args"].items() if k != "await_result"})
                for c in message.tool_calls
                if c["name"] != "await_future"
            ]
            if calls or message.text:
                found.append(("ai", message.text, calls))
        elif isinstance(message, ToolMessage):
            if names[message.tool_call_id] != "await_future":
                at = [i for i in order if names[i] != "await_future"].index(message.tool_call_id)
                found.append(("tool", at, message.name, message.text, message.status))
        else:
            found.append((message.type, message.text))
    return found


@dataclass(slots=True)
class Placeholders:
    """The same conversation with a model that does not take asynchronous tools."""

    serve: Callable[[Provider], Service]
    start_talk: StartTalk

    def rows(self, policy: Policy, setting: Setting, **options: Any) -> list[tuple[Any, ...]]:
        """What the thread says in the end."""
        workshop = Workshop(always_open=True)
        setting = replace(setting, async_calls="placeholder")
        service = self.serve(BY_NAME["openai-chat"])
        return rows(self.start_talk(service, setting, workshop, policy, **options).say())


@pytest.fixture
def placeholders(serve: Callable[[Provider], Service], start_talk: StartTalk) -> Placeholders:
    """For the state that a thread has with placeholders."""
    return Placeholders(serve, start_talk)


def follow(first: Reply, last: Reply) -> Policy:
    """A model that makes calls, waits where it has to, and answers when it has all results."""

    def policy(view: View) -> Reply:
        if not view.results:
            return first
        return ask("await_future") if any(RUNNING in r.text for r in view.results) else last

    return policy


# -- waiting, and delivering late ------------------------------------------------------------------


@with_clients(*AUTO[:2])
def test_text_beside_one_native_call(
    service: Service,
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    opens: Any,
    placeholders: Placeholders,
) -> None:
    """A model that has gone on as far as it can is called again with the output only."""
    workshop.foreground = ORDINARY
    first = together(say("Meanwhile: pack a coat."), ask("slow", x=1))

    def last(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        return say("Done.")

    opens("slow")
    talk = start_talk(service, setting, workshop, script(first, last))
    messages = talk.say()
    check_wire(talk)
    assert len(talk.session.views) == 2
    assert rows(messages) == placeholders.rows(follow(first, say("Done.")), setting)


@among_clients(*AUTO, *ALL_MARKED, shift=2)
@pytest.mark.parametrize(("first", "second"), [("slow", "slower"), ("slower", "slow")])
def test_two_native_calls_in_either_order(
    service: Service,
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    opens: Any,
    placeholders: Placeholders,
    first: str,
    second: str,
) -> None:
    """The first outcome wakes the model, the second comes when the model has answered."""
    workshop.foreground = ORDINARY
    calls = together(ask("slow", x=1), ask("slower", x=2))

    def half(view: View) -> Reply:
        assert len(view.results) == 1
        assert view.results[0].call.name == first
        workshop.open(second)
        return say("Half of it.")

    def last(view: View) -> Reply:
        assert [r.call.name for r in view.results if r.call.name != "await_future"] == [
            first,
            second,
        ]
        return say("Done.")

    opens(first, when=("slow", "slower"))
    talk = start_talk(service, setting, workshop, script(calls, half, last))
    messages = talk.say()
    check_wire(talk)
    assert len(talk.session.views) == 3
    expected = placeholders.rows(follow(calls, say("Done.")), setting)
    assert [row for row in rows(messages) if row[1] != "Half of it."] == expected


@among_clients(*AUTO, shift=3)
def test_native_and_ordinary_calls_in_one_message(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """An ordinary call beside is answered at once; a reference waits for the native one."""

    def second(view: View) -> Reply:
        assert view.of("fast") == ["<fast:2>"]
        assert view.of("slow") == []
        workshop.open("slow")
        return ask("join", x="future_1", await_result=True)

    def last(view: View) -> Reply:
        assert view.of("join") == ["<join:<slow:1>>"]
        assert view.of("slow") == ["<slow:1>"]
        return say("Done.")

    first = together(ask("slow", x=1), fast(2))
    talk = start_talk(service, setting, workshop, script(first, second, last))
    messages = talk.say()
    check_wire(talk)
    assert rows(messages) == [
        ("human", "go"),
        ("ai", "", [("slow", {"x": 1}), ("fast", {"x": 2})]),
        ("tool", 0, "slow", "<slow:1>", "success"),
        ("tool", 1, "fast", "<fast:2>", "success"),
        ("ai", "", [("join", {"x": "future_1"})]),
        ("tool", 2, "join", "<join:<slow:1>>", "success"),
        ("ai", "Done.", []),
    ]


@among_clients(AUTO[1], AUTO[3], ALL_MARKED[0], shift=4, few=True)
def test_native_reference_to_a_native_sibling(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk, opens: Any
) -> None:
    """A native call takes the value of an older one of its message."""
    workshop.foreground = ORDINARY
    workshop.open("slower")

    def second(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        # It may be there already, or come when the model has answered.
        return say("Half of it.")

    def last(view: View) -> Reply:
        assert view.of("slower") == ["<slower:<slow:1>>"]
        return say("Done.")

    def both(view: View) -> Reply:
        return last(view) if view.of("slower") else second(view)

    opens("slow")
    calls = together(ask("slow", x=1), ask("slower", x="future_1"))
    talk = start_talk(service, setting, workshop, script(calls, both, last))
    messages = talk.say()
    check_wire(talk)
    assert messages[-1].text == "Done."
    assert workshop.inputs == [("slow", 1), ("slower", "<slow:1>")]


@among_clients(*AUTO[1:], shift=0, few=True)
def test_await_future_on_a_native_call(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """The model may wait for a native call as for any other; the output follows the answer."""

    def second(view: View) -> Reply:
        workshop.open("slow")
        return ask("await_future", futures=["future_1"])

    def last(view: View) -> Reply:
        assert [result.call.name for result in view.results] == ["fast", "await_future", "slow"]
        assert view.of("slow") == ["<slow:1>"]
        return say("Done.")

    first = together(ask("slow", x=1), fast(2))
    talk = start_talk(service, setting, workshop, script(first, second, last))
    talk.say()
    check_wire(talk)


@among_clients(*AUTO, shift=1)
def test_late_outputs_stay_where_they_came(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk, opens: Any
) -> None:
    """An output that came in a step whose own calls still run does not move when they end."""

    def second(view: View) -> Reply:
        assert [result.call.name for result in view.results] == ["slower"]
        opens("slow", when=("broken",))
        return ask("broken", x=3)

    def third(view: View) -> Reply:
        assert [result.call.name for result in view.results] == ["slower", "slow"]
        workshop.open("broken")
        return fast(4)

    def answer(view: View) -> Reply:
        return say("Done.")

    def fourth(view: View) -> Reply:
        return say("Done." if view.of("broken") else "Not yet.")

    opens("slower", when=("slow", "slower"))
    calls = together(ask("slow", x=1), ask("slower", x=2))
    talk = start_talk(service, setting, workshop, script(calls, second, third, fourth, answer))
    messages = talk.say()
    check_wire(talk)
    assert messages[-1].text == "Done."
    assert talk.session.views[-1].of("broken") == ["the disk is full"]


@among_clients(*AUTO, shift=2)
def test_finished_native_call_does_not_wait_for_an_older_one(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """The output of a native call goes out at once while an older call runs on."""

    def second(view: View) -> Reply:
        workshop.open("slower")
        return ask("slower", x=3, await_result=True)

    def third(view: View) -> Reply:
        assert view.of("slower") == ["<slower:3>"]
        assert view.of("slow") == []
        workshop.open("slow")
        return say("Not yet.")

    def last(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        return say("Done.")

    first = together(ask("slow", x=1), fast(2))
    talk = start_talk(service, setting, workshop, script(first, second, third, last))
    talk.say()
    check_wire(talk)


@pytest.mark.parametrize("ended_before", [True, False])
@among_clients(*AUTO[:3], shift=3, few=True)
def test_ordinary_outcome_beside_native_calls_is_shown(
    service: Service,
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    opens: Any,
    ended_before: bool,
) -> None:
    """What ends while only native calls were made rides on no message that is hidden."""
    workshop.native = frozenset({"slower"})

    def second(view: View) -> Reply:
        (shown,) = view.of("slow")
        assert f"future_1 {RUNNING}" in shown
        if ended_before:
            workshop.open("slow")
            assert workshop.gate("slow").left.wait(PATIENCE)
        else:
            opens("slow", when=("slower",))
        return ask("slower", x=2)

    def third(view: View) -> Reply:
        # Nothing can be told of the ordinary call before there is a message to tell it by.
        assert view.of("slower")[0].startswith("<slower:2>")
        return say("Done.") if view.count("<slow:1>") else say("And the other?")

    opens("slower")
    talk = start_talk(service, setting, workshop, script(ask("slow", x=1), second, third, third))
    talk.say()
    check_wire(talk, "slower")
    assert talk.session.views[-1].count("<slow:1>") == 1
    assert talk.session.views[-1].count("<slower:2>") == 1


# -- the end of a turn -----------------------------------------------------------------------------


@pytest.mark.parametrize("on_final", ["review", "settle", "detach"])
@among_clients(*AUTO, shift=4)
def test_turn_ends_while_a_native_call_runs(
    service: Service,
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    on_final: str,
) -> None:
    """The output comes before another answer, at the end, or in the next turn."""
    setting = replace(setting, on_final=on_final)

    def early(view: View) -> Reply:
        assert view.of("slow") == []
        if on_final != "detach":
            workshop.open("slow")
        return say("Not yet.")

    def awaiting(view: View) -> Reply:
        if on_final == "detach":
            assert view.of("slow") == []
        workshop.open("slow")
        return ask("await_future")

    def done(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        return say("Done.")

    first = together(ask("slow", x=1), fast(2))
    steps = {
        "review": [first, early, done, done],
        "settle": [first, early, done],
        "detach": [first, early, awaiting, done],
    }[on_final]
    talk = start_talk(service, setting, workshop, script(*steps))
    messages = talk.say()
    assert messages[-1].text == ("Done." if on_final == "review" else "Not yet.")
    assert_valid_history(messages)
    talk.say("And now?")
    check_wire(talk)
    assert len(talk.session.views) == len(steps)
    assert rows(talk.messages)[:4] == [
        ("human", "go"),
        ("ai", "", [("slow", {"x": 1}), ("fast", {"x": 2})]),
        ("tool", 0, "slow", "<slow:1>", "success"),
        ("tool", 1, "fast", "<fast:2>", "success"),
    ]


@among_clients(*AUTO[:3], shift=0, few=True)
def test_detached_native_call_over_two_turns(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """A result that is there when the user speaks again is delivered in that turn."""
    setting = replace(setting, on_final="detach")

    def late(view: View) -> Reply:
        return say("Done." if view.of("slow") else "Let me see.")

    steps = [together(ask("slow", x=1), fast(2)), say("Started."), late, late]
    talk = start_talk(service, setting, workshop, script(*steps))
    assert talk.say()[-1].text == "Started."
    workshop.open("slow")
    messages = talk.say("And now?")
    if messages[-1].text == "Let me see.":
        messages = talk.say("And now?")
    check_wire(talk)
    assert messages[-1].text == "Done."


# -- calls that do not resolve ---------------------------------------------------------------------


@among_clients(AUTO[0], AUTO[2], ALL_MARKED[1], shift=1, few=True)
def test_failed_native_call(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk, opens: Any
) -> None:
    """An error is an output as any other."""
    workshop.foreground = ORDINARY

    def last(view: View) -> Reply:
        assert view.of("broken") == ["the disk is full"]
        return say("I could not.")

    opens("broken")
    talk = start_talk(service, setting, workshop, script(ask("broken", x=1), last))
    messages = talk.say()
    check_wire(talk)
    assert rows(messages)[2] == ("tool", 0, "broken", "the disk is full", "error")


@among_clients(AUTO[1], AUTO[3], ALL_MARKED[0], shift=2, few=True)
def test_native_call_that_takes_too_long(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """The model waits for a native call no longer than its timeout."""
    workshop.foreground = ORDINARY

    def last(view: View) -> Reply:
        (told,) = view.of("slow")
        assert "slow" in told
        assert "0.01" in told
        return say("It took too long.")

    policy = script(ask("slow", x=1), last)
    talk = start_talk(service, setting, workshop, policy, timeout={"slow": 0.01})
    messages = talk.say()
    check_wire(talk)
    assert rows(messages)[2][-1] == "error"


@among_clients(*AUTO[1:], shift=3, few=True)
def test_cancelled_native_call(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """Cancelling a native call gives it an output that says so."""

    def last(view: View) -> Reply:
        assert view.of("slow") == ["future_1 was cancelled."]
        return say("Never mind.")

    first = together(ask("slow", x=1), fast(2))
    cancel = ask("cancel_future", futures=["future_1"])
    talk = start_talk(service, setting, workshop, script(first, cancel, last))
    messages = talk.say()
    check_wire(talk)
    assert ("tool", 0, "slow", "future_1 was cancelled.", "error") in rows(messages)


# -- other models ----------------------------------------------------------------------------------


def _half_native(workshop: Workshop, *, ends: bool) -> list[Any]:
    """A conversation with a native call that came late, and one that may still run."""

    def second(view: View) -> Reply:
        assert view.of("slow") == []
        workshop.open("slow")
        return ask("join", x="future_1", await_result=True)

    def third(view: View) -> Reply:
        if ends:
            workshop.open("slower")
            return ask("await_future")
        return say("The rest comes later.")

    first = together(ask("slow", x=1), ask("slower", x=2), fast(3))
    return [first, second, third, *([say("Done.")] if ends else [])]


@pytest.mark.parametrize(
    ("other", "becomes"),
    [
        ("anthropic", "ended"),
        ("anthropic", "run again"),
        ("openai-chat", "run again"),
        ("anthropic", "lost"),
        ("openai-chat", "lost"),
    ],
)
@among_clients(
    replace(AUTO[1], on_final="detach"), replace(AUTO[3], on_final="detach"), shift=4, few=True
)
def test_thread_goes_on_with_another_model(
    service: Service,
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    serve: Callable[[Provider], Service],
    other: str,
    becomes: str,
) -> None:
    """Any other model takes the thread as it is, with a placeholder for what is pending.

    Another agent cannot know what became of the call. It runs it again, if that does no harm.
    """
    ends = becomes == "ended"
    talk = start_talk(service, setting, workshop, script(*_half_native(workshop, ends=ends)))
    messages = talk.say()
    check_wire(talk)

    def first(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        (shown,) = view.of("slower")
        if ends:
            return last(view)
        assert RUNNING in shown
        return ask("await_future")

    def last(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        (shown,) = view.of("slower")
        if setting.face == "node" and not ends:
            # The messages have ids of responses, so nothing is changed where a model may keep it.
            assert RUNNING in shown
            shown = view.results[-1].text.partition("[future_2] ")[2]
        if becomes == "lost":
            assert "future_2 was lost" in shown
        else:
            assert shown == "<slower:2>"
        return say("I have read it all.")

    config = replace(setting, async_calls="placeholder" if setting.face == "node" else "auto")
    # What the first agent runs goes on behind its own closed gate.
    elsewhere = Workshop(always_open=True)
    does = {"effects": {"slower": Effects(writes="disk:")}} if becomes == "lost" else {}
    policy = script(first) if ends else script(first, last)
    there = start_talk(serve(BY_NAME[other]), config, elsewhere, policy, **does)
    there.messages, _ = there.mode.run(
        there.agent, {"messages": [*messages, HumanMessage("Tell me.")]}, THREAD
    )
    there.session.assert_went_well()
    assert there.messages[-1].text == "I have read it all."
    assert elsewhere.inputs == ([("slower", 2)] if becomes == "run again" else [])


@each(AUTO[1], ALL_MARKED[1])
def test_chat_completions_get_placeholders(
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    serve: Callable[[Provider], Service],
) -> None:
    """A model that does not take asynchronous tools is sent no mark, and placeholders."""

    def second(view: View) -> Reply:
        (shown,) = view.of("slow")
        assert RUNNING in shown
        workshop.open("slow")
        return ask("await_future")

    def last(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        return say("Done.")

    steps = [ask("slow", x=1), second, last]
    talk = start_talk(serve(BY_NAME["openai-chat"]), setting, workshop, script(*steps))
    talk.say()
    for body in talk.session.bodies:
        assert not any("async" in {**tool, **tool["function"]} for tool in body["tools"])


@each(*AUTO[:2], *ALL_MARKED)
def test_old_output_format_gets_placeholders(
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    serve: Callable[[Provider], Service],
) -> None:
    """In the client's oldest format it cannot be seen which calls are native: all are ordinary."""
    workshop.foreground = ORDINARY

    def second(view: View) -> Reply:
        assert RUNNING in view.of("slow")[0]
        workshop.open("slow")
        return ask("await_future")

    def last(view: View) -> Reply:
        assert view.count("<slow:1>") == 1
        return say("Done.")

    steps = [ask("slow", x=1), second, last]
    service = serve(BY_NAME["openai-native-v0"])
    talk = start_talk(service, setting, workshop, script(*steps))
    assert talk.say()[-1].text == "Done."


@pytest.mark.parametrize("name", ["openai-native", "openai-native-by-name"])
@each(*ALL_MARKED)
def test_what_is_marked(
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    serve: Callable[[Provider], Service],
    name: str,
) -> None:
    """With "native" every tool is marked but foreground and control tools."""
    workshop.native = frozenset({"slow", "blocks"})
    workshop.foreground = frozenset({"fast", "blocks"})
    talk = start_talk(serve(BY_NAME[name]), setting, workshop, script(say("Nothing to do.")))
    talk.say()
    check_wire(talk, "slow", "slower", "broken", "join", "empty")


@among_clients(*[replace(setting, async_calls="placeholder") for setting in AUTO])
def test_placeholders_take_marks_off(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """With "placeholder" no tool is marked, and native calls do not come about."""

    def second(view: View) -> Reply:
        assert RUNNING in view.of("slow")[0]
        workshop.open("slow")
        return ask("await_future")

    talk = start_talk(service, setting, workshop, script(ask("slow", x=1), second, say("Done.")))
    talk.say()
    assert not any(native_tools(body) for body in talk.session.bodies)


# -- shortened threads -----------------------------------------------------------------------------


def _removing(talk: Talk, *ids: str | None) -> None:
    """Take messages out of the thread."""
    removed = [RemoveMessage(id=id_) for id_ in ids if id_ is not None]
    talk.agent.graph.update_state(THREAD, {"messages": removed}, as_node=_before(talk))


def _before(talk: Talk) -> str:
    return "agent" if "agent" in talk.agent.graph.nodes else "model"


@pytest.mark.parametrize("name", ["openai-native", "openai-native-v1"])
@each(*AUTO[2:])
def test_summary_in_place_of_a_late_output_and_its_call(
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    serve: Callable[[Provider], Service],
    name: str,
) -> None:
    """When the message after which an output came is gone, the output stands by its call."""

    def last(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        assert view.of("join") == []
        return say("Yes.")

    steps = [*_half_native(workshop, ends=True), last]
    talk = start_talk(serve(BY_NAME[name]), setting, workshop, script(*steps))
    messages = talk.say()
    joining = next(m for m in messages if m.type == "ai" and m.tool_calls[0]["name"] == "join")
    gone = joining.tool_calls[0]["id"]
    answer = next(m for m in messages if getattr(m, "tool_call_id", None) == gone)
    _removing(talk, joining.id, answer.id)
    talk.say("Did you find it?")


@pytest.mark.parametrize("name", ["openai-native", "openai-native-v1"])
@each(*[replace(setting, on_final="detach") for setting in AUTO[:2]])
def test_call_that_is_summarised_away_while_it_runs(
    setting: Setting,
    workshop: Workshop,
    start_talk: StartTalk,
    serve: Callable[[Provider], Service],
    name: str,
) -> None:
    """A native call whose messages are gone leaves no output without a call."""

    def awaiting(view: View) -> Reply:
        assert view.of("slow") == []
        workshop.open("slow")
        return fast(4)

    def last(view: View) -> Reply:
        assert not any(result.call.name == "slow" for result in view.results)
        assert view.count("<slow:1>") <= 1
        return say("Yes.")

    steps = [together(ask("slow", x=1), fast(2)), say("Started."), awaiting, last]
    talk = start_talk(serve(BY_NAME[name]), setting, workshop, script(*steps))
    messages = talk.say()
    summary = HumanMessage(
        "It is about future_1.", additional_kwargs={"lc_source": "summarization"}
    )
    graph = talk.agent.graph
    removed = [RemoveMessage(id=m.id) for m in messages if m.id is not None]
    graph.update_state(THREAD, {"messages": [*removed, summary]}, as_node=_before(talk))
    assert talk.say("Did you find it?")[-1].text == "Yes."
