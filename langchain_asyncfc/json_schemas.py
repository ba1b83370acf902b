"""Questions to a JSON schema: what a `$ref` means, which types fit, what holds one level down.

All of them follow `$ref`, `anyOf`, `oneOf` and `allOf`, end on recursive schemas, and change
nothing. `root` is the whole document, in which a local `$ref` is looked up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema: TypeAlias = dict[str, Any]

JSON_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})

# Keywords that leave only some strings. `content…` are annotations by the standard, but they say
# that not every text is meant.
_TEXT_LIMITS = frozenset(
    {"const", "contentEncoding", "contentMediaType", "else", "enum", "format", "if", "maxLength"}
    | {"minLength", "not", "pattern", "then"}
)

# In this order: a bool is an int to Python.
_TYPE_NAMES = (
    (type(None), frozenset({"null"})),
    (bool, frozenset({"boolean"})),
    (int, frozenset({"integer", "number"})),
    (float, frozenset({"number"})),
    (str, frozenset({"string"})),
    (list, frozenset({"array"})),
    (dict, frozenset({"object"})),
)


def resolve(pointer: str, root: Schema) -> Schema | bool | None:
    """What a local `$ref` points to, or `None` if it is not local or points nowhere."""
    if pointer != "#" and not pointer.startswith("#/"):
        return None
    found: Any = root
    for escaped in pointer.split("/")[1:]:
        part = escaped.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return found if isinstance(found, (dict, bool)) else None


def json_types(
    schema: Schema | bool, root: Schema, _seen: frozenset[str] = frozenset()
) -> frozenset[str]:
    """The JSON types that `schema` lets through; `number` includes `integer`."""
    if isinstance(schema, bool):
        return JSON_TYPES if schema else frozenset()
    types = _declared_types(schema)
    pointer = schema.get("$ref")
    if pointer in _seen:
        return frozenset()  # the way round again adds nothing
    if pointer is not None:
        target = resolve(pointer, root)
        if target is not None:
            types &= json_types(target, root, _seen | {pointer})
    for branch in schema.get("allOf", ()):
        types &= json_types(branch, root, _seen)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            types &= frozenset().union(*(json_types(b, root, _seen) for b in schema[union]))
    return types


def takes_any_text(
    schema: Schema | bool, root: Schema, _seen: frozenset[str] = frozenset()
) -> bool:
    """Whether every string is valid under `schema`."""
    if isinstance(schema, bool):
        return schema
    if not _TEXT_LIMITS.isdisjoint(schema) or "string" not in _declared_types(schema):
        return False
    pointer = schema.get("$ref")
    if pointer is not None:
        target = None if pointer in _seen else resolve(pointer, root)
        if target is None or not takes_any_text(target, root, _seen | {pointer}):
            return False
    return all(takes_any_text(branch, root, _seen) for branch in schema.get("allOf", ())) and all(
        any(takes_any_text(branch, root, _seen) for branch in schema[union])
        for union in ("anyOf", "oneOf")
        if union in schema
    )


def _declared_types(schema: Schema) -> frozenset[str]:
    declared = schema.get("type", JSON_TYPES)
    types = frozenset({declared} if isinstance(declared, str) else declared)
    if "number" in types:
        types |= {"integer"}
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else ()
    if "enum" in schema or "const" in schema:
        types &= frozenset().union(*map(value_types, values))
    return types


def value_types(value: object) -> frozenset[str]:
    """The JSON types that `value` is of; none for what is not JSON."""
    for kind, names in _TYPE_NAMES:
        if isinstance(value, kind):
            # 3.0 is an integer to JSON Schema.
            whole = isinstance(value, float) and value.is_integer()
            return names | {"integer"} if whole else names
    return frozenset()


def leaves(
    schema: Schema | bool, root: Schema, _seen: frozenset[str] = frozenset()
) -> Iterator[Schema]:
    """Each schema that speaks of this very place, through `$ref` and the branches."""
    if isinstance(schema, bool):
        return
    yield schema
    pointer = schema.get("$ref")
    if pointer is not None and pointer not in _seen:
        yield from leaves(resolve(pointer, root) or True, root, _seen | {pointer})
    for key in ("allOf", "anyOf", "oneOf"):
        for branch in schema.get(key, ()):
            yield from leaves(branch, root, _seen)


def child(
    schema: Schema | bool, key: str | int, root: Schema, _seen: frozenset[str] = frozenset()
) -> Schema | bool:
    """What `schema` says of the value under `key`, as one schema."""
    if isinstance(schema, bool):
        return schema
    container = "object" if isinstance(key, str) else "array"
    if container not in _declared_types(schema):
        return False
    said = [_own_child(schema, key)]
    pointer = schema.get("$ref")
    if pointer is not None and pointer not in _seen:
        target = resolve(pointer, root)
        said.append(child(True if target is None else target, key, root, _seen | {pointer}))
    said += [child(branch, key, root, _seen) for branch in schema.get("allOf", ())]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            said.append(_any([child(branch, key, root, _seen) for branch in schema[union]]))
    return _all(said)


def _own_child(schema: Schema, key: str | int) -> Schema | bool:
    if isinstance(key, int):
        items = schema.get("items", True)
        prefix = items if isinstance(items, list) else schema.get("prefixItems", ())
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        found: Schema | bool = prefix[key] if key < len(prefix) else rest
        return found
    named = [schema["properties"][key]] if key in schema.get("properties", ()) else []
    patterns = schema.get("patternProperties", {})
    named += [patterns[pattern] for pattern in patterns if _matches(pattern, key)]
    return _all(named) if named else schema.get("additionalProperties", True)


def _matches(pattern: str, key: str) -> bool:
    try:
        return re.search(pattern, key) is not None
    except re.error:  # a pattern of another dialect
        return False


def _all(schemas: list[Schema | bool]) -> Schema | bool:
    limits = [schema for schema in schemas if schema is not True]
    if not limits:
        return True
    if False in limits:
        return False
    return limits[0] if len(limits) == 1 else {"allOf": limits}


def _any(schemas: list[Schema | bool]) -> Schema | bool:
    if True in schemas:
        return True
    options = [schema for schema in schemas if schema is not False]
    if not options:
        return False
    return options[0] if len(options) == 1 else {"anyOf": options}
