from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    messages_to_dict,
)

from langchain_asyncfc.estimate import Trace, TraceError, estimate, read_data, read_file
from langchain_asyncfc.timeline.saved import to_json
from langchain_asyncfc.timeline.spans import RunRecord
from tests.unit.estimate.traces import (
    DATA,
    OPENAI_HISTORY,
    TIMINGS,
    ai,
    generated,
    run,
    two_searches,
)

HISTORY: list[BaseMessage] = [
    HumanMessage("go"),
    AIMessage("", tool_calls=[{"name": "search", "args": {"q": "x"}, "id": "a"}]),
    ToolMessage("one", tool_call_id="a"),
    AIMessage("", tool_calls=[{"name": "search", "args": {"q": "y"}, "id": "b"}]),
    ToolMessage("two", tool_call_id="b"),
    AIMessage("done"),
]


def check_two_searches(record: RunRecord) -> None:
    """The record is that of two searches of two seconds, one after another."""
    assert [(r.start, r.end, r.calls) for r in record.replies] == [
        (0, 1, ("a",)),
        (3, 4, ("b",)),
        (6, 7, ()),
    ]
    spans = [(t.call, t.tool, t.issued, t.start, t.end) for t in record.tools]
    assert spans == [("a", "search", 1, 1, 3), ("b", "search", 4, 4, 6)]
    assert [dict(t.args) for t in record.tools] == [{"q": "x"}, {"q": "y"}]
    assert [t.result for t in record.tools] == ["one", "two"]
    assert record.end == 7


def only(traces: list[Trace]) -> Trace:
    [trace] = traces
    return trace


def test_runs_side_by_side_in_each_wrapping() -> None:
    """A list of runs, an object with `runs`, and runs in any order are one trace."""
    for data in (two_searches(), {"runs": two_searches()}, two_searches()[::-1]):
        check_two_searches(only(read_data(data)).record)


def test_json_lines(tmp_path: Path) -> None:
    """One run a line, with empty lines in between and a byte order mark."""
    path = tmp_path / "runs.jsonl"
    path.write_text("\ufeff" + "\n\n".join(map(json.dumps, two_searches())) + "\n")
    check_two_searches(only(read_file(path)).record)


def test_runs_inside_each_other() -> None:
    """A root run with `child_runs`, as `read_run(..., load_child_runs=True)` gives it."""
    root, *rest = two_searches()
    bare = [{k: v for k, v in r.items() if k not in ("parent_run_id", "trace_id")} for r in rest]
    check_two_searches(only(read_data({**root, "child_runs": bare})).record)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda message: {"generations": [{"message": message}]},
        lambda message: {"choices": [{"message": message}]},
        lambda message: {"output": message},
        lambda message: {"messages": [message]},
        lambda message: message,
    ],
)
def test_replies_wherever_they_stand_in_the_outputs(wrap: Any) -> None:
    """LangChain's old and new forms, OpenAI's own, and a bare message."""
    runs = two_searches()
    for item in runs:
        if item["run_type"] == "llm":
            item["outputs"] = wrap(item["outputs"]["generations"][0][0]["message"])
    check_two_searches(only(read_data(runs)).record)


def test_tool_runs_are_matched_by_the_calls_id() -> None:
    """Two calls of one message that end in the other order keep their own times."""
    calls = ai("", ("a", "search", {"q": "x"}), ("b", "search", {"q": "y"}))
    result = {"type": "tool", "content": "r", "tool_call_id": "b", "status": "error"}
    runs = [
        run("llm", "m", 0, 1, outputs=generated(calls)),
        run("tool", "search", 1, 2, outputs={"output": result}),
        run("tool", "search", 1.5, 9, outputs={"output": {**result, "tool_call_id": "a"}}),
    ]
    record = only(read_data(runs)).record
    assert [(t.call, t.start, t.end, t.state) for t in record.tools] == [
        ("a", 1.5, 9, "failed"),
        ("b", 1, 2, "failed"),
    ]


