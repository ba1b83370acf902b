"""Which span belongs to which: the reply that made a call, and the calls that a call waited for."""

from __future__ import annotations

from collections import defaultdict

from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait

__all__ = ["Links"]


class Links:
    """Finds in a record what spans name by id."""

    def __init__(self, record: RunRecord) -> None:
        self._makers = {call: reply for reply in record.replies for call in reply.calls}
        self._named: dict[str, list[ToolRun]] = defaultdict(list)
        for tool in record.tools:
            self._named[tool.call].append(tool)
            if tool.future and tool.future != tool.call:
                self._named[tool.future].append(tool)

    def maker(self, call: str) -> Reply | None:
        """The reply that made a call."""
        return self._makers.get(call)

    def waited_for(self, tool: ToolRun) -> list[tuple[Wait, ToolRun]]:
        """What a call waited for, as far as it was for other calls that ran.

        A future's id is unique in its thread, and a record may hold several: the same agent's
        call is taken that was issued last.
        """
        found = []
        for wait in tool.waits:
            earlier = self._earlier(wait.after, tool) if wait.after else None
            if earlier is not None:
                found.append((wait, earlier))
        return found

    def _earlier(self, name: str, tool: ToolRun) -> ToolRun | None:
        possible = [
            other
            for other in self._named.get(name, ())
            if other is not tool and (other.agent, other.within) == (tool.agent, tool.within)
        ]
        in_time = [other for other in possible if other.issued <= tool.issued]
        return max(in_time, key=lambda other: (other.issued, other.start), default=None)
