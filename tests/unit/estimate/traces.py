"""Small traces in the forms in which they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "data" / "estimate"
BEGIN = 1_760_000_000.0


def iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(BEGIN + seconds, UTC).replace(tzinfo=None).isoformat()


def run(kind: str, name: str, start: float, end: float | None, **more: Any) -> dict[str, Any]:
    """A run of LangSmith, as `Run.model_dump(mode="json")` has it."""
    return {
        "id": f"{kind}-{start}",
        "name": name,
        "run_type": kind,
        "start_time": iso(start),
        "end_time": None if end is None else iso(end),
        "trace_id": "t1",
        "parent_run_id": "root",
        "inputs": {},
        "outputs": None,
        "error": None,
        **more,
    }


def ai(text: str = "", *calls: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """An assistant's message as `dumpd` writes it."""
    made = [{"name": n, "args": a, "id": i, "type": "tool_call"} for i, n, a in calls]
    kwargs = {"content": text, "type": "ai", "tool_calls": made}
    path = ["langchain", "schema", "messages", "AIMessage"]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": kwargs}


def generated(message: dict[str, Any]) -> dict[str, Any]:
    return {"generations": [[{"text": "", "type": "ChatGeneration", "message": message}]]}


def two_searches(**more: Any) -> list[dict[str, Any]]:
    """Two searches of 2 s, one after another, and an answer: 1 s a message, 7 s in all."""
    return [
        run("chain", "agent", 0, 7, id="root", parent_run_id=None),
        run("llm", "ChatOpenAI", 0, 1, outputs=generated(ai("", ("a", "search", {"q": "x"})))),
        run("tool", "search", 1, 3, inputs={"input": "{'q': 'x'}"}, outputs={"output": "one"}),
        run("llm", "ChatOpenAI", 3, 4, outputs=generated(ai("", ("b", "search", {"q": "y"})))),
        run("tool", "search", 4, 6, inputs={"q": "y"}, outputs={"output": "two"}),
        run("llm", "ChatOpenAI", 6, 7, outputs=generated(ai("done"))),
    ]


OPENAI_HISTORY = [
    {"role": "user", "content": "go"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "search", "arguments": '{"q": "x"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": "one"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "b",
                "type": "function",
                "function": {"name": "search", "arguments": '{"q": "y"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "b", "content": "two"},
    {"role": "assistant", "content": "done"},
]
TIMINGS = [
    None,
    {"start": 0, "end": 1},
    {"start": 1, "end": 3},
    {"start": 3, "end": 4},
    {"start": 4, "end": 6},
    {"start": 6, "end": 7},
]
