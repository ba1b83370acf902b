"""The same conversations through every client, each request checked as the service would.

A script asserts in each step what the model is sent, so that a wrong or invisible delivery fails
at the step where the model would be misled. Each value is written `<tool:argument>`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from tests.integration.providers.clients import PROVIDERS, REASONING, Provider, Service
from tests.integration.providers.conftest import StartTalk
from tests.integration.providers.conversation import (
    Assistant,
    Policy,
    Reply,
    Session,
    User,
    View,
    ask,
    say,
    script,
    together,
)
from tests.integration.providers.settings import (
    ENDS_OF_TURN,
    WITHIN_A_TURN,
    Setting,
    by_turns,
    each,
)
from tests.integration.providers.workshop import Workshop

RUNNING = "is running"


def appends(service: Service, setting: Setting) -> bool:
    """Whether delivery must be by append: asked for, or as the service keeps what it was sent."""
    return setting.delivery == "append" or service.provider.stores


def fast(x: int) -> Reply:
    """A call whose result the model waits for, so that it never depends on time."""
    return ask("fast", x=x, await_result=True)


def check_delivered(view: View, call: str, value: str, *, future: str, appended: bool) -> None:
    """Assert that the model is shown a value once: in its place, or after its future's id."""
    first = next(result.text for result in view.results if result.call.name == call)
    if appended:
        assert f"{future} {RUNNING}" in first, view
        assert view.count(f"[{future}] {value}") == 1, view
    else:
        assert first == value, view
    assert view.count(value) == 1, view


def check_running(view: View, call: str, future: str) -> None:
    """Assert that the model is shown a placeholder and no value."""
    (text,) = view.of(call)
    assert f"{future} {RUNNING}" in text, view
    assert view.count(f"<{call}:") == 0, view


def answers(messages: list[Any], name: str) -> list[str]:
    """The texts of a tool's messages."""
    return [m.text for m in messages if isinstance(m, ToolMessage) and m.name == name]


# -- a turn that ends with futures unfinished ------------------------------------------------------


