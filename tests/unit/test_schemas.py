"""Tests of the schemas that the model is bound to."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import gc
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    Tool,
    tool,
)
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from pydantic import BaseModel, Field
from pydantic import v1 as pydantic_v1

from langchain_asyncfc.schemas import (
    AWAIT_RESULT,
    REFERENCE,
    model_tool,
    model_tools,
    takes_await_result,
    widened,
)

FUTURE = "future_3.items[0]"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Filter(BaseModel):
    """What to look for."""

    ids: list[int]
    colour: Colour = Colour.RED
    text: str | None = None


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class OldInner(pydantic_v1.BaseModel):
    n: int


class Old(pydantic_v1.BaseModel):
    inner: OldInner = pydantic_v1.Field(..., description="the inner one")
    pair: tuple[int, str] = (1, "a")


@tool
def search(
    query: str,
    limit: Annotated[int, Field(description="how many", ge=1)] = 10,
    mode: Literal["fast", "full"] = "fast",
    day: dt.date | None = None,
    code: Annotated[str, Field(pattern="^[A-Z]+$")] = "A",
    short: Annotated[str, Field(max_length=5)] = "",
    scores: dict[str, float] | None = None,
    filters: list[Filter] = [],  # noqa: B006
    either: int | str = 0,
    pair: tuple[int, str] = (1, "a"),
    anything: Any = None,
) -> str:
    """Search."""
    return query


@tool
def grow(tree: Tree, pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> str:
    """Grow."""
    return str(tree)


def schema_of(shadow: BaseTool) -> dict[str, Any]:
    """The widened schema; checked to be valid draft 2020-12 on the way."""
    assert isinstance(shadow.args_schema, dict)
    Draft202012Validator.check_schema(shadow.args_schema)
    return shadow.args_schema


def accepts(schema: dict[str, Any], arguments: object) -> bool:
    return Draft202012Validator(schema).is_valid(arguments)


def dict_tool(schema: dict[str, Any], name: str = "remote") -> StructuredTool:
    """A tool with a dict schema, as MCP adapters make them."""

    def call(**arguments: Any) -> str:
        return str(arguments)

    return StructuredTool(name=name, description="Remote.", args_schema=schema, func=call)


def test_plain_text_and_untyped_parameters_are_left_alone() -> None:
    """A parameter that takes any string takes a reference as it is."""
    properties = schema_of(model_tool(search))["properties"]
    assert properties["query"] == {"title": "Query", "type": "string"}
    assert properties["anything"] == {"default": None, "title": "Anything"}
    assert REFERENCE not in properties["either"]["anyOf"]


def test_a_reference_to_plain_text_is_left_alone() -> None:
    """What takes any string is seen through `$ref`, also a recursive one."""
    loop = {"anyOf": [{"$ref": "#/$defs/Loop"}, {"type": "string"}]}
    definitions = {"Text": {"type": "string"}, "Loop": loop, "Lone": {"$ref": "#/$defs/Lone"}}
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in definitions}
    schema = widened({"properties": properties, "$defs": definitions})
    assert schema["properties"]["Text"] == properties["Text"]
    assert schema["properties"]["Loop"] == properties["Loop"]
    assert schema["properties"]["Lone"]["anyOf"] == [properties["Lone"], REFERENCE]


@pytest.mark.parametrize("name", ["limit", "mode", "day", "code", "short", "scores", "pair"])
def test_every_other_parameter_takes_a_reference(name: str) -> None:
    """Numbers, enums, formats, patterns, lengths, objects and tuples take a reference too."""
    place = schema_of(model_tool(search))["properties"][name]
    assert accepts(place, FUTURE)
    assert REFERENCE in (place["anyOf"][0], place["anyOf"][-1])


def test_notes_for_the_model_stay_outside_of_the_union() -> None:
    """Title, description and default of a parameter are where they were."""
    limit = schema_of(model_tool(search))["properties"]["limit"]
    assert limit == {
        "title": "Limit",
        "description": "how many",
        "default": 10,
        "anyOf": [{"type": "integer", "minimum": 1}, REFERENCE],
    }


def test_a_union_gets_one_more_branch() -> None:
    """An existing `anyOf` is not nested in another one.

    The reference comes first beside null: a client that keeps one branch alone keeps the last.
    """
    day = schema_of(model_tool(search))["properties"]["day"]
    assert day["anyOf"] == [REFERENCE, {"type": "string", "format": "date"}, {"type": "null"}]


@pytest.mark.parametrize(
    "filters",
    [
        FUTURE,
        [FUTURE],
        [{"ids": FUTURE}],
        [{"ids": [1, FUTURE], "colour": FUTURE}],
        [{"ids": [1], "colour": "blue", "text": FUTURE}, FUTURE],
    ],
)
def test_nested_places_take_a_reference(filters: Any) -> None:
    """Items, fields of nested models and enums behind a `$ref` are widened."""
    assert accepts(schema_of(model_tool(search)), {"query": "q", "filters": filters})


def test_nested_places_still_refuse_what_does_not_fit() -> None:
    """Widening lets references in and nothing else."""
    schema = schema_of(model_tool(search))
    for filters in ("all", [1], [{"ids": ["x"]}], [{"colour": "red"}], [{"ids": 1}]):
        assert not accepts(schema, {"query": "q", "filters": filters})
    for scores in ({"a": "b"}, 3):
        assert not accepts(schema, {"query": "q", "scores": scores})
    assert accepts(schema, {"query": "q", "scores": {"a": FUTURE}})


def test_a_recursive_type_is_widened_at_every_depth() -> None:
    """Recursion in `$defs` ends, and each level takes a reference once."""
    schema = schema_of(model_tool(grow))
    cat = {"kind": "cat", "lives": FUTURE}
    deep = {"value": 1, "children": [{"value": FUTURE, "children": [FUTURE]}]}
    assert accepts(schema, {"tree": deep, "pet": cat})
    assert accepts(schema, {"tree": FUTURE, "pet": {"kind": "dog", "tricks": [FUTURE]}})
    assert not accepts(schema, {"tree": {"value": 1, "children": [1]}, "pet": cat})
    assert schema["properties"]["tree"] == {"anyOf": [{"$ref": "#/$defs/Tree"}, REFERENCE]}
    assert schema["$defs"]["Tree"]["type"] == "object"


def test_a_discriminated_union_takes_references_in_shared_fields() -> None:
    """`oneOf` becomes `anyOf`: with a reference inside, two branches may match."""
    schema = schema_of(
        model_tool(
            dict_tool(
                {
                    "type": "object",
                    "properties": {
                        "a": {
                            "oneOf": [
                                {"type": "object", "properties": {"b": {"type": "integer"}}},
                                {"type": "object", "properties": {"b": {"type": "boolean"}}},
                            ],
                        },
                        "both": {
                            "anyOf": [{"type": "integer"}, {"type": "number"}],
                            "oneOf": [{"minimum": 5}, {"maximum": 3}],
                        },
                    },
                }
            )
        )
    )
    assert accepts(schema, {"a": {"b": FUTURE}, "both": 6})
    assert not accepts(schema, {"a": {"b": "x"}})
    assert not accepts(schema, {"both": 4})
    assert "discriminator" not in str(schema_of(model_tool(grow)))


def test_required_stays_and_unknown_arguments_stay_refused() -> None:
    """Widening neither makes a parameter optional nor opens a closed object."""
    closed = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    schema = schema_of(model_tool(dict_tool(closed)))
    assert schema["required"] == ["n"]
    assert not accepts(schema, {})
    assert not accepts(schema, {"n": 1, "m": 2})


def test_injected_arguments_are_not_shown() -> None:
    """State, store, runtime and call id are the node's to give, not the model's."""

    @tool
    def inject(
        n: int,
        state: Annotated[dict[str, Any], InjectedState],
        store: Annotated[Any, InjectedStore()],
        runtime: ToolRuntime,
        call_id: Annotated[str, InjectedToolCallId],
        hidden: Annotated[int, InjectedToolArg],
    ) -> str:
        """Inject."""
        return ""

    assert set(schema_of(model_tool(inject))["properties"]) == {"n", AWAIT_RESULT}


def test_a_pydantic_v1_schema_comes_out_in_todays_draft() -> None:
    """`definitions`, tuples as `items` lists and lone `allOf`s are brought up to date."""
    old = StructuredTool(name="old", description="Old.", args_schema=Old, func=lambda **_: 0)
    schema = schema_of(model_tool(old))
    assert schema["properties"]["inner"]["description"] == "the inner one"
    assert accepts(schema, {"inner": {"n": FUTURE}, "pair": [FUTURE, "x"]})
    assert not accepts(schema, {"inner": {"n": "x"}})
    assert not accepts(schema, {"inner": {"n": 1}, "pair": ["x", "x"]})
    assert "definitions" not in schema


def test_references_to_any_part_of_a_schema_are_kept() -> None:
    """A `$ref` may point into the properties or to the whole, not only to `$defs`."""
    schema = widened(
        {
            "type": "object",
            "properties": {
                "a/b": {"type": "array", "items": {"type": "integer"}},
                "same": {"$ref": "#/properties/a~1b"},
                "item": {"$ref": "#/properties/a~1b/items", "description": "one"},
                "again": {"$ref": "#"},
                "twin": {"$ref": "#/definitions/items"},
            },
            "definitions": {"items": {"type": "boolean"}},
        }
    )
    Draft202012Validator.check_schema(schema)
    assert accepts(schema, {"same": [1, FUTURE], "again": {"same": FUTURE, "twin": True}})
    assert not accepts(schema, {"again": {"same": "x"}})
    assert not accepts(schema, {"twin": 1})
    assert not accepts(schema, {"item": True})
    assert schema["properties"]["item"]["description"] == "one"


def test_a_reference_to_nowhere_is_kept_as_it_is() -> None:
    """What cannot be looked up is not widened inside, but a reference may stand for it."""
    remote = {"$ref": "https://example.com/schema.json"}
    schema = widened({"properties": {"a": remote, "b": {"$ref": "#/$defs/No"}}})
    assert schema["properties"]["a"] == {"anyOf": [remote, REFERENCE]}
    assert schema["properties"]["b"] == {"anyOf": [{"$ref": "#/$defs/No"}, REFERENCE]}


def test_a_root_that_is_a_reference_is_written_out() -> None:
    """Providers want the properties at the top."""
    schema = widened(
        {"$ref": "#/$defs/Args", "$defs": {"Args": {"properties": {"n": {"type": "integer"}}}}}
    )
    assert schema["properties"] == {"n": {"anyOf": [{"type": "integer"}, REFERENCE]}}
    assert schema["type"] == "object"


def test_conditions_are_left_out() -> None:
    """A condition judges by values that a reference hides; the tool checks it later."""
    schema = widened(
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "if": {"properties": {"a": {"const": 1}}},
            "then": {"required": ["b"]},
            "not": {"properties": {"a": {"type": "string"}}, "required": ["a"]},
        }
    )
    assert accepts(schema, {"a": FUTURE})


def test_every_keyword_that_holds_places_is_followed() -> None:
    """Pattern properties, additional properties, tuples and the rest items are widened."""
    number = {"type": "integer"}
    schema = widened(
        {
            "type": "object",
            "properties": {
                "t": {"prefixItems": [number, False], "items": number, "type": "array"},
                "c": {"type": "array", "contains": number, "maxContains": 1},
                "k": {
                    "type": "object",
                    "propertyNames": {"$ref": "#/definitions/Name"},
                    "unevaluatedProperties": number,
                },
                "old": {"type": "array", "items": [number], "additionalItems": number},
                "all": {"allOf": [{"minimum": 1}, number, True]},
            },
            "patternProperties": {"^x": number},
            "additionalProperties": number,
            "definitions": {"Name": {"maxLength": 1}},
        }
    )
    Draft202012Validator.check_schema(schema)
    assert accepts(schema, {"x1": FUTURE, "y": FUTURE, "t": [FUTURE], "c": [FUTURE, FUTURE]})
    assert accepts(schema, {"k": {"a": FUTURE}, "old": [FUTURE, FUTURE], "all": FUTURE})
    for bad in ({"x1": "a"}, {"y": "a"}, {"t": ["a"]}, {"k": {"ab": 1}}, {"old": [1, "a"]}):
        assert not accepts(schema, bad)
    assert not accepts(schema, {"all": 0})


def test_await_result_is_offered() -> None:
    """The optional flag takes true, false and "all", and is not required."""
    shadow = model_tool(search)
    schema = schema_of(shadow)
    assert takes_await_result(search)
    assert AWAIT_RESULT not in schema["required"]
    assert all(accepts(schema, {"query": "q", AWAIT_RESULT: flag}) for flag in (True, "all"))
    assert not any(accepts(schema, {"query": "q", AWAIT_RESULT: no}) for no in ("one", 1, FUTURE))


def test_await_result_of_the_tool_itself_wins() -> None:
    """A tool with an argument of that name keeps it, and the node's is not added."""

    @tool
    def mine(await_result: int) -> str:
        """Mine."""
        return ""

    assert not takes_await_result(mine)
    schema = schema_of(model_tool(mine))
    assert schema["properties"][AWAIT_RESULT]["anyOf"][0] == {"type": "integer"}


