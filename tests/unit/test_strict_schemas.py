"""Tests of the strict form of schemas."""

from __future__ import annotations

import datetime as dt
import enum
import gc
import inspect
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from langchain_core.tools import StructuredTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from langchain_asyncfc.parameters import without_nulls
from langchain_asyncfc.schemas import AWAIT_RESULT, model_tool, widened
from langchain_asyncfc.strict_schemas import strict_form

FUTURE = "future_3.items[0]"


class Filter(BaseModel):
    ids: list[int]
    colour: Literal["red", "blue"] = "red"
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


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Point(BaseModel):
    x: Annotated[float, Field(gt=0)]
    level: Level


@tool
def search(
    query: str,
    limit: Annotated[int, Field(description="how many", ge=1)] = 10,
    mode: Literal["fast", "full"] = "fast",
    day: dt.date | None = None,
    short: Annotated[str, Field(max_length=5)] = "",
    scores: dict[str, float] | None = None,
    filters: list[Filter] = [],  # noqa: B006
    pair: tuple[int, str] = (1, "a"),
    anything: Any = None,
) -> str:
    """Search."""
    return query


@tool
def grow(tree: Tree, pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> str:
    """Grow."""
    return str(tree)


# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
SUPPORTED = {
    *("type", "title", "description", "enum", "const", "anyOf", "pattern", "format"),
    *("multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"),
    *("minItems", "maxItems", "items", "properties", "required", "additionalProperties"),
}
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}


def assert_strict(schema: dict[str, Any]) -> None:
    """The whole schema keeps the documented rules of strict mode."""
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert "anyOf" not in schema
    _assert_strict_place(schema)


def _assert_strict_place(schema: dict[str, Any]) -> None:
    assert schema.keys() <= SUPPORTED, schema
    assert "type" in schema or schema.get("anyOf"), schema
    assert schema.get("format", "date") in FORMATS
    types = schema.get("type", ())
    if types == "object" or "object" in types:
        assert schema["additionalProperties"] is False
        assert sorted(schema["required"]) == sorted(schema["properties"])
    if types == "array" or "array" in types:
        assert isinstance(schema["items"], dict)
    assert not any("anyOf" in option for option in schema.get("anyOf", ()))
    parts = [*schema.get("anyOf", ()), *schema.get("properties", {}).values()]
    for part in parts + ([schema["items"]] if "items" in schema else []):
        _assert_strict_place(part)


def accepts(schema: dict[str, Any], arguments: object) -> bool:
    return Draft202012Validator(schema).is_valid(arguments)


