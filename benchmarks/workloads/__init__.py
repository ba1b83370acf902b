"""The tasks that the end-to-end benchmark plays: calls, where their values come from, and tools."""
