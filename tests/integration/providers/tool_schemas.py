"""What each provider takes as a tool's parameters."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from tests.integration.providers.conversation import RefusedError, only_keys, require

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

# Keywords of OpenAI's strict mode ("Structured Outputs", supported schemas).
STRICT_KEYWORDS = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"}
    | {"$ref", "$defs", "title", "description", "pattern", "format", "multipleOf", "maximum"}
    | {"exclusiveMaximum", "minimum", "exclusiveMinimum", "minItems", "maxItems"}
)

# The fields of `Schema` in Gemini's API reference.
GEMINI_KEYWORDS = frozenset(
    {"type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems"}
    | {"properties", "required", "minProperties", "maxProperties", "minLength", "maxLength"}
    | {"pattern", "example", "anyOf", "propertyOrdering", "default", "items", "minimum"}
    | {"maximum"}
)
GEMINI_TYPES = frozenset({"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"})


def check_json_schema(schema: Any, where: str) -> None:
    """Refuse what is no JSON schema of an object (OpenAI, Anthropic)."""
    require(isinstance(schema, dict), f"{where}: a schema must be an object.", where)
    require(schema.get("type") == "object", f"{where}.type: must be 'object'.", where)
    for key in ("anyOf", "oneOf", "allOf", "enum", "not"):
        require(key not in schema, f"{where}: no {key} at the top level.", where)
    wrong = _against_the_draft(json.dumps(schema, sort_keys=True))
    require(not wrong, f"{where}: JSON schema is invalid: {wrong}", where)
    for pointer in _pointers(schema):
        found: Any = schema
        for part in pointer.removeprefix("#").strip("/").split("/") if pointer != "#" else ():
            found = found.get(part) if isinstance(found, dict) else None
        require(found is not None, f"{where}: {pointer} leads nowhere.", where)


@functools.lru_cache
def _against_the_draft(schema: str) -> str:
    """What is wrong with a schema, if anything; remembered, as each request repeats its tools."""
    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        return str(error.message)
    return ""


def _pointers(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [pointer for item in schema for pointer in _pointers(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [pointer for value in schema.values() for pointer in _pointers(value)]


def check_strict(schema: Any, where: str) -> None:
    """Refuse what OpenAI's strict mode does not take."""
    if isinstance(schema, bool) or not isinstance(schema, dict):
        raise RefusedError(f"{where}: schema must have a 'type' key.", where, "invalid_schema")
    unknown = sorted(set(schema) - STRICT_KEYWORDS)
    require(not unknown, f"{where}: {unknown} is not permitted.", where)
    typed = {"type", "anyOf", "$ref", "enum", "const"} & set(schema)
    require(typed, f"{where}: schema must have a 'type' key.", where)
    if schema.get("type") == "object" or "properties" in schema:
        closed = schema.get("additionalProperties") is False
        require(closed, f"{where}: 'additionalProperties' is required to be false.", where)
        names = set(schema.get("properties", {}))
        every = names == set(schema.get("required", []))
        require(every, f"{where}: 'required' must include every key in properties.", where)
    if "array" in _types(schema):
        require("items" in schema, f"{where}: array schema missing items.", where)
    for kind in ("properties", "$defs"):
        for name, part in schema.get(kind, {}).items():
            check_strict(part, f"{where}.{name}")
    for number, part in enumerate(schema.get("anyOf", ())):
        check_strict(part, f"{where}.anyOf[{number}]")
    if "items" in schema:
        check_strict(schema["items"], f"{where}.items")


def _types(schema: dict[str, Any]) -> list[Any]:
    given = schema.get("type")
    return given if isinstance(given, list) else [given]


def check_gemini(schema: Any, where: str) -> None:
    """Refuse what is no `Schema` of Gemini's, a subset of OpenAPI 3.0.

    The service takes names of fields in both of Protobuf's JSON forms.
    """
    if isinstance(schema, dict):
        schema = {_camel(key): value for key, value in schema.items()}
    only_keys(schema, GEMINI_KEYWORDS, where)
    given = schema.get("type")
    known = given is None and schema.get("anyOf")
    known = known or (isinstance(given, str) and given in GEMINI_TYPES)
    require(known, f"{where}.type: must be specified, as one of Gemini's types")
    if given == "ARRAY":
        require("items" in schema, f"{where}.items: missing field.", where)
    if "enum" in schema:
        texts = all(isinstance(item, str) and item for item in schema["enum"])
        require(given == "STRING" and texts, f"{where}.enum: only for STRING type", where)
    if given == "STRING" and "format" in schema:
        known = schema["format"] in ("enum", "date-time")
        require(known, f"{where}.format: only 'enum' and 'date-time' are supported.", where)
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        require(name in properties, f"{where}.required: property {name} is not defined", where)
    for name, part in properties.items():
        check_gemini(part, f"{where}.properties[{name}]")
    for number, part in enumerate(schema.get("anyOf", ())):
        check_gemini(part, f"{where}.any_of[{number}]")
    if "items" in schema:
        check_gemini(schema["items"], f"{where}.items")


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def check_name(name: Any, where: str) -> None:
    """Refuse a tool's name that a provider does not take."""
    fits = isinstance(name, str) and NAME.fullmatch(name)
    require(fits, f"Invalid '{where}': does not match pattern.", where)
