"""A labelling aid: lists tools with their effects, and warns of the usual mistakes.

From a shell, `python -m langchain_asyncfc.effects_audit module:tools`; from Python, `audit`.
"""

from __future__ import annotations

from langchain_asyncfc.effects_audit.auditing import Audit, audit
from langchain_asyncfc.effects_audit.findings import CODES, Finding, Level
from langchain_asyncfc.effects_audit.meeting import Meeting
from langchain_asyncfc.effects_audit.surveys import Survey

__all__ = ["CODES", "Audit", "Finding", "Level", "Meeting", "Survey", "audit"]
