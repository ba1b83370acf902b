"""Run an agent's tools in the background while its model goes on.

The public names; everything else may change between versions.
"""

from typing import TYPE_CHECKING, Any

from langchain_asyncfc.effects import Effects, effects
from langchain_asyncfc.native import native_history
from langchain_asyncfc.placeholders import asyncfc_instructions
from langchain_asyncfc.tool_node import AsyncFCToolNode, tools_condition

if TYPE_CHECKING:
    from langchain_asyncfc.middleware import AsyncFCMiddleware

__all__ = [
    "AsyncFCMiddleware",
    "AsyncFCToolNode",
    "Effects",
    "asyncfc_instructions",
    "effects",
    "native_history",
    "tools_condition",
]


def __getattr__(name: str) -> Any:
    """Import the middleware when it is asked for: it needs the package `langchain`."""
    if name != "AsyncFCMiddleware":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        from langchain_asyncfc.middleware import AsyncFCMiddleware  # noqa: PLC0415 - see above
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] != "langchain":
            raise
        msg = (
            "AsyncFCMiddleware needs the package langchain, version 1.4.6 or newer: "
            "pip install 'langchain-asyncfc[langchain]'."
        )
        raise ImportError(msg) from error
    return AsyncFCMiddleware
