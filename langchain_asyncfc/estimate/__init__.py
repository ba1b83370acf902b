"""How much time AsyncFC would save on a run that was measured.

    python -m langchain_asyncfc.estimate trace.json --tools my_agent.tools:tools

A trace is read (`reading`), told as a story of replies and calls (`story`), searched for what the
model needed of results (`dataflow`), and told again under other rules in virtual time
(`simulation`): without labels, with those given, and with the most that labels could give. Which
tools deserve labels is found by trying (`advice`).
"""

from __future__ import annotations

from langchain_asyncfc.estimate.estimates import Estimate, Range, RunEstimate, estimate
from langchain_asyncfc.estimate.reading import read_data, read_file
from langchain_asyncfc.estimate.report import as_json, as_text
from langchain_asyncfc.estimate.traces import Trace, TraceError

__all__ = [
    "Estimate",
    "Range",
    "RunEstimate",
    "Trace",
    "TraceError",
    "as_json",
    "as_text",
    "estimate",
    "read_data",
    "read_file",
]