def test_a_tool_without_parameters_gets_the_flag_alone() -> None:
    """An empty schema, also a dict without properties, becomes an object with the flag."""

    @tool
    def ping() -> str:
        """Ping."""
        return ""

    for bare in (ping, dict_tool({"type": "object"}), dict_tool({})):
        schema = schema_of(model_tool(bare))
        assert schema["type"] == "object"
        assert list(schema["properties"]) == [AWAIT_RESULT]


def test_a_single_input_tool_keeps_its_one_parameter() -> None:
    """A `Tool` without args_schema is bound under langchain's own parameter name."""
    single = Tool(name="echo", description="Echo.", func=str)
    bare = convert_to_openai_tool(single)["function"]["parameters"]["properties"]
    shadow = schema_of(model_tool(single))["properties"]
    assert shadow.keys() - {AWAIT_RESULT} == bare.keys()
    assert shadow["__arg1"]["type"] == "string"


def test_tools_without_json_parameters_are_returned_as_they_are() -> None:
    """Free-text tools and providers' own tools have no schema to widen."""
    free = Tool(name="free", description="", func=str, metadata={"type": "custom_tool"})
    extras = {"provider_tool_definition": {"type": "web_search_20250305"}}
    built_in = search.model_copy(update={"extras": extras})
    for untouched in (free, built_in):
        assert model_tool(untouched) is untouched
        assert not takes_await_result(untouched)


