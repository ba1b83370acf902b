"""LangSmith's runs: what `Client.list_runs` gives, and what its pages and webhooks export.

A run is a span: `run_type` says whether the model (`llm`) or a tool ran, `start_time` and
`end_time` when. Runs of a trace stand side by side, named by `trace_id`, or inside each other as
`child_runs`. What runs below a tool belongs to that tool. Before langchain-core 1.3 a tool's
inputs were one text (langchain pull request 37108), and its output may be text as well. The
command `langsmith` exports JSON lines in which the id is called `run_id`.

Source: `langsmith.schemas.Run`; `internal/extract/extract.go` of langsmith-cli.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_asyncfc.estimate.reading.messages import (
    Called,
    Message,
    as_text,
    looks_like_message,
    read_arguments,
    read_message,
    unused,
)
from langchain_asyncfc.estimate.reading.moments import seconds_of
from langchain_asyncfc.estimate.traces import Trace, TraceError
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun

__all__ = ["looks_like_run", "read_runs"]

_MODELS: Final = ("llm", "chat_model")
_LATE: Final = 0.001
"""Seconds that two replies may overlap: clocks of two processes differ."""


def looks_like_run(data: Any) -> bool:
    """Whether something saved is one run."""
    return isinstance(data, Mapping) and "run_type" in data


@dataclass(frozen=True, slots=True)
class _Run:
    """One run, with its times in seconds."""

    id: str
    kind: str
    name: str
    start: float | None
    end: float | None
    above: tuple[str, ...]
    trace: str
    data: Mapping[str, Any]


def read_runs(data: Sequence[Any]) -> list[Trace]:
    """Read exported runs: one trace for each that calls tools.

    Raises:
        TraceError: When no trace can be estimated; says what is missing.
    """
    runs: dict[str, _Run] = {}
    for run in (run for item in data for run in _flat(item, ())):
        if run.id not in runs or run.end is not None:  # exported again when it had ended
            runs[run.id] = run
    by_trace: dict[str, list[_Run]] = {}
    for run in runs.values():
        by_trace.setdefault(run.trace, []).append(run)
    traces: list[Trace] = []
    problems: list[str] = []
    for name, group in by_trace.items():
        try:
            traces.append(_trace(name, group))
        except TraceError as error:
            problems.append(f"trace {name}: {error}")
    if not traces:
        raise TraceError("; ".join(problems[:3]) or "there is no run in it.")
    if problems:
        left = f"{len(problems)} traces were left out: {'; '.join(problems[:3])}"
        traces[0] = Trace(traces[0].record, traces[0].asked, (*traces[0].notes, left))
    return traces


def _flat(data: Any, above: tuple[str, ...]) -> Iterator[_Run]:
    """A run and all inside it, parents first."""
    stack: list[tuple[Any, tuple[str, ...]]] = [(data, above)]
    while stack:
        item, over = stack.pop()
        if not looks_like_run(item):
            continue
        own = str(item.get("id") or item.get("run_id") or id(item))
        way = [part.partition("Z")[2] for part in str(item.get("dotted_order") or "").split(".")]
        parents = item.get("parent_run_ids")
        named = [str(i) for i in (parents if isinstance(parents, list) else []) if i]
        parent = [str(item["parent_run_id"])] if item.get("parent_run_id") else []
        ancestors = tuple(dict.fromkeys([*over, *way[:-1], *named, *parent]))
        trace = item.get("trace_id") or next(iter(ancestors), own)
        yield _Run(
            own,
            str(item.get("run_type")),
            str(item.get("name") or ""),
            seconds_of(item.get("start_time")),
            seconds_of(item.get("end_time")),
            ancestors,
            str(trace),
            item,
        )
        children = item.get("child_runs")
        stack += [(c, (*over, own)) for c in (children if isinstance(children, list) else [])]


def _below_tools(runs: Sequence[_Run]) -> set[str]:
    """The ids of runs that belong to a tool's run."""
    tools = {run.id for run in runs if run.kind == "tool"}
    above = {run.id: run.above for run in runs}
    found = set()
    for run in runs:
        stack, passed = list(run.above), set[str]()
        while stack:
            one = stack.pop()
            if one not in passed:
                passed.add(one)
                stack.extend(above.get(one, ()))
        if passed & tools:
            found.add(run.id)
    return found


