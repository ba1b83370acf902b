"""What is sent and kept: rewritten answers, results of other kinds, and only what is new."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from tests.integration.providers.clients import PROVIDERS, REASONING, Provider, Service
from tests.integration.providers.conftest import StartTalk
from tests.integration.providers.conversation import Reply, View, ask, say, script
from tests.integration.providers.settings import Setting, by_turns, each
from tests.integration.providers.workshop import Workshop

RUNNING = "is running"


def opening(workshop: Workshop, reply: Reply) -> Any:
    """A step that opens the gate of `slow` before it answers."""

    def step(view: View) -> Reply:
        workshop.open("slow")
        return reply

    return step


# -- the answer that came too early ----------------------------------------------------------------


@pytest.mark.parametrize("provider", [*PROVIDERS, *REASONING], ids=lambda provider: provider.name)
@each(*by_turns("astream", "invoke"))
def test_early_answer_keeps_what_the_model_said(
    provider: Provider, setting: Setting, serve: Any, workshop: Workshop, start_talk: StartTalk
) -> None:
    """An early answer is made to await: its id, text, blocks and usage stay, in its own place."""
    early = opening(workshop, say("Not yet."))
    talk = start_talk(
        serve(provider), setting, workshop, script(ask("slow", x=1), early, say("Done."))
    )
    messages = talk.say()
    assert [m.type for m in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
    made, final = messages[3], messages[5]
    assert [call["name"] for call in made.tool_calls] == ["await_future"]
    assert made.text == "Not yet."
    assert made.usage_metadata["output_tokens"] == 1
    assert type(made.content) is type(final.content)
    if isinstance(made.content, list):
        kinds = [[block["type"] for block in m.content] for m in (made, final)]
        assert kinds[0] == kinds[1] or kinds[0] == [*kinds[1], "tool_call"]
    if provider.stores:
        kept = made.response_metadata.get("id")
        assert kept is None, "the service would look for the call in the response of that id"


@each(*by_turns("ainvoke", "stream"))
def test_early_answer_without_text(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """A model that ends its turn without a word is called again in the same way."""
    policy = script(ask("slow", x=1), opening(workshop, say("")), say("Done."))
    talk = start_talk(service, setting, workshop, policy)
    assert talk.say()[-1].text == "Done."
    assert talk.session.views[-1].count("<slow:1>") == 1


@each(*by_turns("invoke", "ainvoke"))
def test_two_early_answers(
    service: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """Each early answer of a thread is made to await by a call with an id of its own."""

    def early(gate: str) -> Any:
        def step(view: View) -> Reply:
            workshop.open(gate)
            return say("Not yet.")

        return step

    steps = [ask("slow", x=1), early("slow"), say("There.")]
    steps += [ask("slower", x=2), early("slower"), say("Done.")]
    talk = start_talk(service, setting, workshop, script(*steps))
    talk.say()
    messages = talk.say("One more.")
    assert messages[-1].text == "Done."
    calls = [call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
    awaiting = [call["id"] for call in calls if call["name"] == "await_future"]
    assert len(set(awaiting)) == 2


# -- results of other kinds ------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["blocks", "empty"])
@each(*by_turns("invoke", "ainvoke"))
def test_results_of_other_kinds(
    service: Service, setting: Setting, tool: str, workshop: Workshop, start_talk: StartTalk
) -> None:
    """Content blocks and empty texts are delivered late in a form that each service takes."""

    def last(view: View) -> Reply:
        once = 1 if tool == "blocks" else 0
        assert view.count("<blocks:1a>") == once, view
        assert view.count("<blocks:1b>") == once, view
        return say("Done.")

    waiting = opening(workshop, ask("await_future"))
    talk = start_talk(service, setting, workshop, script(ask(tool, x=1), waiting, last))
    messages = talk.say()
    assert messages[-1].text == "Done."
    if setting.delivery == "in_place" and not service.provider.stores:
        late = next(m for m in messages if isinstance(m, ToolMessage))
        assert late.text == ("<blocks:1a><blocks:1b>" if tool == "blocks" else "")


# -- a service that keeps the conversation ---------------------------------------------------------


@pytest.fixture
def keeping(serve: Any) -> Service:
    """The client that sends only what is new."""
    (provider,) = [p for p in PROVIDERS if p.name == "openai-responses-stored"]
    return serve(provider)


@each(*by_turns("invoke", "ainvoke"), *by_turns("astream", "stream"))
def test_only_what_is_new_is_sent(
    keeping: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """Each request goes on from the last response that the service has as it was."""
    steps = [
        ask("slow", x=1),
        ask("fast", x=2, await_result=True),
        opening(workshop, say("Not yet.")),
        ask("join", x="future_1", await_result=True),
        say("Done."),
    ]
    talk = start_talk(keeping, setting, workshop, script(*steps))
    messages = talk.say()
    said = [m for m in messages if isinstance(m, AIMessage)]
    ids = [m.response_metadata.get("id") for m in said]
    sent = [body.get("previous_response_id") for body in talk.session.bodies]
    # The third message was made to await, so the fourth request goes on from the second.
    assert sent == [None, ids[0], ids[1], ids[1], ids[3]]
    assert ids[2] is None
    lengths = [len(body["input"]) for body in talk.session.bodies]
    assert lengths[1:] == [1, 1, 4, 1]
    kinds = [item.get("type") for item in talk.session.bodies[3]["input"]]
    assert kinds == ["function_call_output", "message", "function_call", "function_call_output"]


@each(*by_turns("invoke", "ainvoke"))
def test_nothing_that_was_sent_is_edited(
    keeping: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """The placeholder that the service has stays in the history; the value rides on what is new."""
    policy = script(ask("slow", x=1), opening(workshop, ask("await_future")), say("Done."))
    talk = start_talk(keeping, setting, workshop, policy)
    shown, told = (m for m in talk.say() if isinstance(m, ToolMessage))
    assert f"future_1 {RUNNING}" in shown.text
    assert told.text.count("[future_1] <slow:1>") == 1
    (first, second) = talk.session.views[1:]
    assert second.entries[: len(first.entries)] == first.entries


@each(*by_turns("invoke", "ainvoke", "settle"))
def test_settle_is_reviewed_where_values_cannot_take_their_place(
    keeping: Service, setting: Setting, workshop: Workshop, start_talk: StartTalk
) -> None:
    """With `settle` the model is called again, as the value would otherwise never be shown."""
    policy = script(ask("slow", x=1), opening(workshop, say("Not yet.")), say("Done."))
    talk = start_talk(keeping, setting, workshop, policy)
    assert talk.say()[-1].text == "Done."
    assert talk.session.views[-1].count("<slow:1>") == 1
