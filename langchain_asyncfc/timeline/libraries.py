"""The libraries that draw: an extra, and where it is missing, the error says what to install."""

from __future__ import annotations

from typing import Final

try:
    import altair as alt
    import vl_convert
except ImportError as _error:
    _MESSAGE = (
        "The picture of a timeline needs Altair and vl-convert: "
        "pip install 'langchain-asyncfc[viz]'. Its numbers, and to_chrome_trace, do not."
    )
    raise ImportError(_MESSAGE) from _error

__all__ = ["VERSION", "alt", "vl_convert"]

VERSION: Final = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite for which Altair writes, as vl-convert names it."""