def _trace(name: str, group: Sequence[_Run]) -> Trace:
    inner = _below_tools(group)
    outer = [run for run in group if run.id not in inner]
    spans = [run for run in outer if run.kind in (*_MODELS, "tool")]
    timed = [run for run in spans if _is_timed(run)]
    notes: list[str] = []
    if not any(run.kind in _MODELS for run in spans):
        raise TraceError(
            "it has no run of a model (run_type 'llm'). Export all runs of the trace, not only "
            "its root: Client().list_runs(trace_id=...)."
        )
    if not timed:
        raise TraceError(
            "none of its model and tool runs has both start_time and, not before it, end_time."
        )
    if not any(run.data.get("outputs") for run in spans if run.kind in _MODELS):
        raise TraceError(
            "its model runs have no outputs, so it is not known what they called. Export the runs "
            "with their inputs and outputs."
        )
    if len(timed) < len(spans):
        notes.append(
            f"{len(spans) - len(timed)} runs without a start, or without an end after it, were "
            "left out."
        )
    if inner:
        notes.append(f"{len(inner)} runs inside tools are part of those tools.")
    models, more = _chain([run for run in timed if run.kind in _MODELS])
    notes += more
    # The clocks of tools may be others, and those that no message called do not count.
    known = [run for run in outer if _is_timed(run) and run.kind != "tool"]
    base = min(run.start or 0.0 for run in known)
    tools = [run for run in timed if run.kind == "tool"]
    record, asked, left = _record(name, base, models, tools)
    end = max((run.end or 0.0) - base for run in known)
    record = RunRecord(record.replies, record.tools, max(end, record.end), record.name)
    return Trace(record, asked, (*notes, *left))


def _is_timed(run: _Run) -> bool:
    """Whether it is known when the run started and when it ended."""
    return run.start is not None and run.end is not None and run.end >= run.start


def _chain(models: Sequence[_Run]) -> tuple[list[tuple[_Run, Message]], list[str]]:
    """The replies that follow one another; a call without tool calls in between is no reply."""
    read = [(run, _reply_of(run)) for run in sorted(models, key=lambda run: run.start or 0.0)]
    last_call = max((i for i, (_, message) in enumerate(read) if message.calls), default=-1)
    if last_call < 0:
        raise TraceError(
            "its model called no tool, so there is nothing that could run in the background."
        )
    kept = [pair for i, pair in enumerate(read) if pair[1].calls or i > last_call]
    answers = [pair for pair in kept if not pair[1].calls]
    kept = [pair for pair in kept if pair[1].calls] + answers[-1:]
    notes = []
    if len(kept) < len(read):
        notes.append(
            f"{len(read) - len(kept)} model runs without tool calls, before the last, are counted "
            "as time between replies."
        )
    for (one, _), (other, _) in itertools.pairwise(kept):
        if (one.end or 0.0) > (other.start or 0.0) + _LATE:
            raise TraceError(
                f"the model runs {one.id} and {other.id} overlap: several agents run at once. "
                "Export the runs below one of them (Client().read_run(id, load_child_runs=True))."
            )
    return kept, notes


def _record(
    name: str, base: float, models: Sequence[tuple[_Run, Message]], tools: Sequence[_Run]
) -> tuple[RunRecord, dict[int, str], list[str]]:
    replies: list[Reply] = []
    asked: dict[int, str] = {}
    found: list[ToolRun] = []
    free = sorted(tools, key=lambda run: run.start or 0.0)
    missing: dict[str, int] = {}
    used: set[str] = set()
    early = 0
    for index, (run, message) in enumerate(models):
        start, end = (run.start or 0.0) - base, (run.end or 0.0) - base
        asked[index] = _asked(run)
        until = models[index + 1][0].start if index + 1 < len(models) else None
        calls = []
        for called in message.calls:
            own = unused(called.id, used)
            calls.append(own)
            match = _match(called, free, (run.end or 0.0) - _LATE, until)
            if match is None:
                missing[called.tool] = missing.get(called.tool, 0) + 1
                continue
            free.remove(match)
            early += (match.start or 0.0) - base < end - _LATE
            found.append(_tool_run(own, called, match, end, base))
        first = _first_token(run)
        replies.append(
            Reply(
                start,
                end,
                message.model or run.name,
                tuple(calls),
                first - base if first is not None else None,
                None,
                _output_tokens(run, message),
                message.text,
            )
        )
    if not found:
        raise TraceError(
            "the calls of its model have no tool runs (run_type 'tool'), so how long the tools "
            "took is not known. Export all runs of the trace: Client().list_runs(trace_id=...)."
        )
    notes = [
        f"{n} calls of {tool} without a tool run were left out." for tool, n in missing.items()
    ]
    if early:
        notes.append(
            f"{early} tool runs began before the message that called them was complete, as if by "
            "another clock: they are taken to begin right after it, and to last as long."
        )
    if free:
        names = ", ".join(sorted({run.name for run in free}))
        notes.append(f"{len(free)} tool runs that no message called were left out: {names}.")
    end = max([*(r.end for r in replies), *(t.end for t in found)])
    return RunRecord(tuple(replies), tuple(found), end, name), asked, notes


