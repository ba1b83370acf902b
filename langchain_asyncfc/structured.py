"""Structured answers of `create_agent`: no placeholder and no reference gets into one.

A model gives a structured answer by a call to an artificial tool (`ToolStrategy`) or as JSON text
(`ProviderStrategy`); LangChain parses it as soon as the model has spoken. In a call, references
are replaced by values and it is parsed again. An answer that comes while futures are unfinished
is no answer yet, so it does not matter if it can be parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain.agents.middleware import ModelResponse
from langchain.agents.structured_output import (
    AutoStrategy,
    OutputToolBinding,
    StructuredOutputError,
    StructuredOutputValidationError,
    ToolStrategy,
)
from langchain_core.messages import AIMessage, ToolMessage

__all__ = ["answer_tools", "is_plain", "parsed_again", "refused", "unparsed"]

_TAKEN = "Returning structured response: {}"
"""What `create_agent` answers to a call that gives the structured answer."""


def answer_tools(response_format: Any) -> dict[str, OutputToolBinding[Any]]:
    """The artificial tools by which a model may give a structured answer, by name."""
    if isinstance(response_format, AutoStrategy):
        response_format = ToolStrategy(schema=response_format.schema)
    if not isinstance(response_format, ToolStrategy):
        return {}
    bindings = map(OutputToolBinding.from_schema_spec, response_format.schema_specs)
    return {binding.tool.name: binding for binding in bindings}


def is_plain(response_format: Any) -> bool:
    """Whether the answer may be given as JSON text, which is parsed whenever the model speaks."""
    return response_format is not None and not isinstance(response_format, ToolStrategy)


def unparsed(error: StructuredOutputError) -> ModelResponse[Any] | None:
    """What the model said, where LangChain could not parse it as a structured answer."""
    message = getattr(error, "ai_message", None)
    return ModelResponse(result=[message]) if isinstance(message, AIMessage) else None


def parsed_again(
    message: AIMessage, tools: Mapping[str, OutputToolBinding[Any]], response_format: Any
) -> ModelResponse[Any]:
    """A structured answer with values in place of references.

    Raises:
        Exception: Where the values do not fit the schema; pydantic and dataclasses differ.
    """
    (call,) = (call for call in message.tool_calls if call["name"] in tools)
    answer = tools[call["name"]].parse(call["args"])
    content = getattr(response_format, "tool_message_content", None) or _TAKEN.format(answer)
    told = ToolMessage(content, tool_call_id=call["id"] or "", name=call["name"])
    return ModelResponse(result=[message, told], structured_response=answer)


def refused(
    message: AIMessage,
    tools: Mapping[str, OutputToolBinding[Any]],
    response_format: Any,
    problem: Exception,
) -> ModelResponse[Any]:
    """A structured answer whose references have no values: the model is asked again.

    Raises:
        StructuredOutputValidationError: Where the agent is not to handle errors of this kind.
    """
    (call,) = (call for call in message.tool_calls if call["name"] in tools)
    error = StructuredOutputValidationError(call["name"], problem, message)
    handle: Any = getattr(response_format, "handle_errors", True)
    if isinstance(handle, type | tuple):
        handle = isinstance(error, handle)
    if handle is False:
        raise error from problem
    text = handle if isinstance(handle, str) else f"Error: {problem}"
    if callable(handle):
        text = handle(error)
    told = ToolMessage(text, tool_call_id=call["id"] or "", name=call["name"], status="error")
    return ModelResponse(result=[message, told])
