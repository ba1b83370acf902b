"""Outcomes into messages: as an ordinary answer, in place of a placeholder, or riding along.

Everything that a tool can return in `ToolNode` (a message, a `Command`, a list of both) keeps its
meaning when it is delivered late: only the message that answers the call is put where the
placeholder is; updates, jumps and other messages are applied at delivery (rule 25).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command, Send

from langchain_asyncfc.calls import Call
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.records import is_pending, outcome_record, with_record

__all__ = [
    "LOST",
    "Answer",
    "Riders",
    "answer",
    "answer_in_place",
    "carrier_among",
    "output_form",
    "ride",
    "tool_messages_in",
    "updated_keys",
    "without_keys",
]

Answer = ToolMessage | AIMessage | Command[Any]

LOST = Outcome(
    FutureState.LOST,
    note="the run that it belonged to is gone. It may or may not have taken effect; check before "
    "you repeat it",
)
"""The outcome of a placeholder whose future no longer exists."""


def answer(call: Call, outcome: Outcome) -> list[Answer]:
    """An outcome as the ordinary answer to its call, equal to what `ToolNode` gives."""
    if outcome.result is None:
        return [_explanation(call.future, call.name, call.id or "", outcome)]
    return outcome.result if isinstance(outcome.result, list) else [outcome.result]


def _explanation(future: str, name: str, call_id: str, outcome: Outcome) -> ToolMessage:
    """What the model is told of a call without a result of its own."""
    note = outcome.note.removesuffix(".")
    texts = {
        FutureState.FAILED: f"Error: {outcome.note}",
        FutureState.CANCELLED: f"{future} was cancelled.",
        FutureState.SKIPPED: f"Error: {future} was not run, because {note}.",
        FutureState.LOST: f"Error: {future} was lost: {note}.",
        FutureState.RESOLVED: f"{future} has finished.",
    }
    status = "success" if outcome.state is FutureState.RESOLVED else "error"
    return ToolMessage(texts[outcome.state], name=name, tool_call_id=call_id, status=status)


def answer_in_place(
    future: str, placeholder: ToolMessage, outcome: Outcome, *, after: str | None = None
) -> list[Answer]:
    """An outcome whose answering message takes the placeholder's place, under its message id.

    Args:
        future: The future's id.
        placeholder: The placeholder.
        outcome: The outcome.
        after: The id of the message after which it is delivered, for a native call.
    """
    record = {"future": future, **outcome_record(outcome)}
    if after is not None:
        record["after"] = after

    def take_place(message: ToolMessage) -> ToolMessage:
        return with_record(message, record, id=placeholder.id)

    answers, found = _replaced(outcome, placeholder.tool_call_id, take_place)
    if not found:
        name = placeholder.name or ""
        answers.insert(0, take_place(_explanation(future, name, placeholder.tool_call_id, outcome)))
    return answers


@dataclass(slots=True)
class Riders:
    """Outcomes that ride on a tool message.

    Attributes:
        parts: The content of each, with its future's id.
        records: What is kept of each.
        others: What else their results bring: updates, jumps, artifacts.
    """

    parts: list[tuple[str, str | list[Any]]] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    others: list[Answer] = field(default_factory=list)

    def add(
        self, future: str, call_id: str, outcome: Outcome, placeholder: ToolMessage | None
    ) -> None:
        """Put an outcome on."""
        taken: list[ToolMessage] = []

        def take_out(message: ToolMessage) -> None:
            taken.append(message)

        answers, found = _replaced(outcome, call_id, take_out)
        message = taken[0] if found else _explanation(future, "", call_id, outcome)
        self.parts.append((future, message.content))
        self.records[future] = outcome_record(outcome)
        self.others.extend(answers)
        if message.artifact is not None and placeholder is not None:
            # The model is not sent artifacts, so this edits nothing that it was shown.
            self.others.append(placeholder.model_copy(update={"artifact": message.artifact}))


def carrier_among(answers: Sequence[Answer]) -> Answer | None:
    """The last answer with a tool message on which outcomes can ride, a plain one if possible.

    The last, since what comes late is the newest. Best is one that stays: what rides on a
    placeholder is gone when that is replaced.
    """
    plain = [item for item in answers if isinstance(item, ToolMessage)]
    for item in reversed(plain):
        if not is_pending(item):
            return item
    if plain:
        return plain[-1]
    for answered in reversed(answers):
        if isinstance(answered, Command) and _first_message(answered) is not None:
            return answered
    return None


def ride(carrier: Answer, riders: Riders) -> Answer:
    """An answer with outcomes after its tool message's content, each with its future's id."""
    if isinstance(carrier, Command):
        message = _first_message(carrier)
        assert message is not None  # noqa: S101 - `carrier_among` looked for it
        loaded = _loaded(message, riders)
        return _in_command(carrier, message.tool_call_id, lambda _: loaded)[0] or carrier
    assert isinstance(carrier, ToolMessage)  # noqa: S101 - `carrier_among` chose it
    return _loaded(carrier, riders)


def _first_message(command: Command[Any]) -> ToolMessage | None:
    return next(iter(tool_messages_in(command)), None)


def _loaded(carrier: ToolMessage, riders: Riders) -> ToolMessage:
    content: str | list[Any]
    if isinstance(carrier.content, str) and all(isinstance(c, str) for _, c in riders.parts):
        texts = [carrier.content, *(f"[{future}] {c}" for future, c in riders.parts)]
        content = "\n\n".join(text for text in texts if text)
    else:
        content = _blocks(carrier.content)
        for future, part in riders.parts:
            content += [{"type": "text", "text": f"[{future}]"}, *_blocks(part)]
    return with_record(carrier, {"delivered": riders.records}, content=content)


def _blocks(content: str | list[Any]) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _replaced(
    outcome: Outcome, call_id: str, change: Callable[[ToolMessage], ToolMessage | None]
) -> tuple[list[Answer], bool]:
    """A result with its answering message changed, or taken out; and whether there is one."""
    result = outcome.result
    items = result if isinstance(result, list) else [] if result is None else [result]
    answers: list[Answer] = []
    found = False
    for item in items:
        if isinstance(item, Command):
            command, here = _in_command(item, call_id, change)
            found = found or here
            if command is not None:
                answers.append(command)
        elif isinstance(item, ToolMessage) and item.tool_call_id == call_id and not found:
            found = True
            if (changed := change(item)) is not None:
                answers.append(changed)
        else:
            answers.append(item)
    return answers, found


def _in_command(
    command: Command[Any], call_id: str, change: Callable[[ToolMessage], ToolMessage | None]
) -> tuple[Command[Any] | None, bool]:
    """The same for a command; `None` where nothing is left of it."""
    found = False

    def changed(messages: Sequence[Any]) -> list[Any]:
        nonlocal found
        kept: list[Any] = []
        for message in messages:
            if isinstance(message, ToolMessage) and message.tool_call_id == call_id and not found:
                found = True
                if (new_one := change(message)) is not None:
                    kept.append(new_one)
            else:
                kept.append(message)
        return kept

    update = command.update
    new: Any = update
    if isinstance(update, list):
        new = changed(update)
    elif isinstance(update, Mapping):
        new = {k: changed(v) if isinstance(v, list) else v for k, v in update.items()}
    if not found:
        return command, False
    if (
        not command.goto
        and command.graph is None
        and not any(new.values() if isinstance(new, dict) else new)
    ):
        return None, True
    return replace(command, update=new), True


def tool_messages_in(item: Answer) -> list[ToolMessage]:
    """The tool messages in an answer, those of a command's update too."""
    if isinstance(item, ToolMessage):
        return [item]
    update = item.update if isinstance(item, Command) else None
    values = list(update.values()) if isinstance(update, Mapping) else [update]
    lists = [value for value in values if isinstance(value, list)]
    return [m for messages in lists for m in messages if isinstance(m, ToolMessage)]


