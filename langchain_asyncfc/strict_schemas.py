"""Schemas in the form that OpenAI's strict mode accepts.

Strict mode takes a subset of JSON Schema. What the subset cannot say is left out or narrowed,
never kept: the service answers an unsupported schema with an error.

| in the schema | in its strict form |
|---|---|
| an optional property | required, null for "not given"; its default moves into the description |
| other keys (`additionalProperties`) | none: such an object can be passed only as a reference |
| `$ref` | written out; a recursive type is cut after one level inside itself |
| `allOf` | merged into one schema |
| no type at all | string, number, boolean or null |
| a tuple | a list of any of its items |

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_asyncfc.json_schemas import JSON_TYPES, Schema, json_types, resolve

# "Supported properties" of the source; the number and array ones need no look at their value.
_KEPT = frozenset({"title", "description", "type", "enum", "const"}) | frozenset(
    {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"}
    | {"minItems", "maxItems"}
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_NOTES = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
_ANYTHING = [{"type": name} for name in ("string", "number", "boolean", "null")]

# How often a definition may stand within itself. langchain-core writes `$ref`s out and leaves
# an empty schema at the first recursion, which strict mode rejects; deeper ones grow fast.
_DEPTH = 2


def strict_form(schema: Schema) -> Schema:
    """The strict form of the schema of an arguments object, as one schema without `$ref`.

    Whatever is valid under it is valid under `schema`, once the nulls are taken out of
    optional places; only where several parts of an `allOf` limit the same keyword, the last
    one counts.
    """
    form = _Strict(schema).place({**schema, "type": "object"}, ())
    if form is None:
        raise ValueError("no arguments at all are valid under the schema")
    return form


class _Strict:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def place(self, schema: Schema | bool, within: tuple[str, ...]) -> Schema | None:
        """The strict form of a place, or `None` when strict mode cannot say it.

        `within` are the definitions that the place stands in.
        """
        if schema is False:
            return None
        merged, within = self._merged({} if schema is True else schema, within)
        if any(within.count(pointer) > _DEPTH for pointer in within):
            return None
        return self._union(merged, within) if "anyOf" in merged else self._kind(merged, within)

    def _kind(self, merged: Schema, within: tuple[str, ...]) -> Schema | None:
        """The strict form of a place that is no union."""
        types = json_types(merged, self._root)
        strict = {key: value for key, value in merged.items() if key in _KEPT}
        _note_default(strict, merged)
        if types == JSON_TYPES and _shape(merged) is None:
            return {**strict, "anyOf": [dict(kind) for kind in _ANYTHING]}
        strict["type"] = merged.get("type", _shape(merged) or _simple(types))
        _keep_text_limits(strict, merged)
        if _has(strict, "array"):
            items = self._items(merged, within)
            if items is None:
                return None
            strict["items"] = items
        return self._object(strict, merged, within) if _has(strict, "object") else strict

    def _union(self, schema: Schema, within: tuple[str, ...]) -> Schema | None:
        notes = _notes(schema)
        _note_default(notes, schema)
        beside = {k: v for k, v in schema.items() if k not in _NOTES and k != "anyOf"}
        options: list[Schema] = []
        for branch in schema["anyOf"]:
            if branch is False:
                continue
            part = {"allOf": [beside, branch]} if beside else branch
            option = self.place(part, within)
            for flat in [] if option is None else _options(option):
                if flat not in options:
                    options.append(flat)
        if not options:
            return None
        return {**options[0], **notes} if len(options) == 1 else {**notes, "anyOf": options}

    def _object(self, strict: Schema, schema: Schema, within: tuple[str, ...]) -> Schema | None:
        required = schema.get("required", ())
        properties: dict[str, Schema] = {}
        for name, part in schema.get("properties", {}).items():
            form = self.place(part, within)
            if form is None and name in required:
                return None
            if form is not None:
                properties[name] = form if name in required else _nullable(form)
        strict["properties"] = properties
        strict["required"] = list(properties)
        strict["additionalProperties"] = False
        return strict

    def _items(self, schema: Schema, within: tuple[str, ...]) -> Schema | None:
        if "prefixItems" in schema:
            return self.place({"anyOf": schema["prefixItems"]}, within)
        return self.place(schema.get("items", True), within)

    def _merged(self, schema: Schema, within: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """The schema with its `$ref` and `allOf` written into it; its own keywords win."""
        merged: Schema = {}
        parts = list(schema.get("allOf", ()))
        pointer = schema.get("$ref")
        if pointer is not None:
            within = (*within, pointer)
            if within.count(pointer) <= _DEPTH:
                parts.append(resolve(pointer, self._root))
        for part in parts:
            if isinstance(part, dict):
                more, within = self._merged(part, within)
                _add(merged, more)
        _add(merged, {k: v for k, v in schema.items() if k not in ("$ref", "allOf")})
        return merged, within


def _add(merged: Schema, more: Schema) -> None:
    for key, value in more.items():
        if key == "properties":
            merged[key] = {**merged.get(key, {}), **value}
        elif key == "required":
            merged[key] = [*merged.get(key, ()), *value]
        else:
            merged[key] = value


def _shape(schema: Schema) -> str | None:
    """The type that a schema without `type` has in mind."""
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "pattern" in schema or "format" in schema:
        return "string"
    return None


def _simple(types: frozenset[str]) -> str | list[str]:
    names = sorted(types - {"integer"} if "number" in types else types)
    return names[0] if len(names) == 1 else names


def _has(schema: Schema, kind: str) -> bool:
    return kind == schema["type"] or (isinstance(schema["type"], list) and kind in schema["type"])


def _keep_text_limits(strict: Schema, schema: Schema) -> None:
    if schema.get("format") in _FORMATS:
        strict["format"] = schema["format"]
    # Look-around is the part of regular expressions that strict mode rejects.
    if "pattern" in schema and not re.search(r"\(\?<?[=!]", schema["pattern"]):
        strict["pattern"] = schema["pattern"]


def _notes(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in ("title", "description")}


def _note_default(strict: Schema, schema: Schema) -> None:
    default = schema.get("default")
    if default is not None:
        text = f"Default: {json.dumps(default, default=str)}."
        strict["description"] = f"{strict.get('description', '')} {text}".strip()


def _nullable(schema: Schema) -> Schema:
    options = _options(schema)
    if any(option.get("type") == "null" for option in options):
        return schema
    if len(options) == 1 and isinstance(schema["type"], list) and "null" in schema["type"]:
        return schema
    notes = _notes(schema)
    bare = [{k: v for k, v in option.items() if k not in notes} for option in options]
    return {**notes, "anyOf": [*(bare if len(options) == 1 else options), {"type": "null"}]}


def _options(schema: Schema) -> list[Any]:
    return list(schema["anyOf"]) if "anyOf" in schema else [schema]
