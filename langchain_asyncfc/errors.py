"""All exceptions of the library, as one tree.

```
AsyncFCError
├── ReferenceProblem              a reference in a call's arguments cannot be used
│   ├── MalformedReference        its text does not parse
│   ├── UnknownReference          no such future in this thread
│   ├── FailedReference           the future of an earlier run did not resolve
│   ├── ReferencePathError        the path is not in the value
│   └── UnfitValue                the value does not fit the parameter
├── InvalidControlCall            `await_future` or `cancel_future` with arguments that do not fit
├── ToolStopped                   a running tool was ended by the runtime
│   ├── ToolCancelled             by `cancel_future`, or because its run ended
│   └── ToolTimeout               by its timeout
└── InvalidTransition             a future made a step that its table does not have (a bug)
```

Mistakes of a developer (an unknown argument in an effects template, a negative timeout, …) are
plain `ValueError`s at construction. What a model does wrong is never raised: it is answered with
an error message.
"""

from __future__ import annotations

__all__ = [
    "AsyncFCError",
    "FailedReference",
    "InvalidControlCall",
    "InvalidTransition",
    "MalformedReference",
    "ReferencePathError",
    "ReferenceProblem",
    "ToolCancelled",
    "ToolStopped",
    "ToolTimeout",
    "UnfitValue",
    "UnknownReference",
]


class AsyncFCError(Exception):
    """Base of every exception that this library raises by itself."""


class ReferenceProblem(AsyncFCError):
    """Raised when a reference in a call's arguments cannot be used."""


class MalformedReference(ReferenceProblem):
    """Raised when text that starts like a reference does not parse as one."""


class UnknownReference(ReferenceProblem):
    """Raised when a reference names a future that this thread does not have."""


class FailedReference(ReferenceProblem):
    """Raised when a reference names a future of an earlier run that did not resolve."""


class ReferencePathError(ReferenceProblem):
    """Raised when the path of a reference is not in the future's value."""


class UnfitValue(ReferenceProblem):
    """Raised when a future's value does not fit the parameter that refers to it."""


class InvalidControlCall(AsyncFCError):
    """Raised when the arguments of `await_future` or `cancel_future` do not fit."""


class ToolStopped(AsyncFCError):
    """Raised inside a running tool's trace when the runtime ends the tool."""


class ToolCancelled(ToolStopped):
    """Raised when a running tool is cancelled."""


class ToolTimeout(ToolStopped):
    """Raised when a running tool exceeds its timeout."""


class InvalidTransition(AsyncFCError):
    """Raised when a future is moved to a state that its present state does not lead to."""