def output_form(answers: list[Answer], key: str, *, as_list: bool) -> Any:
    """Answers in the form in which a tool node returns them.

    Messages alone: a list of them, or a state update with them. With commands: a list in which
    each message is such a form by itself; commands that only send to the parent graph become one.
    """
    if not any(isinstance(item, Command) for item in answers):
        return answers if as_list else {key: answers}
    out: list[Any] = []
    sends: list[Send] = []
    for item in answers:
        if not isinstance(item, Command):
            out.append([item] if as_list else {key: [item]})
        elif (
            item.graph == Command.PARENT
            and isinstance(item.goto, list)
            and all(isinstance(target, Send) for target in item.goto)
        ):
            sends.extend(target for target in item.goto if isinstance(target, Send))
        else:
            out.append(item)
    if sends:
        out.append(Command(graph=Command.PARENT, goto=sends))
    return out


def updated_keys(outcome: Outcome) -> set[str]:
    """The keys of the state that an outcome's commands update."""
    result = outcome.result
    if isinstance(result, ToolMessage):
        return set()
    items = result if isinstance(result, list) else [result]
    return {
        key
        for item in items
        if isinstance(item, Command) and isinstance(item.update, Mapping)
        for key in item.update
    }


def without_keys(outcome: Outcome, keys: set[str]) -> Outcome:
    """An outcome whose commands do not update certain keys of the state."""

    def changed(item: Any) -> Any:
        if not isinstance(item, Command) or not isinstance(item.update, Mapping):
            return item
        kept = {key: value for key, value in item.update.items() if key not in keys}
        return replace(item, update=kept)

    result = outcome.result
    new = [changed(item) for item in result] if isinstance(result, list) else changed(result)
    return replace(outcome, result=new)