def test_what_runs_inside_a_tool_belongs_to_it() -> None:
    """The model and tools of a subagent are no replies and calls of their own."""
    inner = run("llm", "m", 1.2, 2, outputs=generated(ai("", ("z", "search", {}))))
    inner["parent_run_id"] = "tool-1"
    trace = only(read_data([*two_searches(), inner]))
    check_two_searches(trace.record)
    assert "1 runs inside tools are part of those tools." in trace.notes


def test_several_traces_in_one_file() -> None:
    """Each is read; one that cannot be is named in the notes."""
    other = [{**r, "trace_id": "t2", "id": f"2{r['id']}"} for r in two_searches()]
    bad = run("llm", "m", 0, 1, trace_id="t3", outputs=generated(ai("hello")))
    traces = read_data([*two_searches(), *other, bad])
    assert [t.record.name for t in traces] == ["t1", "t2"]
    assert "t3: its model called no tool" in traces[0].notes[-1]


def test_runs_as_the_langsmith_command_exports_them() -> None:
    """Their id is called `run_id`; what ran inside a tool is found all the same."""
    inner = run("llm", "m", 1.2, 2, outputs=generated(ai("", ("z", "search", {}))))
    inner["parent_run_id"] = "tool-1"
    runs = [{"run_id": r.pop("id"), **r} for r in (*two_searches(), inner)]
    runs[1]["token_usage"] = {"completion_tokens": 30}
    trace = only(read_data(runs))
    check_two_searches(trace.record)
    assert trace.record.replies[0].output_tokens == 30


def test_models_that_number_their_calls_anew_in_each_message() -> None:
    """Two calls of one id, in two messages, are two calls with results of their own."""
    runs = json.loads(json.dumps(two_searches()).replace('"id": "b"', '"id": "a"'))
    history = json.loads(json.dumps(OPENAI_HISTORY).replace('"b"', '"a"'))
    for data in (runs, {"messages": history, "timings": TIMINGS}):
        trace = only(read_data(data))
        assert [(t.start, t.end, t.result) for t in trace.record.tools] == [
            (1, 3, "one"),
            (4, 6, "two"),
        ]
        assert [r.calls for r in trace.record.replies] == [("a",), ("a (2)",), ()]
        assert estimate([trace]).before == pytest.approx(7)


def test_a_tool_with_another_clock() -> None:
    """A run that begins before its call is taken to last as long; nothing is made of its clock."""
    runs = two_searches()
    runs[2] = run("tool", "search", -4, -2, inputs={"q": "x"}, outputs={"output": "one"})
    trace = only(read_data(runs))
    check_two_searches(trace.record)
    assert any("1 tool runs began before the message" in note for note in trace.notes)


def test_a_run_that_ends_before_it_starts() -> None:
    """It is left out, and its time counts as time between replies."""
    runs = two_searches()
    runs[2]["start_time"], runs[2]["end_time"] = runs[2]["end_time"], runs[2]["start_time"]
    trace = only(read_data(runs))
    assert [t.call for t in trace.record.tools] == ["b"]
    assert estimate([trace]).before == pytest.approx(7)
    assert any("without an end after it" in note for note in trace.notes)


def test_a_run_that_was_exported_twice() -> None:
    """Once before it had ended: the one that has an end counts, in either order."""
    runs = two_searches()
    pending = {**runs[2], "end_time": None, "outputs": None}
    for data in ([*runs, pending], [pending, *runs]):
        check_two_searches(only(read_data(data)).record)


def test_encodings_and_ends_of_lines(tmp_path: Path) -> None:
    """What Windows' shell writes, and characters that Python takes for ends of lines."""
    path = tmp_path / "runs.jsonl"
    path.write_bytes("\r\n".join(map(json.dumps, two_searches())).encode("utf-16"))
    check_two_searches(only(read_file(path)).record)
    lines = [json.dumps({**r, "tags": ["\u2028\x85"]}, ensure_ascii=False) for r in two_searches()]
    path.write_text("\n".join(lines), encoding="utf-8")
    check_two_searches(only(read_file(path)).record)


