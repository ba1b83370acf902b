"""The tools' schemas, as each client sends them, in the form that its service takes."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_asyncfc import AsyncFCToolNode
from tests.integration.providers.clients import PROVIDERS, Service
from tests.integration.providers.conversation import RefusedError, say
from tests.integration.providers.tool_schemas import (
    check_gemini,
    check_json_schema,
    check_name,
    check_strict,
)


class Person(BaseModel):
    """A person, with other persons inside."""

    name: str
    age: int
    friends: list[str] = []
    parent: Person | None = None


@tool
def plain(count: int, names: list[str], person: Person, kind: Literal["a", "b"] = "a") -> str:
    """A tool with arguments of many types."""
    return f"{count}{names}{person}{kind}"


@tool
def nullable(
    count: int | None = None,
    names: list[str] | None = None,
    kind: Literal["a", "b"] | None = None,
    person: Person | None = None,
) -> str:
    """A tool whose arguments may all be null."""
    return f"{count}{names}{kind}{person}"


@tool
def mapping(values: dict[str, int], either: int | str = 3) -> str:
    """A tool with an open object and a union."""
    return f"{values}{either}"


TOOLS = [plain, nullable, mapping]


def test_every_service_takes_the_widened_schemas(service: Service) -> None:
    """Widened schemas and the control tools pass each service's check."""
    session = service.server.open(lambda view: say("Fine."))
    bound = service.model.bind_tools(AsyncFCToolNode(TOOLS).model_tools)
    assert bound.invoke([HumanMessage("go")]).text == "Fine."
    session.assert_went_well()
    sent = json.dumps(session.bodies[0]["tools"])
    assert all(name in sent for name in ("await_future", "cancel_future", "await_result"))


@pytest.mark.parametrize(
    "service",
    [provider for provider in PROVIDERS if provider.name.startswith("openai")],
    ids=lambda provider: provider.name,
    indirect=True,
)
def test_openai_takes_the_strict_schemas(service: Service) -> None:
    """The strict form passes the check of OpenAI's strict mode."""
    session = service.server.open(lambda view: say("Fine."))
    tools = AsyncFCToolNode([plain, nullable]).strict_model_tools
    service.model.bind_tools(tools, strict=True).invoke([HumanMessage("go")])
    session.assert_went_well()
    functions = [sent.get("function", sent) for sent in session.bodies[0]["tools"]]
    assert [function["name"] for function in functions][:2] == ["plain", "nullable"]
    assert all(function["strict"] is True for function in functions)


def _parameters(service: Service, tools: Any, name: str) -> dict[str, Any]:
    session = service.server.open(lambda view: say("Fine."))
    service.model.bind_tools(tools).invoke([HumanMessage("go")])
    session.assert_went_well()
    declarations = session.bodies[0]["tools"][0]["functionDeclarations"]
    (found,) = [d for d in declarations if d["name"] == name]
    return found["parameters"]["properties"]


def _types(schema: dict[str, Any]) -> set[str]:
    branches = schema.get("any_of") or schema.get("anyOf") or [schema]
    return {branch["type"] for branch in branches}


@pytest.mark.parametrize("made", TOOLS, ids=lambda made: made.name)
@pytest.mark.parametrize("service", PROVIDERS[-1:], ids=["gemini"], indirect=True)
def test_gemini_keeps_the_types(service: Service, made: Any) -> None:
    """What Gemini is told of a widened parameter still has the type of the bare one."""
    bare = _parameters(service, [made], made.name)
    wide = _parameters(service, AsyncFCToolNode([made]).model_tools, made.name)
    lost = [name for name, schema in bare.items() if not _types(schema) <= _types(wide[name])]
    assert lost == []
    enums = [name for name, schema in bare.items() if "enum" in schema]
    assert [name for name in enums if '"enum"' not in json.dumps(wide[name])] == []


# -- the checks themselves -------------------------------------------------------------------------

GOOD = {"type": "object", "properties": {"x": {"type": "integer"}}}
OPEN = {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}, "required": ["x"]}
X = {"type": "integer"}
STRICT = {**GOOD, "required": ["x"], "additionalProperties": False}
GEMINI = {"type": "OBJECT", "properties": {"x": {"type": "ARRAY", "items": {"type": "STRING"}}}}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        {"properties": {}},
        {**GOOD, "anyOf": [{"required": ["x"]}]},
        {"type": "object", "properties": {"x": {"type": "int"}}},
        {"type": "object", "required": "x"},
        OPEN,
    ],
)
def test_json_schema_check_refuses(bad: Any) -> None:
    """What is no JSON schema of an object is refused."""
    check_json_schema(GOOD, "parameters")
    check_json_schema({**OPEN, "$defs": {"X": X}}, "parameters")
    with pytest.raises(RefusedError):
        check_json_schema(bad, "parameters")


@pytest.mark.parametrize(
    "bad",
    [
        GOOD,
        {**STRICT, "required": []},
        {**STRICT, "additionalProperties": True},
        {**STRICT, "properties": {"x": {"type": "integer", "default": 1}}},
        {**STRICT, "properties": {"x": {"description": "anything"}}},
        {**STRICT, "properties": {"x": {"type": "array"}}},
        {**STRICT, "properties": {"x": {"anyOf": [GOOD, {"type": "null"}]}}},
        {**STRICT, "properties": {"x": {"type": "array", "items": GOOD}}},
        {**STRICT, "$defs": {"X": GOOD}},
    ],
)
def test_strict_check_refuses(bad: Any) -> None:
    """What OpenAI's strict mode does not take is refused, inside of a schema too."""
    check_strict(STRICT, "parameters")
    check_strict({**STRICT, "properties": {"x": {"anyOf": [STRICT, X]}}}, "parameters")
    with pytest.raises(RefusedError):
        check_strict(bad, "parameters")


@pytest.mark.parametrize(
    "inner",
    [
        {"type": "integer"},
        {"type": "ARRAY"},
        {"type": ["STRING", "NULL"]},
        {"type": "STRING", "const": "a"},
        {"type": "OBJECT", "additionalProperties": False},
        {"type": "INTEGER", "enum": ["1"]},
        {"type": "STRING", "enum": [""]},
        {"type": "STRING", "format": "uri"},
        {"type": "OBJECT", "properties": {}, "required": ["y"]},
        {"any_of": [{"type": "INTEGER"}, {"$ref": "#/$defs/X"}]},
        {"type": "ARRAY", "items": {}},
    ],
)
def test_gemini_check_refuses(inner: Any) -> None:
    """What is no `Schema` of Gemini's is refused, inside of a schema too."""
    check_gemini(GEMINI, "parameters")
    check_gemini({"any_of": [{"type": "INTEGER"}, GEMINI]}, "parameters")
    with pytest.raises(RefusedError):
        check_gemini({"type": "OBJECT", "properties": {"x": inner}}, "parameters")


@pytest.mark.parametrize("bad", [None, "", "a b", "x" * 65])
def test_name_check_refuses(bad: Any) -> None:
    """A tool's name is made of few characters, and not of many."""
    check_name("some_tool-2", "name")
    with pytest.raises(RefusedError):
        check_name(bad, "name")