@each(*ENDS_OF_TURN[0])
def test_slow_call_then_others_then_answer(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """A result that comes after the model's answer is shown to it, now or in the next turn."""
    appended = appends(service, setting)

    def second(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        return fast(2)

    def third(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        assert view.of("fast") == ["<fast:2>"]
        if setting.on_final != "detach":
            workshop.open("slow")
        return say("Not yet.")

    def awaiting(view: View) -> Reply:
        assert view.entries[-2:] == (Assistant("Not yet."), User("And now?")), view
        check_running(view, "slow", "future_1")
        workshop.open("slow")
        return ask("await_future")

    def last(view: View) -> Reply:
        check_delivered(view, "slow", "<slow:1>", future="future_1", appended=appended)
        return say("Done.")

    steps: list[Any] = [ask("slow", x=1), second, third]
    ends = setting.on_final == "settle" and not appended
    if setting.on_final == "detach":
        steps += [awaiting, last]
    elif not ends:
        steps += [last]
    talk = start_talk(service, setting, workshop, script(*steps))
    messages = talk.say()
    if setting.on_final == "detach":
        assert messages[-1].text == "Not yet."
        messages = talk.say("And now?")
    assert len(talk.session.views) == len(steps)
    assert messages[-1].text == ("Not yet." if ends else "Done.")
    assert workshop.inputs == [("slow", 1), ("fast", 2)]
    (shown,) = answers(messages, "slow")
    assert (RUNNING in shown) if appended else (shown == "<slow:1>")


@each(*ENDS_OF_TURN[1])
def test_answer_beside_two_futures(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """Text beside calls, an early answer, and two results at the end of one turn."""
    appended = appends(service, setting)

    def early(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        check_running(view, "slower", "future_2")
        if setting.on_final != "detach":
            workshop.open()
        return say("I am still looking.")

    def awaiting(view: View) -> Reply:
        workshop.open()
        return ask("await_future", futures=["future_1", "future_2"])

    def last(view: View) -> Reply:
        check_delivered(view, "slow", "<slow:1>", future="future_1", appended=appended)
        check_delivered(view, "slower", "<slower:2>", future="future_2", appended=appended)
        said = [entry.text for entry in view.entries if isinstance(entry, Assistant)]
        assert said[:2] == ["Let me look.", "I am still looking."]
        return say("Done.")

    ends = setting.on_final == "settle" and not appended
    steps: list[Any] = [
        together(say("Let me look."), ask("slow", x=1), ask("slower", x=2)),
        early,
        *([awaiting, last] if setting.on_final == "detach" else [] if ends else [last]),
    ]
    talk = start_talk(service, setting, workshop, script(*steps))
    talk.say()
    if setting.on_final == "detach":
        talk.say("And now?")
    assert len(talk.session.views) == len(steps)


@each(*by_turns("invoke", "ainvoke", "detach"))
def test_detached_over_three_turns(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """A future outlives a turn in which it is looked after, and is delivered in the third one."""
    appended = appends(service, setting)

    def still(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        assert view.count("<slow:") == 0
        return say("Not yet.")

    def awaiting(view: View) -> Reply:
        assert isinstance(view.entries[-1], User)
        workshop.open("slow")
        return ask("join", x="future_1", await_result=True)

    def last(view: View) -> Reply:
        (joined,) = view.of("join")
        assert joined.startswith("<join:<slow:1>>")
        assert ("[future_1] <slow:1>" in joined) == appended
        assert (view.of("slow") == ["<slow:1>"]) != appended
        return say("Done.")

    steps = [ask("slow", x=1), say("Started."), still, still, awaiting, last]
    talk = start_talk(service, setting, workshop, script(*steps))
    assert talk.say()[-1].text == "Started."
    assert talk.say("Is it there?")[-1].text == "Not yet."
    assert talk.say("And now?")[-1].text == "Done."
    assert len(talk.session.views) == len(steps)


# -- within a turn ---------------------------------------------------------------------------------


@pytest.fixture
def inside(service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk) -> Any:
    """Runs a script whose last step is an answer with nothing unfinished."""

    def run(*steps: Any) -> tuple[list[Any], Session]:
        talk = start_talk(service, setting, workshop, script(*steps))
        messages = talk.say()
        assert len(talk.session.views) == len(steps)
        assert messages[-1].text == "Done."
        return messages, talk.session

    return run


@each(*WITHIN_A_TURN)
def test_reference_in_a_later_call(
    service: Service, setting: Setting, inside: Any, workshop: Workshop
) -> None:
    """A call that takes a future waits for it and gets its value; both are shown once."""
    appended = appends(service, setting)

    def second(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        return ask("join", x="future_1")

    def third(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        check_running(view, "join", "future_2")
        workshop.open("slow")
        return ask("await_future")

    def last(view: View) -> Reply:
        check_delivered(view, "join", "<join:<slow:1>>", future="future_2", appended=appended)
        assert view.count("[future_1] <slow:1>") == appended
        assert (view.of("slow") == ["<slow:1>"]) != appended
        return say("Done.")

    inside(ask("slow", x=1), second, third, last)
    assert workshop.inputs == [("slow", 1), ("join", "<slow:1>")]


@each(*WITHIN_A_TURN)
def test_fast_and_slow_calls_in_one_message(
    service: Service, setting: Setting, inside: Any, workshop: Workshop
) -> None:
    """Of several calls in one message each is answered in its place, whenever it ends."""
    appended = appends(service, setting)

    def second(view: View) -> Reply:
        texts = [(result.call.name, result.text) for result in view.results]
        assert [name for name, _ in texts] == ["slow", "fast", "slower", "fast"]
        assert [texts[1][1], texts[3][1]] == ["<fast:2>", "<fast:4>"]
        check_running(view, "slow", "future_1")
        check_running(view, "slower", "future_3")
        workshop.open("slower")
        return ask("join", x="future_3", await_result=True)

    def third(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        assert view.count("[future_3] <slower:3>") == appended
        assert (view.of("slower") == ["<slower:3>"]) != appended
        assert view.of("join")[0].startswith("<join:<slower:3>>")
        workshop.open("slow")
        return ask("fast", x=6, await_result="all")

    def last(view: View) -> Reply:
        check_delivered(view, "slow", "<slow:1>", future="future_1", appended=appended)
        assert view.of("fast")[2].startswith("<fast:6>")
        return say("Done.")

    first = [ask("slow", x=1), fast(2), ask("slower", x=3), fast(4)]
    inside(together(*first), second, third, last)


@each(*WITHIN_A_TURN)
def test_failing_tool(service: Service, setting: Setting, inside: Any, workshop: Workshop) -> None:
    """An error is shown in the value's place, and what depends on the call is skipped."""
    appended = appends(service, setting)

    def second(view: View) -> Reply:
        check_running(view, "broken", "future_1")
        return ask("join", x="future_1")

    def third(view: View) -> Reply:
        workshop.open("broken")
        return ask("await_future")

    def last(view: View) -> Reply:
        told = view.of("await_future")[0] if appended else view.of("broken")[0]
        assert "the disk is full" in told, view
        skipped = view.of("await_future")[0] if appended else view.of("join")[0]
        assert "future_2 was not run, because future_1" in skipped, view
        return say("Done.")

    inside(ask("broken", x=1), second, third, last)
    assert workshop.inputs == [("broken", 1)]


@each(*WITHIN_A_TURN)
def test_cancelled_future(
    service: Service, setting: Setting, inside: Any, workshop: Workshop
) -> None:
    """A cancelled call is answered as cancelled once, and never with its value."""
    appended = appends(service, setting)

    def second(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        return ask("cancel_future", futures=["future_1"])

    def last(view: View) -> Reply:
        assert view.count("future_1 was cancelled") == 1, view
        if not appended:
            assert "was cancelled" in view.of("slow")[0]
        return say("Done.")

    inside(ask("slow", x=1), second, last)


@each(*WITHIN_A_TURN)
def test_await_future_with_a_timeout(
    service: Service, setting: Setting, inside: Any, workshop: Workshop
) -> None:
    """Waiting ends at the timeout without a value; waiting again brings it."""
    appended = appends(service, setting)

    def third(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        assert "Still running: future_1" in view.of("await_future")[0]
        workshop.open("slow")
        return ask("await_future", futures=["future_1"])

    def last(view: View) -> Reply:
        check_delivered(view, "slow", "<slow:1>", future="future_1", appended=appended)
        return say("Done.")

    waiting = ask("await_future", futures=["future_1"], timeout=0)
    inside(ask("slow", x=1), waiting, third, last)


@each(*WITHIN_A_TURN)
def test_await_result(setting: Setting, inside: Any, workshop: Workshop) -> None:
    """A call whose result the model waits for is answered with it, and no future is shown."""

    def first(view: View) -> Reply:
        workshop.open("slow")
        return ask("slow", x=1, await_result=True)

    def last(view: View) -> Reply:
        assert view.of("slow") == ["<slow:1>"]
        return say("Done.")

    inside(first, last)


@each(*WITHIN_A_TURN)
def test_control_call_beside_others(
    service: Service, setting: Setting, inside: Any, workshop: Workshop
) -> None:
    """`await_future` in one message with other calls is answered in its place."""
    appended = appends(service, setting)

    def second(view: View) -> Reply:
        workshop.open("slow")
        return together(fast(2), ask("await_future", futures=["future_1"]))

    def last(view: View) -> Reply:
        check_delivered(view, "slow", "<slow:1>", future="future_1", appended=appended)
        assert [result.call.name for result in view.results] == ["slow", "fast", "await_future"]
        return say("Done.")

    inside(ask("slow", x=1), second, last)


# -- several turns ---------------------------------------------------------------------------------


@each(*by_turns("invoke", "ainvoke", "review"))
def test_reference_to_an_earlier_turn(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """A value that was delivered in the first turn can be passed on in the second."""
    appended = appends(service, setting)

    def early(view: View) -> Reply:
        workshop.open("slow")
        return say("Not yet.")

    def told(view: View) -> Reply:
        check_delivered(view, "slow", "<slow:1>", future="future_1", appended=appended)
        return say("There.")

    def last(view: View) -> Reply:
        assert view.of("join") == ["<join:<slow:1>>"]
        return say("Done.")

    passed_on = ask("join", x="future_1", await_result=True)
    policy = script(ask("slow", x=1), early, told, passed_on, last)
    talk = start_talk(service, setting, workshop, policy)
    assert talk.say()[-1].text == "There."
    assert talk.say("Pass it on.")[-1].text == "Done."


@each(*by_turns("invoke", "ainvoke", "settle"))
def test_settle_reviews_a_failure(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """With `settle` the model is called again when what it did not wait for failed."""

    def early(view: View) -> Reply:
        workshop.open("broken")
        return say("It will be fine.")

    def last(view: View) -> Reply:
        assert view.count("the disk is full") == 1
        return say("It failed.")

    policy = script(ask("broken", x=1), early, last)
    talk = start_talk(service, setting, workshop, policy)
    assert talk.say()[-1].text == "It failed."


# -- the same as a synchronous run -----------------------------------------------------------------


def patient(workshop: Workshop, **waits: bool) -> Policy:
    """A model that says what it sees, and does the same with and without futures."""

    def policy(view: View) -> Reply:
        called = [result.call.name for result in view.results]
        if "slow" not in called:
            return together(say("Let me look."), ask("slow", x=1), ask("fast", x=2, **waits))
        if "slower" not in called:
            return ask("slower", x=3)
        workshop.open()
        values = [*view.of("slow"), *view.of("slower")]
        return say("Done." if values == ["<slow:1>", "<slower:3>"] else "Not yet.")

    return policy


def transcript(messages: list[Any]) -> list[tuple[Any, ...]]:
    """A history without ids, and without calls and arguments that only wait."""
    awaits = {
        call["id"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
        if call["name"] == "await_future"
    }
    lines = []
    for message in messages:
        calls = message.tool_calls if isinstance(message, AIMessage) else []
        awaiting = any(call["id"] in awaits for call in calls)
        if awaiting or getattr(message, "tool_call_id", None) in awaits:
            continue
        made = tuple((call["name"], call["args"]["x"]) for call in calls)
        lines.append((message.type, message.name, message.text, made))
    return lines


@pytest.mark.parametrize(
    "service",
    [provider for provider in PROVIDERS if not provider.stores],
    ids=lambda provider: provider.name,
    indirect=True,
)
@each(*(s for s in by_turns("invoke", "ainvoke") if s.delivery == "in_place"))
def test_history_equals_the_synchronous_run(
    service: Service, setting: Setting, start_talk: StartTalk
) -> None:
    """With delivery in place the finished history is that of `ToolNode`, but for the awaiting."""
    opened, gated = Workshop(always_open=True), Workshop()
    plain = start_talk(service, replace(setting, face="plain"), opened, patient(opened))
    expected = transcript(plain.say())
    assert expected[-1][2] == "Done."
    talk = start_talk(service, setting, gated, patient(gated, await_result=True))
    assert transcript(talk.say()) == expected
    assert any(isinstance(m, AIMessage) and m.text == "Not yet." for m in talk.messages)


# -- streams, and models that think ----------------------------------------------------------------


def long_talk(workshop: Workshop, *, appended: bool) -> list[Any]:
    """A script with a call in two steps, an early answer, and a review."""

    def second(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        return together(say("Meanwhile,"), ask("slower", x=2), fast(3))

    def third(view: View) -> Reply:
        check_running(view, "slower", "future_2")
        workshop.open("slower")
        return ask("await_future", futures=["future_2"])

    def early(view: View) -> Reply:
        check_running(view, "slow", "future_1")
        check_delivered(view, "slower", "<slower:2>", future="future_2", appended=appended)
        workshop.open("slow")
        return say("One is there.")

    def last(view: View) -> Reply:
        check_delivered(view, "slow", "<slow:1>", future="future_1", appended=appended)
        return say("Done.")

    return [together(say("I start."), ask("slow", x=1)), second, third, early, last]


@each(*by_turns("stream", "astream"))
def test_streams(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """A client that streams sends the same, and delivered values are streamed once."""
    policy = script(*long_talk(workshop, appended=appends(service, setting)))
    talk = start_talk(service, setting, workshop, policy)
    assert talk.say()[-1].text == "Done."
    assert talk.session.streamed == [True] * 5
    shown = [m.text for m in talk.streamed if isinstance(m, ToolMessage)]
    assert sum(text.count("<slow:1>") for text in shown) == 1, shown
    assert sum(text.count("<slower:2>") for text in shown) == 1, shown


@pytest.mark.parametrize("provider", REASONING, ids=lambda provider: provider.name)
@each(*by_turns("invoke", "astream"))
def test_models_that_think(
    provider: Provider, setting: Setting, serve: Any, workshop: Workshop, start_talk: StartTalk
) -> None:
    """Thoughts, signatures and item ids go back as they came, around a rewritten answer too."""
    service = serve(provider)
    policy = script(*long_talk(workshop, appended=appends(service, setting)))
    talk = start_talk(service, setting, workshop, policy)
    assert talk.say()[-1].text == "Done."
