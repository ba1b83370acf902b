"""Random records of runs, as a loop of a model and its tools makes them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait

TIMES = st.integers(0, 50).map(lambda n: n / 10)


@st.composite
def loops(draw: Any) -> RunRecord:
    """One agent's run: replies one after another, tools at any time after the reply."""
    replies: list[Reply] = []
    tools: list[ToolRun] = []
    now = 0.0
    for _ in range(draw(st.integers(1, 6))):
        start = now + draw(TIMES)
        now = start + draw(TIMES)
        names = draw(st.lists(st.sampled_from(["search", "read", "await_future"]), max_size=4))
        calls = [f"c{len(replies)}.{n}" for n in range(len(names))]
        replies.append(Reply(start, now, calls=tuple(calls), tools=tuple(names)))
        for call, name in zip(calls, names, strict=True):
            if name == "await_future":
                continue
            began = now + draw(TIMES)
            after = draw(st.sampled_from(tools)).call if tools and draw(st.booleans()) else ""
            waits = (Wait(now, began, "reference", after),) if began > now else ()
            tools.append(
                ToolRun(call, name, now, began, began + draw(TIMES), future=call, waits=waits)
            )
    told = [_told(tool, replies) for tool in tools]
    end = max([now, *(tool.end for tool in tools)]) + draw(TIMES)
    return RunRecord(tuple(replies), tuple(told), end)


def _told(tool: ToolRun, replies: list[Reply]) -> ToolRun:
    after = next((reply.start for reply in replies if reply.start >= tool.end), None)
    values = {name: getattr(tool, name) for name in ToolRun.__slots__}
    return ToolRun(**{**values, "delivered": after})