def _match(called: Called, free: Sequence[_Run], after: float, until: float | None) -> _Run | None:
    """The tool run of a call: by the call's id, else by name and arguments, else by name.

    Where several would do, it is the first that began after the message. By its name alone it
    must have begun before the next message.
    """
    named = [run for run in free if _call_id(run) == called.id]
    unnamed = [run for run in free if run.name == called.tool and not _call_id(run)]
    same = [run for run in unnamed if _inputs(run) == called.args]
    later = [run for run in unnamed if after <= (run.start or 0.0) < (until or math.inf)]
    ranked = [*sorted(named or same, key=lambda run: (run.start or 0.0) < after), *later]
    return next(iter(ranked), None)


def _call_id(run: _Run) -> str:
    for place in (_result(run), run.data.get("inputs"), _metadata(run)):
        if isinstance(place, Mapping):
            kwargs = place.get("kwargs")
            inner = kwargs if isinstance(kwargs, Mapping) else place
            if inner.get("tool_call_id"):
                return str(inner["tool_call_id"])
    inputs = run.data.get("inputs")
    if isinstance(inputs, Mapping) and inputs.get("type") == "tool_call":
        return str(inputs.get("id") or "")
    return ""


def _metadata(run: _Run) -> Any:
    extra = run.data.get("extra")
    return extra.get("metadata") if isinstance(extra, Mapping) else None


def _inputs(run: _Run) -> dict[str, Any]:
    inputs = run.data.get("inputs")
    if isinstance(inputs, Mapping) and inputs.get("type") == "tool_call":
        return read_arguments(inputs.get("args"))
    if isinstance(inputs, Mapping) and set(inputs) == {"input"}:
        return read_arguments(inputs["input"])
    return read_arguments(inputs)


def _result(run: _Run) -> Any:
    outputs = run.data.get("outputs")
    if isinstance(outputs, Mapping) and "output" in outputs:
        return outputs["output"]
    return outputs


def _tool_run(call: str, called: Called, run: _Run, issued: float, base: float) -> ToolRun:
    result = _result(run)
    message = read_message(result)
    error = run.data.get("error")
    failed = bool(error) or (message is not None and message.failed)
    text = message.text if message is not None else as_text(result)
    start = max((run.start or 0.0) - base, issued)
    end = start + (run.end or 0.0) - (run.start or 0.0)
    return ToolRun(
        call,
        called.tool,
        issued,
        start,
        end,
        called.args or _inputs(run),
        state="failed" if failed else "resolved",
        result=str(error) if error and not text else text,
    )


def _reply_of(run: _Run) -> Message:
    """The message that a model run gave, wherever it stands in its outputs."""
    outputs: Any = run.data.get("outputs")
    stack = [outputs]
    while stack:
        item = stack.pop()
        message = read_message(item)
        if message is not None and message.role == "ai":
            return message
        if isinstance(item, list) and item:
            stack.append(item[-1] if looks_like_message(item[-1]) else item[0])
        elif isinstance(item, Mapping):
            keys = ("generations", "choices", "messages", "output", "message")
            stack += [item[key] for key in reversed(keys) if key in item]
    return Message("ai", as_text(outputs) if outputs else "")


def _asked(run: _Run) -> str:
    """What users and the system said in the messages that a model was sent."""
    inputs = run.data.get("inputs")
    sent = inputs.get("messages") if isinstance(inputs, Mapping) else None
    if isinstance(sent, list) and len(sent) == 1 and isinstance(sent[0], list):
        sent = sent[0]
    read = [read_message(item) for item in (sent if isinstance(sent, list) else [])]
    return "\n".join(m.text for m in read if m is not None and m.role in ("human", "system"))


def _first_token(run: _Run) -> float | None:
    events = run.data.get("events")
    moments = [run.data.get("first_token_time")] + [
        event.get("time")
        for event in (events if isinstance(events, list) else [])
        if isinstance(event, Mapping) and event.get("name") == "new_token"
    ]
    first = next((s for s in map(seconds_of, moments) if s is not None), None)
    if first is None or not (run.start or 0.0) <= first <= (run.end or 0.0):
        return None
    return first


def _output_tokens(run: _Run, message: Message) -> int | None:
    outputs = run.data.get("outputs")
    llm = outputs.get("llm_output") if isinstance(outputs, Mapping) else None
    usage = llm.get("token_usage") if isinstance(llm, Mapping) else None
    places = [
        run.data,
        *(u for u in (usage, run.data.get("token_usage")) if isinstance(u, Mapping)),
    ]
    found = [message.output_tokens, *(place.get("completion_tokens") for place in places)]
    return next((n for n in found if isinstance(n, int) and n > 0), None)
