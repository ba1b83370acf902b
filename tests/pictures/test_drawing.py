"""Pictures of timelines: as images, as pages in a browser, in notebooks; ten thousand spans."""

from __future__ import annotations

import re
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_asyncfc.timeline import Reply, RunRecord, Timeline, ToolRun, Wait
from langchain_asyncfc.timeline.drawing import Look, chart
from langchain_asyncfc.timeline.images import _joined, _svg, image
from langchain_asyncfc.timeline.marks import marks_of
from langchain_asyncfc.timeline.pages import frame, page
from tests.pictures.conftest import DRAWN

HOSTILE = "</script><script>throw new Error('ran')</script><b>&\ud800 [[1]]"


def small_run(result: str = "found") -> RunRecord:
    """Two calls, of which the second waits for the first, and a failed one."""
    replies = (
        Reply(0, 1, "m", ("a", "b"), 0.4, 100, 20, tools=("search", "write")),
        Reply(1, 2, "m", ("c",), 1.4, 150, 20, tools=("search",)),
        Reply(5, 6, "m", (), 5.4, 200, 20, "the answer"),
    )
    waits = (Wait(1, 3, "RAW on fs:/src", "future_1"),)
    tools = (
        ToolRun("a", "search", 1, 1, 3, {"query": "x"}, "future_1", result=result, delivered=5),
        ToolRun("b", "write", 1, 3, 5, {}, "future_2", waits=waits, delivered=5),
        ToolRun("c", "search", 2, 2, 2, {}, "future_3", state="failed", delivered=5),
    )
    return RunRecord(replies, tools, 6, "small")


