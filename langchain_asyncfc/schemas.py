"""Tool schemas whose arguments also take a reference: what the model is bound to.

The model is bound to a shadow of each tool. The shadow has the tool's name and description, and
its parameters in widened form: wherever a value may stand, a reference such as
`future_3.items[0]` may stand instead. The shadow never runs; the node executes the tool itself.

    {"type": "integer"}  ->  {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": …}]}
    {"type": "string"}   ->  unchanged, it takes a reference as it is

Whatever is valid under the tool's schema is valid under the widened one, and stays valid when
any of its parts is replaced by a reference. Where a `$ref` is used, its use is widened; in its
definition only the inner places are. So nothing is widened twice and recursion ends.

Source: AsyncFC (arXiv 2605.15077), whose execution layer rewrites schemas in the same way.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from langchain_core.tools import BaseTool, StructuredTool, Tool

from langchain_asyncfc.json_schemas import Schema, resolve, takes_any_text
from langchain_asyncfc.parameters import parameters, schema_of
from langchain_asyncfc.strict_schemas import strict_form

if TYPE_CHECKING:
    from collections.abc import Iterable

AWAIT_RESULT: Final = "await_result"
"""The name of the parameter by which a model asks the step to wait."""

REFERENCE: Final[Schema] = {"type": "string", "pattern": "^future_"}
"""The schema of a reference that stands for a whole value."""

_AWAIT_RESULT_SCHEMA: Final[Schema] = {
    # Short, since every request carries it once for each tool.
    "description": 'true: wait for this result; "all": for every unfinished one.',
    "anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["all"]}],
}

# They say how a place reads, not what it takes, so they stay where the model looks first.
_ANNOTATIONS = ("title", "description", "default", "examples", "deprecated")

# Keywords that go:
# - conditions, which judge a place by parts that a reference hides (the tool still checks them);
# - what is said again elsewhere in the widened schema ("$defs", "definitions", "discriminator");
# - the identity of a schema that is no longer the same.
_LEFT_OUT = frozenset(
    {"if", "then", "else", "not", "dependentSchemas", "dependencies", "maxContains"}
    | {"$defs", "definitions", "discriminator", "$schema", "$id", "$anchor"}
)

_MAPS_OF_PLACES = frozenset({"properties", "patternProperties"})
_PLACES = frozenset({"contains", "items", "additionalProperties"}) | frozenset(
    {"unevaluatedItems", "unevaluatedProperties"}
)


def model_tools(tools: Iterable[BaseTool], *, strict: bool = False) -> list[BaseTool]:
    """The shadows of `tools`, in their order; see `model_tool`."""
    return [model_tool(tool, strict=strict) for tool in tools]


def model_tool(tool: BaseTool, *, strict: bool = False) -> BaseTool:
    """Make the shadow of `tool` that a model is bound to.

    Its schema takes a reference wherever `tool` takes a value, and an optional `await_result`.
    `extras`, `metadata`, `tags` and `return_direct` are those of `tool`.

    A tool without JSON parameters (an OpenAI custom tool with free text input, a provider's
    built-in tool) is returned as it is.

    Args:
        tool: The tool that the node executes. It is not changed.
        strict: Give the schema the form that OpenAI's strict mode asks for: every property
            required, an optional one nullable, no other properties, only supported keywords.
            The tool is still to be bound with `bind_tools(…, strict=True)`, and the arguments
            that come back go through `without_nulls`.

            The default form can be bound with `strict=True` too. langchain-core then requires
            every property, also one with a default (nested ones since 1.6). But keywords that
            the service may reject stay, just as in the bare tool.

    Returns:
        A `StructuredTool` that raises `RuntimeError` when it is run.

    Raises:
        PydanticUserError: An argument has no JSON schema, so that no model can be bound to the
            tool, with or without this library; see `schema_of`.
    """
    if not _has_parameters(tool):
        return tool
    schema = widened(schema_of(tool))
    if takes_await_result(tool):
        schema["properties"][AWAIT_RESULT] = copy.deepcopy(_AWAIT_RESULT_SCHEMA)
    extras = getattr(tool, "extras", None)  # a field since langchain-core 1.2

    def run(**_: object) -> NoReturn:
        raise RuntimeError(
            f"{tool.name!r} is the schema that the model is bound to and does not run; "
            f"give the tool itself to the node, which executes it by its name"
        )

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=strict_form(schema) if strict else schema,
        func=run,
        return_direct=tool.return_direct,
        tags=tool.tags,
        metadata=tool.metadata,
        **({} if extras is None else {"extras": extras}),
    )


def takes_await_result(tool: BaseTool) -> bool:
    """Whether `await_result` in a call of `tool` is meant for the node.

    It is not when the tool has a parameter of that name itself, or no JSON parameters at all.
    """
    return _has_parameters(tool) and AWAIT_RESULT not in parameters(tool).names()


def widened(schema: Schema) -> Schema:
    """The schema of a tool's arguments with every place in it widened.

    Args:
        schema: JSON schema of an arguments object; it is not changed. Older drafts (tuples as
            a list under `items`, `definitions`) come out as draft 2020-12.
    """
    widener = _Widener(schema)
    root, seen = schema, set()
    while (pointer := root.get("$ref")) is not None and pointer not in seen:
        seen.add(pointer)
        target = resolve(pointer, schema)
        beside = {key: value for key, value in root.items() if key != "$ref"}
        root = {**(target if isinstance(target, dict) else {}), **beside}
    wide = widener.inside(root)
    wide["type"] = "object"
    wide.setdefault("properties", {})
    if widener.definitions:
        wide["$defs"] = widener.definitions
    return wide


class _Widener:
    """One pass over one schema; collects the definitions that it comes across."""

    def __init__(self, root: Schema) -> None:
        self.definitions: dict[str, Any] = {}
        self._root = root
        self._names: dict[str, str] = {}  # pointer in the old schema -> name in `definitions`

    def place(self, schema: Schema | bool) -> Schema | bool:
        """The schema of a place where a value may stand: its own, or a reference."""
        if isinstance(schema, bool):
            return schema
        inner = self.inside(schema)
        if takes_any_text(schema, self._root):
            return inner
        outer = {key: inner.pop(key) for key in _ANNOTATIONS if key in inner}
        branches = inner["anyOf"] if inner.keys() == {"anyOf"} else [inner]
        if {"type": "null"} in branches:
            # langchain-google-genai keeps the last branch beside null alone: not the reference.
            return {**outer, "anyOf": [dict(REFERENCE), *branches]}
        return {**outer, "anyOf": [*branches, dict(REFERENCE)]}

    def inside(self, schema: Schema) -> Schema:
        """The same schema with the places inside of it widened, but not itself."""
        wide: Schema = {}
        for key, value in _modern(schema).items():
            if key in _LEFT_OUT:
                continue
            if key in _MAPS_OF_PLACES:
                wide[key] = {name: self.place(part) for name, part in value.items()}
            elif key in _PLACES:
                wide[key] = self.place(value)
            elif key == "prefixItems":
                wide[key] = [self.place(part) for part in value]
            elif key in ("anyOf", "allOf"):
                wide[key] = [self._branch(part) for part in value]
            elif key == "propertyNames":
                wide[key] = self._branch(value)
            elif key == "$ref":
                wide[key] = self._reference(value)
            else:
                wide[key] = copy.deepcopy(value)
        return wide

    def _branch(self, schema: Schema | bool) -> Schema | bool:
        return schema if isinstance(schema, bool) else self.inside(schema)

    def _reference(self, pointer: str) -> str:
        target = resolve(pointer, self._root)
        if target is None:
            return pointer
        if pointer not in self._names:
            # The name is noted before the definition is read, so a recursive one ends here.
            name = self._names[pointer] = self._new_name(pointer)
            self.definitions[name] = {}
            self.definitions[name] = self._branch(target)
        return f"#/$defs/{self._names[pointer]}"

    def _new_name(self, pointer: str) -> str:
        last = re.sub(r"[^\w.-]", "_", pointer.rpartition("/")[2]) if "/" in pointer else "Root"
        name, count = last, 1
        while name in self.definitions:
            count += 1
            name = f"{last}_{count}"
        return name


def _modern(schema: Schema) -> Schema:
    """The schema with tuples, `oneOf` and a lone `allOf` in the form that the pass expects."""
    new = dict(schema)
    if isinstance(new.get("items"), list):  # before draft 2020-12
        new["prefixItems"] = new.pop("items")
        if "additionalItems" in new:
            new["items"] = new.pop("additionalItems")
    new.pop("additionalItems", None)
    if "oneOf" in new:
        # With a reference inside, more than one branch may match.
        branches = new.pop("oneOf")
        if "anyOf" in new:
            new["allOf"] = [*new.get("allOf", ()), {"anyOf": branches}]
        else:
            new["anyOf"] = branches
    only = new.get("allOf", ())
    if len(only) == 1 and isinstance(only[0], dict) and new.keys().isdisjoint(only[0]):
        # How pydantic before 2.9 puts a description beside a `$ref`.
        new.update(_modern(new.pop("allOf")[0]))
    return new


def _has_parameters(tool: BaseTool) -> bool:
    if isinstance(tool, Tool) and (tool.metadata or {}).get("type") == "custom_tool":
        return False  # langchain-openai's custom_tool: the input is free text
    return "provider_tool_definition" not in (getattr(tool, "extras", None) or {})