@pytest.mark.parametrize(
    "value", [10**400, 1e300, -1e300, "0001-01-01T00:00:00Z"], ids=["integer", "e", "-e", "year"]
)
@pytest.mark.parametrize("field", ["start_time", "end_time"])
def test_moments_that_are_none(field: str, value: Any) -> None:
    """Numbers beyond all calendars, and how some programs write that nothing was yet."""
    runs = two_searches()
    runs[2][field] = value
    assert [t.call for t in only(read_data(runs)).record.tools] == ["b"]


def test_what_was_left_out_is_said() -> None:
    """Runs without an end, calls without a tool run, and tool runs without a call."""
    runs = two_searches()
    runs[4]["end_time"] = None
    runs.append(run("tool", "other", 1, 2, id="other"))
    trace = only(read_data(runs))
    assert [t.call for t in trace.record.tools] == ["a"]
    assert any("1 runs without a start, or without an end" in note for note in trace.notes)
    assert any("1 calls of search without a tool run" in note for note in trace.notes)
    assert any("no message called were left out: other" in note for note in trace.notes)


def test_a_trace_as_langchains_tracer_writes_it() -> None:
    """A trace of a real graph: three replies, two tools, ids, times and tokens."""
    record = only(read_file(DATA / "langsmith_runs.json")).record
    assert [r.output_tokens for r in record.replies] == [30, 30, 1]
    assert [(t.tool, dict(t.args), t.result) for t in record.tools] == [
        ("look_up", {"key": "k0"}, "value of k0"),
        ("look_up", {"key": "k1"}, "value of k1"),
    ]
    assert all(0.05 < t.end - t.start < 0.08 for t in record.tools)


@pytest.mark.parametrize(
    "messages",
    [
        OPENAI_HISTORY,
        messages_to_dict(HISTORY),
        [dumpd(message) for message in HISTORY],
        [message.model_dump() for message in HISTORY],
    ],
    ids=["openai", "messages_to_dict", "dumpd", "model_dump"],
)
def test_histories_with_timings_beside_them(messages: list[Any]) -> None:
    """Each way of saving messages, also as the state of a thread."""
    data = {"messages": messages, "timings": TIMINGS}
    for saved in (data, {"values": data}, json.loads(json.dumps(data, default=str))):
        trace = only(read_data(saved))
        check_two_searches(trace.record)
        assert trace.asked[0].strip() == "go"


def test_histories_that_carry_their_times() -> None:
    """Only when each message was complete: replies and tools begin where the one before ended."""
    ends = [0, 1, 3, 4, 6, 7]
    plain = [
        {**m, "created_at": f"2026-01-01T00:00:0{end}Z"}
        for m, end in zip(OPENAI_HISTORY, ends, strict=True)
    ]
    inside = [
        message.model_copy(
            update={"response_metadata": {"created_at": 1_760_000_000_000 + 1000 * e}}
        )
        for message, e in zip(HISTORY, ends, strict=True)
    ]
    for messages in (plain, messages_to_dict(inside)):
        trace = only(read_data(messages))
        check_two_searches(trace.record)
        assert any("have no start of their own" in note for note in trace.notes)


def test_anthropics_own_messages() -> None:
    """Calls and results as content blocks, several results in one user message."""
    use = {"type": "tool_use", "id": "a", "name": "search", "input": {"q": "x"}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "one"}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [use], "start": 0, "end": 1},
        {"role": "user", "content": [result], "start": 1, "end": 3},
        {"role": "assistant", "content": "done", "start": 3, "end": 4},
    ]
    record = only(read_data(messages)).record
    assert [(t.call, t.start, t.end, t.result) for t in record.tools] == [("a", 1, 3, "one")]