def test_the_shadow_keeps_what_binding_reads() -> None:
    """Name, description, extras, metadata, tags and return_direct are the tool's."""

    @tool(return_direct=True)
    def marked(n: int) -> str:
        """Marked."""
        return ""

    kept = {"metadata": {"owner": "me"}, "tags": ["t"]}
    if "extras" in StructuredTool.model_fields:  # since langchain-core 1.2
        kept["extras"] = {"async": True, "cache_control": {"type": "ephemeral"}}
    shadow = model_tool(marked.model_copy(update=kept))
    assert {field: getattr(shadow, field) for field in kept} == kept
    assert (shadow.name, shadow.description, shadow.return_direct) == ("marked", "Marked.", True)


def test_the_shadow_does_not_run() -> None:
    """A shadow that is executed by mistake says what to do."""
    with pytest.raises(RuntimeError, match=r"'search' is the schema .* give the tool itself"):
        model_tool(search).invoke({"query": "q"})


def test_making_a_shadow_changes_nothing() -> None:
    """The schema of the tool is copied, not shared."""
    original = {
        "type": "object",
        "properties": {"n": {"type": "integer", "enum": [1, 2], "default": 1}},
        "required": ["n"],
    }
    before = copy.deepcopy(original)
    shadow = model_tool(dict_tool(original))
    schema_of(shadow)["required"].append("x")
    schema_of(shadow)["properties"]["n"]["anyOf"][0]["enum"].append(3)
    assert original == before


