from __future__ import annotations

from pathlib import Path

import pytest

from langchain_asyncfc.estimate import Trace, estimate
from langchain_asyncfc.estimate.drawing import save
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun

pytest.importorskip("altair")


def test_a_run_is_drawn_before_and_after(tmp_path: Path) -> None:
    """As a page that loads nothing, and as an image; with both times in the page's headings."""
    record = RunRecord(
        (Reply(0, 1, calls=("a",)), Reply(3, 4, calls=("b",)), Reply(6, 7)),
        (
            ToolRun("a", "<search>", 1, 1, 3, {"q": "</script>"}),
            ToolRun("b", "<search>", 4, 4, 6, {"q": "y"}),
        ),
        7,
    )
    [run] = estimate([Trace(record)]).runs
    page, image = tmp_path / "run.html", tmp_path / "run.png"
    save(run, page, labels="with <labels>")
    save(run, image, labels="with <labels>")
    text = page.read_text()
    assert "As it was: 7.00 s" in text
    assert "AsyncFC with &lt;labels&gt;, hopeful: 5.09 s, 1.37x" in text
    assert text.count("<iframe") == 2
    assert "synchronous run would have taken" not in text
    assert "<script src" not in text
    assert image.read_bytes().startswith(b"\x89PNG")