def test_saved_timelines() -> None:
    """What `to_json` wrote, one of them or several."""
    record = only(read_data(two_searches())).record
    saved = json.loads(to_json(record))
    assert only(read_data(saved)).record == record
    assert [t.record for t in read_data([saved, saved])] == [record, record]


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"  \n", "the file is empty"),
    "gzip": (b"\x1f\x8b\x08\x00", "packed by gzip; unpack it"),
    "runs without outputs": (
        json.dumps([{**r, "outputs": None} for r in two_searches()]).encode(),
        "no outputs",
    ),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\xff", "no text in UTF-8"),
    "text": (b"hello", "this is no JSON"),
    "csv": (b"id,name\n1,x\n", "this is no JSON"),
    "number": (b"7", "JSON, but only a int"),
    "empty list": (b"[]", "an empty list"),
    "list of numbers": (b"[1, 2]", "a list of int"),
    "other object": (b'{"a": 1}', "a JSON object with 'a', but no trace"),
    "no runs": (b'{"runs": []}', "the export found nothing"),
    "deep": (b"[" * 100_000, "nested too deep|this is no JSON"),
    "cut off": (b'{"run_type": "llm"}\n{"run_ty', "line 2 is no JSON"),
    "root only": (
        json.dumps(two_searches()[:1]).encode(),
        "no run of a model .*list_runs",
    ),
    "no tool calls": (
        json.dumps([run("llm", "m", 0, 1, outputs=generated(ai("hi")))]).encode(),
        "called no tool",
    ),
    "no tool runs": (
        json.dumps([r for r in two_searches() if r["run_type"] != "tool"]).encode(),
        "have no tool runs",
    ),
    "no times": (
        json.dumps([{**r, "start_time": None} for r in two_searches()]).encode(),
        "none of its model and tool runs has both",
    ),
    "several agents": (
        json.dumps(
            [run("llm", "m", 0.5, 2, outputs=generated(ai("", ("c", "x", {})))), *two_searches()]
        ).encode(),
        "several agents run at once",
    ),
    "history without times": (json.dumps(OPENAI_HISTORY).encode(), "have no timings. Save"),
    "history without calls": (b'[{"role": "user", "content": "x"}]', "call no tool"),
    "wrong timings": (
        json.dumps({"messages": OPENAI_HISTORY, "timings": [1]}).encode(),
        "one entry for each of 6 messages",
    ),
    "no message": (json.dumps([*OPENAI_HISTORY, {"x": 1}]).encode(), "message 6 is none"),
    "saved timeline": (
        b'{"format": "langchain_asyncfc.timeline/1", "replies": 3}',
        "wrong at 'replies'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_trace(case: str, tmp_path: Path) -> None:
    """The error names the file, says what is wrong, and nothing else is raised."""
    content, expected = WRONG[case]
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=f"(?s)^{path}: .*({expected})"):
        read_file(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A missing file and a folder."""
    with pytest.raises(TraceError, match="no such file"):
        read_file(tmp_path / "none.json")
    with pytest.raises(TraceError, match="this is a folder"):
        read_file(tmp_path)


JUNK = [
    None,
    True,
    0,
    -1.5,
    1e308,
    10**400,
    "",
    "x",
    [],
    [None],
    {},
    {"type": "ai"},
    "2026-01-01",
    [[]],
]


def _places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(data, dict | list):
        for key, inner in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _places(inner, (*path, key))


def _changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(data)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    "data",
    [
        two_searches(),
        json.loads((DATA / "langsmith_runs.json").read_text()),
        {"messages": OPENAI_HISTORY, "timings": TIMINGS},
        {"messages": json.loads(json.dumps(messages_to_dict(HISTORY))), "timings": TIMINGS},
        json.loads(to_json(read_data(two_searches())[0].record)),
    ],
    ids=["runs", "tracer", "openai", "langchain", "timeline"],
)
def test_a_trace_with_something_wrong_in_it(data: Any) -> None:
    """Whatever stands wherever: it is read and estimated, or a `TraceError` says what is wrong."""
    draw = random.Random(5)
    places = [path for path in _places(data) if path]
    for path in draw.sample(places, min(120, len(places))):
        broken = _changed(data, path, draw.choice(JUNK))
        with suppress(TraceError):
            assert estimate(read_data(broken)).before >= 0