def large_run(spans: int) -> RunRecord:
    """A run of many spans: messages of nine calls, each of which takes five seconds or so."""
    replies, tools = [], []
    for n in range(spans // 10):
        calls = tuple(f"{n}.{k}" for k in range(9))
        replies.append(Reply(n, n + 1, "m", calls, n + 0.3, 10, 10, tools=("work",) * 9))
        for k, name in enumerate(calls):
            future, end = f"future_{9 * n + k + 1}", n + 2 + (n * 7 + k * 3) % 8
            args = {"path": f"/src/{name}.py", "text": "some text " * 5}
            waits = (Wait(n + 1, end - 0.9, "reference", "future_1"),) if k == 0 else ()
            start = end - 0.9 if waits else n + 1
            tools.append(
                ToolRun(name, f"tool_{k % 4}", n + 1, start, end, args, future, waits=waits)
            )
    return RunRecord(tuple(replies), tuple(tools), spans / 10 + 10, "large")


class Recorded(Timeline):
    """A timeline of a record that is there already."""

    def __init__(self, record: RunRecord) -> None:
        super().__init__()
        self._record = record

    def record(self) -> RunRecord:
        return self._record


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_an_image(tmp_path: Path) -> None:
    """A PNG is written, as large as it is asked for."""
    timeline = Recorded(small_run())
    timeline.to_png(tmp_path / "run.png", scale=1)
    width, height = _size((tmp_path / "run.png").read_bytes())
    assert width > 960
    assert 200 < height < 400
    assert _size(image(small_run(), scale=2)) == (2 * width, 2 * height)


def test_a_chart_is_altairs() -> None:
    """The chart can be gone on with: it is valid, and holds a row a mark."""
    spec = chart(small_run(), width=500).to_dict()
    assert spec["width"] == 500
    kinds = {row["kind"] for row in spec["datasets"]["asyncfc_bars"]}
    assert {"decoding", "tool running", "tool call waiting", "failed or cancelled"} <= kinds
    assert " ".join(spec["title"]["text"]).startswith(
        "small: 6.0 s; a synchronous run would have taken"
    )


def test_a_page_is_drawn_offline(tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    """Without a network the page draws its marks, and hovering over one tells of it."""
    Recorded(small_run()).to_html(tmp_path / "run.html")
    shown = opened(tmp_path / "run.html")
    canvas = shown.wait_for_selector("canvas")
    shown.evaluate(DRAWN)
    box = canvas.bounding_box()
    assert box["width"] > 1000
    told = ""
    for part in range(20, 60):  # down through the lanes, in the fourth second of six
        shown.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + box["height"] * part / 100)
        shown.wait_for_timeout(20)
        told += (
            shown.inner_text("#vg-tooltip-element")
            if shown.query_selector("#vg-tooltip-element")
            else ""
        )
    assert "future_2 (write)" in told
    assert "RAW on fs:/src after future_1" in told


def test_what_tools_return_does_not_run(tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    """A result that holds a script is shown, and nothing of it is run."""
    record = small_run(HOSTILE)
    (tmp_path / "run.html").write_text(page(record), encoding="utf-8")
    shown = opened(tmp_path / "run.html")
    shown.wait_for_selector("canvas")
    assert shown.title().startswith("small: ")


def test_in_a_notebook(tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    """What a notebook shows is a frame that holds all it needs."""
    shown = Recorded(small_run())._repr_html_()
    assert shown == frame(small_run())
    (tmp_path / "cell.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{shown}", "utf-8")
    inner = opened(tmp_path / "cell.html").frames[1]
    inner.wait_for_selector("canvas")


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_drawing_library(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Numbers are there, a notebook shows them, and the error says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    for module in ("libraries", "drawing", "pages", "images"):
        monkeypatch.delitem(sys.modules, f"langchain_asyncfc.timeline.{module}", raising=False)
    timeline = Recorded(small_run())
    with pytest.raises(ImportError, match=r"pip install 'langchain-asyncfc\[viz\]'"):
        timeline.chart()
    assert timeline._repr_html_().startswith("<pre>wall time")


def test_ten_thousand_spans_are_thinned() -> None:
    """Texts are short, and labels and arrows only as many as can be read."""
    marks = marks_of(large_run(10_000))
    assert len(marks.bars) >= 10_000
    assert len(marks.labels) <= 1000
    assert len(marks.arrows) <= 800
    assert max(len(bar["args"]) for bar in marks.bars if "args" in bar) <= 70


@pytest.mark.timeout(300)
def test_an_image_of_ten_thousand_spans() -> None:
    """What nobody could see in it is left out, so that it takes seconds and not minutes."""
    started = time.process_time()
    png = image(large_run(10_000), scale=1)
    assert time.process_time() - started < 30  # of this process alone, some six on a free machine
    assert _size(png)[0] > 960


def test_thinned_out_bars_cover_the_same_time() -> None:
    """Bars that touch become one, those apart by a pixel or more stay; of each lane and kind."""
    bar = {"top": 0, "bottom": 1, "kind": "a"}
    bars = [bar | {"start": start, "end": start + 1, "what": "x"} for start in (0, 1, 1.5, 4, 5.05)]
    other = bar | {"kind": "b", "start": 2, "end": 9}
    joined = _joined([*bars, other], pixel=0.1)
    assert joined == [
        bar | {"start": 0, "end": 2.5},
        other,
        bar | {"start": 4, "end": 6.05},
    ]
    assert _joined(bars[3:], pixel=0.01) == [bar | {"start": s, "end": s + 1} for s in (4, 5.05)]


@pytest.mark.parametrize("width", [650, 1200])
def test_every_lane_is_named(width: int) -> None:
    """Each tool's name is in the picture, where each has one lane; no line is wider than it."""
    names = [f"tool_number_{n}" for n in range(20)]
    calls = tuple(
        ToolRun(name, name, 1, n + 1, n + 2, waits=(Wait(1, n + 1, "RAW"),), future=name)
        for n, name in enumerate(names)
    )
    record = RunRecord((Reply(0, 1, "m", tuple(names), tools=tuple(names)),), calls, 21, "x" * 30)
    svg = _svg(record, Look(width - 140))
    assert [name for name in ["model", *names] if f">{name}<" not in svg] == []
    drawn = re.search(r'<svg[^>]*?width="([\d.]+)"', svg)
    assert drawn is not None
    assert float(drawn[1]) <= width


@pytest.mark.timeout(300)
def test_ten_thousand_spans_stay_usable(tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    """They are drawn, the wheel zooms, and the page is not too large to be sent."""
    started = time.process_time()
    written = page(large_run(10_000))
    assert time.process_time() - started < 30  # of this process alone, some two on a free machine
    assert len(written) < 12_000_000
    (tmp_path / "run.html").write_text(written, encoding="utf-8")
    shown = opened(tmp_path / "run.html")
    box = shown.wait_for_selector("canvas", timeout=120_000).bounding_box()
    before = shown.screenshot()
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + 200)
    shown.mouse.wheel(0, -600)
    shown.evaluate(DRAWN)
    shown.wait_for_timeout(200)
    assert shown.screenshot() != before


def test_no_run_at_all() -> None:
    """The picture of nothing is a picture."""
    png = image(RunRecord((), (), 0.0), scale=1)
    assert _size(png)[0] > 900
    assert re.search(r"Nothing that took time", page(RunRecord((), (), 0.0)))
