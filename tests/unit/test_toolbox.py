"""Tests of what is worked out about a tool set when a node is built."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, tool

from langchain_asyncfc.effects import UNDECLARED, Effects, effects
from langchain_asyncfc.toolbox import Toolbox, ToolFacts


@tool
def read(path: str) -> str:
    """Read a file."""
    return path


def named(name: str, **more: Any) -> BaseTool:
    return StructuredTool.from_function(lambda x: x, name=name, description="A tool.", **more)


def gather(*tools: BaseTool, **options: Any) -> dict[str, ToolFacts]:
    toolbox = Toolbox(**options)
    toolbox.add_all(tools)
    return {tool.name: toolbox.on(tool.name) for tool in tools}


@pytest.mark.parametrize(
    ("tools", "options", "message"),
    [
        ([named("a"), named("a")], {}, "Two tools are named 'a'"),
        ([named("await_future")], {}, "'await_future', which is the name of a control tool"),
        ([named("cancel_future")], {}, "'cancel_future', which is the name of a control tool"),
        ([read], {"effects": {"raed": Effects()}}, r"effects names 'raed', but .* \['read'\]"),
        ([read], {"effects": {"read": "fs:"}}, r"effects\['read'\] must be an Effects object"),
        (
            [read],
            {"effects": {"read": Effects(writes="fs:{file}")}},
            r"tool 'read': path 'fs:\{file\}' names the argument 'file', .*\['path'\]",
        ),
        ([read], {"timeout": {"raed": 1.0}}, r"timeout names 'raed', but .* \['read'\]"),
        ([read], {"timeout": 0}, "timeout for tool 'read' must be a positive .*, not 0"),
        ([read], {"timeout": -1.5}, "timeout for tool 'read' must be a positive .*, not -1.5"),
        ([read], {"timeout": {"read": float("nan")}}, "must be a positive .*, not nan"),
    ],
)
def test_bad_construction_says_what_and_where(
    tools: list[BaseTool], options: dict[str, Any], message: str
) -> None:
    """Bad input: a ValueError at construction names the tool and what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        gather(*tools, **options)


def test_declared_effects_are_checked_too() -> None:
    """Bad input: a template in a decorator is checked against the arguments of its tool."""
    declared = effects(reads="fs:{nothing}")(named("a"))
    with pytest.raises(ValueError, match="names the argument 'nothing'"):
        gather(declared)


def test_one_tool_may_be_given_twice() -> None:
    """The same object twice is no clash of names."""
    assert list(gather(read, read)) == ["read"]


def test_given_effects_win_over_declared_ones() -> None:
    """Rule 3: effects may be said for tools that can't be decorated, or said otherwise."""
    declared = effects(reads="fs:{x}")(named("a"))
    assert gather(declared)["a"].effects == Effects(reads="fs:{x}")
    assert gather(declared, effects={"a": Effects()})["a"].effects == Effects()
    assert gather(named("a"))["a"].effects is UNDECLARED


@pytest.mark.parametrize(
    ("timeout", "expected"), [(None, None), (2, 2), ({"a": 3.5}, 3.5), ({}, None)]
)
def test_timeouts_are_for_all_tools_or_by_name(timeout: Any, expected: float | None) -> None:
    """Rule 18: a timeout in seconds for every tool, or for each."""
    assert gather(named("a"), timeout=timeout)["a"].timeout == expected


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ({"readOnlyHint": True}, Effects(reads="/", idempotent=True)),
        ({"readOnlyHint": True, "destructiveHint": True}, Effects(reads="/", idempotent=True)),
        ({"destructiveHint": True}, Effects(None, None, fence=True)),
        ({"destructiveHint": True, "idempotentHint": True}, Effects(None, None, True, True)),
        ({"idempotentHint": True}, Effects(None, None, idempotent=True)),
        ({"readOnlyHint": "yes"}, UNDECLARED),
        ({}, UNDECLARED),
    ],
)
def test_mcp_hints_count_on_request(hints: dict[str, Any], expected: Effects) -> None:
    """Public names: MCP annotations become effects if they are trusted, and only then."""
    hinted = named("a", metadata=hints)
    assert gather(hinted, trust_mcp_hints=True)["a"].effects == expected
    assert gather(hinted)["a"].effects is UNDECLARED
    bare = named("b")
    assert gather(bare, trust_mcp_hints=True)["b"].effects is UNDECLARED


def test_declared_effects_win_over_hints() -> None:
    """What the developer says counts more than what a server says."""
    declared = effects(writes="db:")(named("a", metadata={"readOnlyHint": True}))
    assert gather(declared, trust_mcp_hints=True)["a"].effects == Effects(writes="db:")


def test_what_runs_in_the_step_is_marked() -> None:
    """Rule 24: `return_direct` tools and those declared foreground never become futures."""
    direct, front = named("a", return_direct=True), named("b")
    facts = gather(direct, front, named("c"), effects={"b": Effects(foreground=True)})
    assert [facts[n].foreground for n in "abc"] == [True, True, False]


@tool
def with_id(x: int, call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Know the call."""
    return call_id


class Handmade(BaseTool):
    """A tool with a class of its own."""

    name: str = "handmade"
    description: str = "Made by hand."

    def _run(self, x: int, run_manager: Any = None) -> int:
        return x


def test_only_calls_that_must_be_alike_are_shared() -> None:
    """Rule 15: a tool that writes may not be joined, nor one that is given more than arguments."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    tools = [named("reads"), named("writes"), with_id, Handmade(), named("mcp", args_schema=schema)]
    said = {t.name: Effects(reads="/") for t in tools} | {"writes": Effects(writes="db:")}
    facts = gather(*tools, effects=said)
    assert {name for name, fact in facts.items() if fact.shareable} == {"reads", "handmade", "mcp"}
    assert not gather(named("a"))["a"].shareable


def test_an_argument_of_the_tools_own_is_not_taken_for_the_flag() -> None:
    """Rule 8: a tool that has an `await_result` of its own keeps it."""

    @tool
    def own(await_result: str) -> str:
        """Have the argument."""
        return await_result

    facts = gather(own, read)
    assert (facts["own"].flagged, facts["read"].flagged) == (False, True)


def test_an_unknown_name_is_answered_in_the_step_unless_a_wrapper_may_serve_it() -> None:
    """As by ToolNode: an unregistered name is an error at once, or a wrapper's to handle."""
    assert Toolbox().on("nothing") == ToolFacts(None, Effects(), foreground=True)
    assert Toolbox(wraps=True).on("nothing") == ToolFacts(None)
