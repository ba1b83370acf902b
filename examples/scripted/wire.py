"""The requests that the embedded service accepts: chat completions, and what makes one invalid.

Shapes are checked by pydantic models that forbid unknown fields, the order of messages by
`check_order`. Either way a bad request is answered like the real service does: status 400 and
`{"error": {"message", "type", "param", "code"}}`. Stricter than the real service in one point:
two assistant messages in a row are refused, since other providers refuse them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ServiceError(Exception):
    """Raised when a request is answered with an error.

    Attributes:
        message: What is wrong, for people.
        param: Where, e.g. `messages.[3].role`.
        status: Of the HTTP response.
        kind: The error's type in the service's words.
        headers: More headers of the response.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        status: int,
        kind: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.kind = kind
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the body of the answer."""
        error = {"message": self.message, "type": self.kind}
        return {"error": {**error, "param": self.param, "code": None}}


class BadRequestError(ServiceError):
    """Raised when a request is invalid."""

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message, param, status=400, kind="invalid_request_error")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_Strict):
    """A piece of text in a message's content."""

    type: Literal["text"]
    text: str


Text = str | list[TextPart]


def text_of(content: Text | None) -> str:
    """Return a message's content as one string."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)


class FunctionCall(_Strict):
    """Which function an assistant calls, its arguments as JSON."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    arguments: str


class ToolCall(_Strict):
    """One entry of an assistant message's `tool_calls`."""

    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: FunctionCall


class SystemMessage(_Strict):
    """Instructions from the developer."""

    role: Literal["system", "developer"]
    content: Text
    name: str | None = None


class UserMessage(_Strict):
    """What the user says."""

    role: Literal["user"]
    content: Text
    name: str | None = None


class AssistantMessage(_Strict):
    """What the model said."""

    role: Literal["assistant"]
    content: Text | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    name: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> AssistantMessage:
        if self.content is None and not self.tool_calls:
            raise ValueError("content is required unless tool_calls is given")
        return self


class ToolMessage(_Strict):
    """The answer to one tool call."""

    role: Literal["tool"]
    content: Text
    tool_call_id: str


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(_Strict):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class Tool(_Strict):
    """An entry of the request's `tools`."""

    type: Literal["function"]
    function: Function


class StreamOptions(_Strict):
    """What a stream contains besides the choices."""

    include_usage: bool = False


class Request(BaseModel):
    """A chat completion request; sampling options are accepted and have no effect."""

    model_config = ConfigDict(frozen=True)

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    tools: list[Tool] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] = 1


def parse(body: object) -> Request:
    """Return the request of a JSON body.

    Raises:
        BadRequestError: A field is missing, unknown or of the wrong type, or the messages stand in
            an order that the service refuses.
    """
    try:
        request = Request.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        text = f"Invalid request: {first['msg']}."
        raise BadRequestError(text, _param(first["loc"])) from error
    names = [tool.function.name for tool in request.tools]
    for position, name in enumerate(names):
        if name in names[:position]:
            text = f"Duplicate function name '{name}'."
            raise BadRequestError(text, f"tools.[{position}]")
    check_order(request.messages)
    return request


def _param(location: Sequence[int | str]) -> str:
    """Return pydantic's location as the service writes it, without the names of union members."""
    roles = {"system", "developer", "user", "assistant", "tool"}
    kept = [part for part in location if part not in roles]
    return ".".join(f"[{part}]" if isinstance(part, int) else part for part in kept)


def check_order(messages: Sequence[Message]) -> None:
    """Check that every tool call has exactly one tool message, right after its assistant message.

    Raises:
        BadRequestError: A call is unanswered or answered twice, a tool message answers no call, a
            call id was used before, or two assistant messages stand together.
    """
    used: set[str] = set()
    for position, message in enumerate(messages):
        before = messages[position - 1] if position else None
        if isinstance(message, ToolMessage):
            if not isinstance(before, (AssistantMessage, ToolMessage)):
                raise _orphan(position)
        elif isinstance(message, AssistantMessage):
            if isinstance(before, AssistantMessage):
                raise BadRequestError("Two assistant messages in a row.", _role(position))
            _check_calls(messages, position, used)


def _check_calls(messages: Sequence[Message], position: int, used: set[str]) -> None:
    message = messages[position]
    assert isinstance(message, AssistantMessage)
    open_calls: set[str] = set()
    for call in message.tool_calls or ():
        if call.id in used:
            text = f"Duplicate tool call id '{call.id}'."
            raise BadRequestError(text, f"messages.[{position}]")
        used.add(call.id)
        open_calls.add(call.id)
    answered: set[str] = set()
    for later in range(position + 1, len(messages)):
        answer = messages[later]
        if not isinstance(answer, ToolMessage):
            break
        if answer.tool_call_id in answered:
            text = f"Duplicate tool message for tool_call_id '{answer.tool_call_id}'."
            raise BadRequestError(text, f"messages.[{later}].tool_call_id")
        if answer.tool_call_id not in open_calls:
            raise _orphan(later)
        answered.add(answer.tool_call_id)
    if missing := sorted(open_calls - answered):
        raise BadRequestError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(missing),
            f"messages.[{position}].role",
        )


def _orphan(position: int) -> BadRequestError:
    text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
    return BadRequestError(f"Invalid parameter: {text}", _role(position))


def _role(position: int) -> str:
    return f"messages.[{position}].role"
