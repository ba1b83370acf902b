"""What a tool's parameters take: its schema, read once, and asked place by place.

A place is where a value stands in the arguments: a tuple of keys and indices, such as
`("filter", "ids", 0)`. What a place takes follows from the tool's JSON schema, through `$ref`,
`anyOf`, `oneOf` and `allOf`. Nothing here changes a schema; `schemas.py` does.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool, Tool
from pydantic_core import PydanticSerializationError, to_jsonable_python

from langchain_asyncfc.json_schemas import Schema, child, json_types, leaves, value_types
from langchain_asyncfc.values import shown

Place: TypeAlias = Sequence[str | int]

# A single-input `Tool` without an args_schema is bound under this parameter name:
# langchain_core.utils.function_calling._format_tool_to_openai_function.
_SINGLE_INPUT: Schema = {
    "type": "object",
    "properties": {"__arg1": {"title": "__arg1", "type": "string"}},
    "required": ["__arg1"],
}

# How a failed keyword of a JSON schema reads in a message to the model.
_EXPECTED = {
    "additionalProperties": "no other properties",
    "const": "{}",
    "enum": "one of {}",
    "exclusiveMaximum": "less than {}",
    "exclusiveMinimum": "more than {}",
    "maxItems": "at most {} items",
    "maxLength": "at most {} characters",
    "maximum": "at most {}",
    "minItems": "at least {} items",
    "minLength": "at least {} characters",
    "minimum": "at least {}",
    "multipleOf": "a multiple of {}",
    "pattern": "text that matches {}",
    "required": "an object with {}",
    "uniqueItems": "items that differ",
}

_UNREAD = object()


class Parameters:
    """The parameters of one tool, as its JSON schema declares them.

    Args:
        schema: JSON schema of the arguments, an object schema. It is kept, not copied.
        checked: Whether somebody else (pydantic) checks the arguments before the tool runs;
            then `check` has nothing to say.
    """

    __slots__ = ("_validator", "checked", "schema")

    def __init__(self, schema: Schema, *, checked: bool) -> None:
        self.schema: Schema = schema
        self.checked: bool = checked
        self._validator: Any = _UNREAD

    def names(self) -> frozenset[str]:
        """The names of the top-level parameters."""
        speaking = leaves(self.schema, self.schema)
        return frozenset(name for leaf in speaking for name in leaf.get("properties", ()))

    def at(self, place: Place) -> Schema | bool:
        """The schema of what stands at `place`: `True` takes everything, `False` nothing."""
        found: Schema | bool = self.schema
        for key in place:
            found = child(found, key, self.schema)
        return found

    def takes_only_text(self, place: Place) -> bool:
        """Whether a string (or null) is all that fits at `place`."""
        return json_types(self.at(place), self.schema) - {"null"} == {"string"}

    def check(self, place: Place, value: object) -> str | None:
        """Say how `value` fails to fit at `place`, or `None` if it fits or nobody can tell."""
        validator = None if self.checked else self._validator_of_schema()
        if validator is None:
            return None
        schema = self.at(place)
        if schema is False:
            return f"argument {_spelled(place)!r}: this tool takes no such argument"
        plain = _plain(value)
        wanted = json_types(schema, self.schema)
        if wanted.isdisjoint(value_types(plain)):
            return _message(place, _type_names(wanted), plain)
        error = _first_error(validator, schema, plain)
        if error is None:
            return None
        where = (*place, *error.absolute_path)
        return _message(where, _expectation(error.validator, error.validator_value), error.instance)

    def without_nulls(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out each null of an optional parameter that takes no null.

        A strict schema must require every parameter, so a model says "not given" with null.
        """
        kept: dict[str, Any] = self._without_nulls(arguments, self.schema)
        return kept

    def _without_nulls(self, value: Any, schema: Schema | bool) -> Any:
        if isinstance(value, Mapping):
            speaking = list(leaves(schema, self.schema))
            kept = {}
            for key, item in value.items():
                part = child(schema, key, self.schema)
                required = any(key in leaf.get("required", ()) for leaf in speaking)
                if item is None and not required and "null" not in json_types(part, self.schema):
                    continue
                kept[key] = self._without_nulls(item, part)
            return kept
        if isinstance(value, list):
            return [
                self._without_nulls(item, child(schema, index, self.schema))
                for index, item in enumerate(value)
            ]
        return value

    def _validator_of_schema(self) -> Any:
        if self._validator is _UNREAD:
            self._validator = _validator(self.schema)
        return self._validator


def parameters(tool: BaseTool) -> Parameters:
    """The parameters of `tool`, read at the first call and again when `args_schema` is replaced.

    An `args_schema` dict that is changed in place is not noticed.
    """
    entry = _READ.get(id(tool))
    if entry is not None and entry[0]() is tool and entry[1] is tool.args_schema:
        return entry[2]
    read = Parameters(_schema_or_names(tool), checked=not isinstance(tool.args_schema, dict))
    # Tools are not hashable (pydantic models that compare by value), so their id is the key, and
    # the weak reference takes the entry away before the id can be used again.
    key = id(tool)
    known = _READ  # bound here, since the module's names are gone when the interpreter ends
    forget = weakref.ref(tool, lambda _: known.pop(key, None))
    _READ[key] = (forget, tool.args_schema, read)
    return read