def test_binding_leaves_the_shadow_as_it_was() -> None:
    """A strict bind does not make later binds strict."""
    shadow = model_tool(grow)
    before = copy.deepcopy(shadow.args_schema)
    convert_to_openai_tool(shadow, strict=True)
    assert shadow.args_schema == before


def test_shadows_stand_in_the_order_of_the_tools() -> None:
    """`model_tools` gives one shadow a tool."""
    assert [shadow.name for shadow in model_tools([grow, search])] == ["grow", "search"]


def test_openai_and_anthropic_get_the_widened_parameters() -> None:
    """What is sent is the widened schema, with extras at their side."""
    anthropic = pytest.importorskip("langchain_anthropic.chat_models")
    openai = pytest.importorskip("langchain_openai")
    shadow = model_tool(grow.model_copy(update={"extras": {"cache_control": {"type": "e"}}}))
    good = {"tree": {"value": FUTURE}, "pet": FUTURE, AWAIT_RESULT: "all"}
    bad = {"tree": 3, "pet": FUTURE}

    sent = anthropic.convert_to_anthropic_tool(shadow)
    if "extras" in StructuredTool.model_fields:  # since langchain-core 1.2
        assert sent["cache_control"] == {"type": "e"}
    assert accepts(sent["input_schema"], good)
    assert not accepts(sent["input_schema"], bad)

    bound = openai.ChatOpenAI(model="gpt-x", api_key="x").bind_tools([shadow])
    parameters = bound.kwargs["tools"][0]["function"]["parameters"]
    assert accepts(parameters, good)
    assert not accepts(parameters, bad)
    assert bound.kwargs["tools"][0]["function"]["description"] == "Grow."
    del bound
    gc.collect()  # clients complain when they are collected during another test


# --- any schema -------------------------------------------------------------------------------

