"""Personal data in results of every form."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.types import Command

agents = pytest.importorskip("langchain.agents.middleware", reason="needs the package langchain")
pytest.importorskip("langchain.agents.middleware.tool_error", reason="needs langchain 1.4.6")

from langchain_asyncfc.screens import Screens  # noqa: E402 - needs langchain


class Request:
    """As much of a request as is looked at."""

    runtime = None


def screened(result: Any) -> Any:
    """A result after it went through."""
    pii = agents.PIIMiddleware("email", apply_to_tool_results=True)
    wrapper = Screens([pii]).wrapper(lambda _: result)
    assert wrapper is not None
    return wrapper(Request(), lambda _: result)


def told(text: str) -> ToolMessage:
    """An answer."""
    return ToolMessage(text, tool_call_id="1")


def test_no_screens_wrap_nothing() -> None:
    """Without such middleware calls run as they are."""
    assert Screens([]).wrapper(lambda _: None) is None


def test_a_message_is_screened() -> None:
    """Personal data in a message is replaced; the message keeps its call."""
    message = screened(told("mail a@b.com"))
    assert message.text == "mail [REDACTED_EMAIL]"
    assert message.tool_call_id == "1"


@pytest.mark.parametrize(
    "result",
    [
        told("nothing personal"),
        Command(update={"notes": ["a@b.com"], "messages": [told("nothing personal")]}),
        Command(goto="other"),
        Command(update=[("messages", [])]),
    ],
)
def test_what_has_none_is_the_very_same(result: Any) -> None:
    """A result without personal data in its messages is not even copied."""
    assert screened(result) is result


def test_messages_in_a_command_are_screened() -> None:
    """A command's other updates and messages of other kinds are left alone."""
    human = HumanMessage("a@b.com")
    command = screened(Command(update={"messages": [human, told("a@b.com")], "n": 1}, goto="x"))
    assert command.update["messages"][0] is human
    assert command.update["messages"][1].text == "[REDACTED_EMAIL]"
    assert (command.update["n"], command.goto) == (1, "x")


def test_every_item_of_a_list_is_screened() -> None:
    """A tool may return messages and commands together."""
    command = Command(update={"messages": [told("a@b.com")]})
    message, changed = screened([told("c@d.com"), command])
    assert message.text == "[REDACTED_EMAIL]"
    assert changed.update["messages"][0].text == "[REDACTED_EMAIL]"