_READ: dict[int, tuple[weakref.ref[BaseTool], object, Parameters]] = {}


def takes_only_text(tool: BaseTool, place: Place) -> bool:
    """Whether a string is all that `tool` takes at `place`: then a scalar becomes its text.

    Args:
        tool: The tool that is called.
        place: Keys and indices from the arguments down, e.g. `("filter", "ids", 0)`.
    """
    return parameters(tool).takes_only_text(place)


def check_value(tool: BaseTool, place: Place, value: object) -> str | None:
    """Say how a substituted value fails to fit, e.g. `argument 'n': expected integer, got …`.

    Only tools with a dict schema (MCP) are checked, against that schema: nothing else does it
    before they run. `ToolNode` checks the arguments of all others.

    Args:
        tool: The tool that is called.
        place: Where the reference stood: keys and indices from the arguments down.
        value: What is to stand there.

    Returns:
        A message for the model, or `None` if the value fits.
    """
    return parameters(tool).check(place, value)


def without_nulls(tool: BaseTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out each null of an optional parameter of `tool` that takes no null.

    For arguments that a model wrote for a strict schema: it requires every parameter, so "not
    given" can only be said with null. The arguments are not changed; a copy is returned.
    """
    try:
        found = _has_null(arguments)
        return parameters(tool).without_nulls(arguments) if found else dict(arguments)
    except RecursionError:  # nested deeper than any schema says anything about
        return dict(arguments)


def schema_of(tool: BaseTool) -> Schema:
    """The JSON schema of what a model may pass to `tool`: injected arguments are not in it.

    Raises:
        PydanticUserError: An argument has no JSON schema (pydantic v1 raises `ValueError` or
            `RuntimeError`). Such a tool can run, but no model can be bound to it, with or
            without this library.
    """
    if isinstance(tool, Tool) and not tool.args_schema:
        return _SINGLE_INPUT
    declared: Any = tool.tool_call_schema
    if isinstance(declared, dict):
        return declared
    if hasattr(declared, "model_json_schema"):
        schema: Schema = declared.model_json_schema()
    else:
        schema = declared.schema()  # pydantic v1
    return schema


def _schema_or_names(tool: BaseTool) -> Schema:
    try:
        return schema_of(tool)
    except (RuntimeError, NameError, TypeError, ValueError):  # pydantic's, v2 and v1
        # The tool can still be called, so a node with it must still be built.
        model: Any = tool.get_input_schema()
        fields = model.model_fields if hasattr(model, "model_fields") else model.__fields__
        return {"properties": dict.fromkeys(fields, True)}


def _validator(schema: Schema) -> Any:
    """A validator, or `None` for a schema that is not valid itself."""
    import jsonschema  # noqa: PLC0415 - slow to import, and only dict-schema tools need it
    from referencing import Registry  # noqa: PLC0415

    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        # No format checker: a pattern in another dialect must not switch off all checks.
        kind.check_schema(schema, format_checker=jsonschema.FormatChecker(formats=()))
    except jsonschema.SchemaError:
        return None
    # An explicit registry: the default one would fetch a remote `$ref` over the network.
    return kind(schema, registry=Registry())


def _first_error(validator: Any, schema: Schema | bool, value: object) -> Any:
    from jsonschema.exceptions import best_match  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    try:
        return best_match(validator.evolve(schema=schema).iter_errors(value))
    except (Unresolvable, re.error):  # a schema that cannot be checked refuses nothing
        return None


def _has_null(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def _plain(value: object) -> object:
    """The value as JSON carries it (a tuple as a list, a model as a dict)."""
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, RecursionError):
        return value


def _message(place: Place, expected: str, value: object) -> str:
    got = _type_names(value_types(value)) or type(value).__name__
    article = "an" if got[0] in "aeiou" else "a"
    detail = "null" if value is None else f"{article} {got} ({shown(value)})"
    return f"argument {_spelled(place)!r}: expected {expected}, got {detail}"


def _expectation(keyword: str, value: Any) -> str:
    if keyword == "type":
        return _type_names(frozenset({value} if isinstance(value, str) else value))
    listed = value if isinstance(value, list) else [value]
    wanted = ", ".join(json.dumps(item, default=str) for item in listed)
    return _EXPECTED.get(keyword, f"what {keyword!r} asks for").format(wanted)


def _type_names(types: frozenset[str]) -> str:
    names = types - {"integer"} if "number" in types else types
    return " or ".join(sorted(names, key=lambda name: (name == "null", name)))


def _spelled(place: Place) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".")