SCALARS: list[tuple[dict[str, Any], st.SearchStrategy[Any]]] = [
    ({"type": "integer", "minimum": 0}, st.integers(0, 99)),
    ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
    ({"type": "boolean"}, st.booleans()),
    ({"type": ["integer", "null"]}, st.none() | st.integers()),
    ({"type": "string"}, st.text()),
    ({"type": "string", "format": "date"}, st.dates().map(str)),
    ({"type": "string", "pattern": "^[a-z]+$"}, st.just("abc")),
    ({"type": "string", "maxLength": 3}, st.text(max_size=3)),
    ({"enum": ["a", 1, None]}, st.sampled_from(["a", 1, None])),
    ({"const": "cat"}, st.just("cat")),
    ({}, st.integers() | st.text()),
    ({"$ref": "#/$defs/Tree"}, st.just({"n": 1, "kids": [{"n": 2}], "best": {"n": 3}})),
    ({"$ref": "#/definitions/Odd", "default": 1}, st.just(1)),
]
DEFINITIONS = {
    "$defs": {
        "Tree": {
            "type": "object",
            "properties": {
                "n": {"type": "integer"},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                "best": {"$ref": "#/$defs/Tree"},
            },
            "required": ["n"],
            "additionalProperties": False,
        }
    },
    "definitions": {"Odd": {"type": "integer"}},
}
Pair = tuple[dict[str, Any], Any]


@st.composite
def pairs(draw: st.DrawFn, depth: int = 3) -> Pair:
    """A schema and a value that is valid under it."""
    kind = draw(st.sampled_from(["scalar", "object", "array", "tuple", "anyOf", "allOf"]))
    if kind == "scalar" or depth == 0:
        schema, values = draw(st.sampled_from(SCALARS))
        return {"title": "T", **schema}, draw(values)
    if kind == "object":
        return draw(objects(depth))
    parts = draw(st.lists(pairs(depth=depth - 1), min_size=1, max_size=3))
    schemas, values = [schema for schema, _ in parts], [value for _, value in parts]
    if kind == "array":
        return {"type": "array", "items": {"anyOf": schemas}, "minItems": 1}, values
    if kind == "tuple":
        return {"type": "array", "prefixItems": schemas, "items": {"type": "null"}}, values
    if kind == "anyOf":
        return {"anyOf": schemas, "description": "D"}, values[0]
    return {"allOf": [schemas[0]], "title": "A"}, values[0]


@st.composite
def objects(draw: st.DrawFn, depth: int = 3) -> Pair:
    """An object schema and an object that is valid under it."""
    names = draw(st.lists(st.sampled_from(["a", "title", "type", "x y"]), unique=True))
    parts = {name: draw(pairs(depth=depth - 1)) for name in names}
    rest, extra = draw(pairs(depth=0))
    value = {name: part for name, (_, part) in parts.items()}
    schema = {
        "type": "object",
        "properties": {name: part for name, (part, _) in parts.items()},
        "required": draw(st.lists(st.sampled_from(names), unique=True)) if names else [],
        "additionalProperties": rest,
    }
    return schema, value | ({"more": extra} if draw(st.booleans()) else {})


def with_references(choose: Callable[[], bool], value: Any) -> Any:
    """The value with some of its parts, at any depth, replaced by a reference."""

    def part(item: Any) -> Any:
        return FUTURE if choose() else with_references(choose, item)

    if isinstance(value, dict):
        return {key: part(item) for key, item in value.items()}
    if isinstance(value, list):
        return [part(item) for item in value]
    return value


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects(), st.data())
def test_what_was_valid_stays_valid_with_any_part_replaced(pair: Pair, data: st.DataObject) -> None:
    """Widening only adds, and it adds at every place."""
    schema, arguments = {**pair[0], **DEFINITIONS}, pair[1]
    Draft202012Validator(schema).validate(arguments)
    wide = widened(schema)
    Draft202012Validator.check_schema(wide)
    Draft202012Validator(wide).validate(arguments)
    Draft202012Validator(wide).validate(
        with_references(lambda: data.draw(st.booleans()), arguments)
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects(), st.data())
def test_what_was_not_valid_stays_invalid(pair: Pair, data: st.DataObject) -> None:
    """Values that are not references are judged as before."""
    schema, arguments = {**pair[0], **DEFINITIONS}, pair[1]
    other: dict[str, Any] = {
        key: data.draw(st.sampled_from([1, "b", None, [], {}])) for key in arguments
    }
    assert accepts(widened(schema), other) == accepts(schema, other)
