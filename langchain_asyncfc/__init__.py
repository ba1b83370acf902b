"""Run an agent's tools in the background while its model goes on.

The public names; everything else may change between versions.
"""

from langchain_asyncfc.effects import Effects, effects
from langchain_asyncfc.placeholders import asyncfc_instructions
from langchain_asyncfc.tool_node import AsyncFCToolNode, tools_condition

__all__ = ["AsyncFCToolNode", "Effects", "asyncfc_instructions", "effects", "tools_condition"]