def strict_place(schema: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    """The strict form of one required parameter."""
    form = strict_form({"properties": {"a": schema}, "required": ["a"], "$defs": definitions})
    assert_strict(form)
    place: dict[str, Any] = form["properties"]["a"]
    return place


@pytest.mark.parametrize("shown", [search, grow])
def test_a_strict_bind_stays_strict_and_keeps_the_rules(shown: StructuredTool) -> None:
    """ChatOpenAI sends `strict` and a schema that the service accepts."""
    openai = pytest.importorskip("langchain_openai")
    shadow = model_tool(shown, strict=True)
    bound = openai.ChatOpenAI(model="gpt-x", api_key="x").bind_tools([shadow], strict=True)
    function = bound.kwargs["tools"][0]["function"]
    assert function["strict"] is True
    assert_strict(function["parameters"])
    assert AWAIT_RESULT in function["parameters"]["required"]
    del bound
    gc.collect()  # clients complain when they are collected during another test


def test_a_dict_tool_stays_strict() -> None:
    """A shadow of an MCP tool does not lose strict, as a bare dict does."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    remote = StructuredTool(name="r", description="R.", args_schema=schema, func=str)
    function = convert_to_openai_tool(model_tool(remote, strict=True), strict=True)["function"]
    assert function["strict"] is True
    assert_strict(function["parameters"])


def test_anthropic_gets_the_strict_form() -> None:
    """convert_to_anthropic_tool keeps `strict` and the schema."""
    anthropic = pytest.importorskip("langchain_anthropic.chat_models")
    if "strict" not in inspect.signature(anthropic.convert_to_anthropic_tool).parameters:
        pytest.skip("this langchain-anthropic has no strict tools")
    sent = anthropic.convert_to_anthropic_tool(model_tool(grow, strict=True), strict=True)
    assert sent["strict"] is True
    assert_strict(sent["input_schema"])


def test_the_default_form_survives_a_strict_bind() -> None:
    """A caller who binds strictly without saying so here gets closed, all-required objects."""

    @tool
    def plain(n: int, mode: Literal["a", "b"] = "a") -> str:
        """Plain."""
        return ""

    function = convert_to_openai_tool(model_tool(plain), strict=True)["function"]
    sent = function["parameters"]
    assert function["strict"] is True
    assert sent["additionalProperties"] is False
    assert sent["required"] == ["n", "mode", AWAIT_RESULT]
    assert accepts(sent, {"n": FUTURE, "mode": "b", AWAIT_RESULT: False})
    assert accepts(sent, {"n": 1, "mode": FUTURE, AWAIT_RESULT: "all"})


def test_arguments_of_a_strict_call_reach_the_tool() -> None:
    """Every parameter is given, nulls stand for "not given", references stand anywhere."""
    form = model_tool(search, strict=True).args_schema
    assert isinstance(form, dict)
    assert_strict(form)
    written = dict.fromkeys(form["required"])
    written |= {"query": "q", "filters": [{"ids": [1, FUTURE], "colour": None, "text": None}]}
    assert accepts(form, written)
    assert accepts(form, {**written, "filters": FUTURE, AWAIT_RESULT: True})
    assert not accepts(form, {**written, "query": None})
    assert not accepts(form, {"query": "q"})

    written["filters"] = [{"ids": [1], "colour": None, "text": None}]
    assert search.invoke(without_nulls(search, written)) == "q"


def test_a_default_moves_into_the_description() -> None:
    """The keyword is not supported, but the model should know what null means."""
    form = model_tool(search, strict=True).args_schema
    assert isinstance(form, dict)
    assert form["properties"]["limit"]["description"] == "how many Default: 10."
    assert form["properties"]["mode"]["description"] == 'Default: "fast".'
    assert "description" not in form["properties"]["day"]


def test_optional_becomes_nullable_once() -> None:
    """A parameter that takes null already gets no second null."""
    form = strict_form(
        {
            "properties": {
                "union": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "list": {"type": ["integer", "null"], "minimum": 3},
                "plain": {"type": "integer", "description": "d"},
            }
        }
    )
    assert_strict(form)
    assert form["properties"] == {
        "union": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "list": {"type": ["integer", "null"], "minimum": 3},
        "plain": {"description": "d", "anyOf": [{"type": "integer"}, {"type": "null"}]},
    }


def test_a_recursive_type_is_written_out_to_a_limit() -> None:
    """The place where recursion is cut takes a reference only."""
    form = model_tool(grow, strict=True).args_schema
    assert isinstance(form, dict)
    rest = {"pet": {"kind": "cat", "lives": 9}, AWAIT_RESULT: None}
    for children in (FUTURE, [], [FUTURE]):
        inner = {"value": 2, "children": children}
        assert accepts(form, {"tree": {"value": 1, "children": [FUTURE, inner]}, **rest})
    deep = {"value": 2, "children": [{"value": 3, "children": []}]}
    assert not accepts(form, {"tree": {"value": 1, "children": [deep]}, **rest})
    assert accepts(form, {"tree": FUTURE, **rest})


def test_what_strict_mode_does_not_know_is_left_out() -> None:
    """Unsupported keywords, formats and look-around go; supported ones stay."""
    text = {"type": "string", "minLength": 2, "format": "uri", "pattern": "^(?!x)"}
    assert strict_place(text) == {"type": "string"}
    text = {"type": "string", "format": "date", "pattern": "^(?:x)"}
    assert strict_place(text) == text
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
    assert strict_place({**numbers, "uniqueItems": True}) == numbers


def test_types_are_spelled_out() -> None:
    """Each place says its type, also where the schema only implies it."""
    assert strict_place({"enum": ["a", 1, 2.5]})["type"] == ["number", "string"]
    assert strict_place({"const": True})["type"] == "boolean"
    assert strict_place({"pattern": "a"})["type"] == "string"
    assert strict_place({"properties": {}})["type"] == "object"
    assert strict_place({"items": {"type": "null"}})["type"] == "array"
    assert [kind["type"] for kind in strict_place({})["anyOf"]] == [
        *("string", "number", "boolean", "null")
    ]


def test_parts_of_all_of_are_merged() -> None:
    """Properties and requirements of all parts hold; the schema's own keywords win."""
    place = strict_place(
        {
            "allOf": [
                {"$ref": "#/$defs/Base"},
                {"properties": {"c": {"type": "integer"}}, "required": ["c"]},
                True,
            ],
            "description": "own",
        },
        Base={
            "type": "object",
            "description": "base",
            "properties": {"b": {"type": "integer"}},
            "required": ["b"],
        },
    )
    assert place["description"] == "own"
    assert place["required"] == ["b", "c"]


def test_limits_beside_a_union_hold_in_each_branch() -> None:
    """What stands beside `anyOf` is written into the branches."""
    place = strict_place({"type": "object", "anyOf": [{"required": ["a"]}, {}, False],
                          "properties": {"a": {"type": "integer"}}})  # fmt: skip
    assert accepts(place, {"a": 1})
    assert accepts(place, {"a": None})
    assert not accepts(place, 3)


def test_a_union_that_is_left_with_one_branch_is_that_branch() -> None:
    """Branches that strict mode cannot say are dropped."""
    place = strict_place({"anyOf": [False, {"type": "integer"}], "title": "N"})
    assert place == {"title": "N", "type": "integer"}


def test_a_place_that_cannot_be_said_takes_its_owner_with_it() -> None:
    """An optional part goes; a required one leaves only other branches, and no root at all."""
    hopeless = {"type": "array", "items": {"anyOf": [False]}}
    owner = {"type": "object", "properties": {"x": hopeless}}
    place = strict_place({"anyOf": [owner, {**owner, "required": ["x"]}, {"type": "null"}]})
    assert [option["type"] for option in place["anyOf"]] == ["object", "null"]
    assert place["anyOf"][0]["properties"] == {}
    with pytest.raises(ValueError, match="no arguments at all"):
        strict_form({"properties": {"a": False}, "required": ["a"]})


LEAVES: list[Any] = [
    *({"type": "integer", "minimum": 0}, {"type": ["string", "null"]}, {"type": "string"}),
    *({"enum": ["a", 1, None], "default": "a"}, {"const": "cat"}, {}, True, False),
    *({"type": "string", "format": "uri", "minLength": 2}, {"not": {"type": "null"}}),
    *({"$ref": "#/$defs/Tree", "description": "d"}, {"$ref": "#/$defs/Odd"}, {"type": "array"}),
]
DEFINITIONS = {
    "Tree": {
        "type": "object",
        "properties": {"kids": {"items": {"$ref": "#/$defs/Tree"}}, "best": {"$ref": "#"}},
    },
    "Odd": {"oneOf": [{"type": "integer"}, {"$ref": "#/$defs/Odd"}]},
}


def nest(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas made of schemas."""
    some = st.lists(schemas, min_size=1, max_size=3)
    names = st.sampled_from(["a", "title", "anyOf", "x y"])
    return st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": schemas}),
        st.fixed_dictionaries({"prefixItems": some, "items": schemas}),
        st.fixed_dictionaries({"anyOf": some, "title": st.just("T")}),
        st.fixed_dictionaries({"oneOf": some, "default": st.just(None)}),
        st.fixed_dictionaries({"allOf": some}),
        st.fixed_dictionaries(
            {"properties": st.dictionaries(names, schemas), "additionalProperties": schemas},
            optional={"type": st.just("object"), "required": st.lists(names, unique=True)},
        ),
    )


SCHEMAS = st.recursive(st.sampled_from(LEAVES), nest, max_leaves=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["a", "b"]), SCHEMAS))
def test_the_strict_form_of_any_schema_keeps_the_rules(properties: dict[str, Any]) -> None:
    """Whatever the tool's schema is, the service gets one that it accepts."""
    wide = widened({"type": "object", "properties": properties, "$defs": DEFINITIONS})
    Draft202012Validator.check_schema(wide)
    assert_strict(strict_form(wide))


def test_formats_enums_and_nested_models_keep_their_meaning() -> None:
    """The strict form refuses what the tool would refuse."""

    @tool
    def plot(points: list[Point], when: dt.datetime) -> str:
        """Plot."""
        return ""

    form = model_tool(plot, strict=True).args_schema
    assert isinstance(form, dict)
    when = {"when": "2020-01-01T00:00:00Z", AWAIT_RESULT: None}
    assert accepts(form, {"points": [{"x": 1, "level": 2}, {"x": FUTURE, "level": FUTURE}], **when})
    for point in (
        {"x": 0, "level": 1},
        {"x": 1, "level": 3},
        {"x": 1},
        {"x": 1, "level": 1, "y": 1},
    ):
        assert not accepts(form, {"points": [point], **when})
