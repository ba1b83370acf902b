"""What overlapped with what, as numbers and as a picture."""

from __future__ import annotations

from langchain_asyncfc.timeline.figures import Figures, figures_of
from langchain_asyncfc.timeline.handler import Timeline
from langchain_asyncfc.timeline.saved import from_json, to_json
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait

__all__ = [
    "Figures",
    "Reply",
    "RunRecord",
    "Timeline",
    "ToolRun",
    "Wait",
    "figures_of",
    "from_json",
    "to_json",
]
