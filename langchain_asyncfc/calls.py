"""From an `AIMessage` to `Call`s: which tool, which arguments, what they refer to.

Futures are numbered by position: `future_n` is the n-th tool call of the thread, control calls
not counted. So a model can tell the id of a call that it makes in the same message, every task
of a step that was split by `Send` comes to the same numbers, and a replay numbers as the run did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from langchain_core.messages import ToolCall

from langchain_asyncfc.errors import ReferenceProblem, UnknownReference
from langchain_asyncfc.futures import future_id
from langchain_asyncfc.parameters import without_nulls
from langchain_asyncfc.records import CONTROL_TOOLS
from langchain_asyncfc.references import Reference, Site, find_references
from langchain_asyncfc.schemas import AWAIT_RESULT
from langchain_asyncfc.toolbox import ToolFacts
from langchain_asyncfc.values import shown

__all__ = ["Call", "check_older", "is_control", "read_call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that gets a future.

    Attributes:
        ordinal: Its number in the thread; the future's id is `future_<ordinal>`.
        tool_call: The call as the model made it.
        args: Its arguments without `await_result`.
        facts: What is known of the tool.
        sites: Where references and escapes stand in the arguments.
        await_result: What the model asked to wait for before it goes on: this result, or all.
        problem: Why the call cannot run; `None` if it can.
    """

    ordinal: int
    tool_call: ToolCall
    args: Mapping[str, Any]
    facts: ToolFacts
    sites: tuple[Site, ...] = ()
    await_result: Literal[False, True, "all"] = False
    problem: ReferenceProblem | None = field(default=None, compare=False)

    @property
    def future(self) -> str:
        """The id of its future."""
        return future_id(self.ordinal)

    @property
    def name(self) -> str:
        """The tool's name as the model wrote it."""
        return self.tool_call["name"]

    @property
    def id(self) -> str | None:
        """The id that the model gave the call."""
        return self.tool_call["id"]

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every reference in the arguments."""
        return tuple(reference for site in self.sites for reference in site.references)

    def with_args(self, args: Mapping[str, Any]) -> ToolCall:
        """The tool call with other arguments; the very same one if they are the same."""
        if args is self.tool_call["args"]:
            return self.tool_call
        return cast("ToolCall", {**self.tool_call, "args": dict(args)})

    def identity(self) -> str | None:
        """What identical calls have in common; `None` where JSON cannot hold the arguments."""
        try:
            return json.dumps([self.name, self.args], sort_keys=True)
        except (TypeError, ValueError, RecursionError):
            return None


def is_control(tool_call: ToolCall) -> bool:
    """Whether a call is one to the runtime itself."""
    return tool_call["name"] in CONTROL_TOOLS


def read_call(
    ordinal: int,
    tool_call: ToolCall,
    facts: ToolFacts,
    *,
    first: int | None = None,
    strict: bool = False,
    literal: bool = False,
) -> Call:
    """Read one tool call.

    References may only name older futures; anything else becomes the call's `problem`.

    Args:
        ordinal: The number of the call in its thread.
        tool_call: The call as the model made it.
        facts: What is known of its tool.
        first: The number of the first call of its message.
        strict: Whether the model was bound to strict schemas, in which it can only say with
            `null` that an optional argument is not given.
        literal: Whether the arguments hold values already, so that nothing in them is a reference.
    """
    args: Mapping[str, Any] = tool_call["args"]
    wanted: Literal[False, True, "all"] = False
    if facts.flagged and AWAIT_RESULT in args:
        wanted = _wanted(args[AWAIT_RESULT])
        args = {name: value for name, value in args.items() if name != AWAIT_RESULT}
    if strict and facts.tool is not None:
        args = without_nulls(facts.tool, args)
    if literal:
        return Call(ordinal, tool_call, args, facts, (), wanted)
    try:
        sites = find_references(args)
        _check_known(sites, ordinal)
        if facts.approved:
            check_older(sites, ordinal if first is None else first)
    except ReferenceProblem as problem:
        return Call(ordinal, tool_call, args, facts, (), wanted, problem)
    return Call(ordinal, tool_call, args, facts, sites, wanted)


def _wanted(flag: Any) -> Literal[False, True, "all"]:
    if flag == "all":
        return "all"
    return flag is True or (isinstance(flag, str) and flag.lower() == "true")


def _check_known(sites: Sequence[Site], ordinal: int) -> None:
    for site in sites:
        for reference in site.references:
            if not 1 <= reference.ordinal < ordinal:
                msg = (
                    f"Unknown reference {shown(str(reference))}: {known_futures(ordinal - 1)}. "
                    "Refer to one of these, or put a backslash in front if the text is meant "
                    "literally."
                )
                raise UnknownReference(msg)


def check_older(sites: Sequence[Site], first: int) -> None:
    """Check that references name futures of earlier messages only.

    A person who approves a call has to see values, and a structured answer is taken at once. What
    the same message makes is not there then.

    Args:
        sites: Where references stand.
        first: The number of the first call of the message.

    Raises:
        UnknownReference: When one does not.
    """
    for site in sites:
        for reference in site.references:
            if reference.ordinal >= first:
                msg = (
                    f"{shown(str(reference))} is made by this same message, and this call needs "
                    "its value now. Make the call again when it has finished."
                )
                raise UnknownReference(msg)


def known_futures(highest: int) -> str:
    """The futures of a thread in words, for error messages."""
    if highest < 1:
        return "no future exists yet"
    if highest == 1:
        return "the only future is future_1"
    return f"the futures so far are future_1 to {future_id(highest)}"
