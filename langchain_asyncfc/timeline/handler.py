"""Timeline: the callback handler that people use."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_asyncfc.timeline.chrome import chrome_trace
from langchain_asyncfc.timeline.figures import Figures, figures_of
from langchain_asyncfc.timeline.recorder import MAX_TEXT, Recorder

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Timeline"]


class Timeline(Recorder):
    """Records a run of LangGraph: its numbers, and its picture.

        timeline = Timeline()
        graph.invoke(value, config={"callbacks": [timeline]})
        print(timeline)
        timeline.to_html("run.html")

    It works with `AsyncFCToolNode` and `AsyncFCMiddleware`, and with any other graph, under
    `invoke` as under `ainvoke`. Given to several runs one after another, as the turns of a talk,
    it shows them in a row. Pictures need `pip install 'langchain-asyncfc[viz]'`.

    It keeps arguments and results as they are. Its record has texts up to `max_text`; pictures have
    them shortened to a line.

    Args:
        name: A name for titles; by default that of the first run.
        clock: Gives the time in seconds. By default that of the event loop where a run has one
            that keeps its own, as in virtual time, and else the computer's.
        max_text: The characters of a result, reply or error that a record has; `None` for all.
            `langchain_asyncfc.estimate` looks into results for what later calls take from them,
            and cannot find what was cut off.

    Raises:
        ValueError: When `max_text` is less than 1.
    """

    def __init__(
        self,
        name: str = "",
        *,
        clock: Callable[[], float] | None = None,
        max_text: int | None = MAX_TEXT,
    ) -> None:
        super().__init__(name, clock=clock, max_text=max_text)

    def figures(self) -> Figures:
        """The run in numbers."""
        return figures_of(self.record())

    def summary(self) -> str:
        """The numbers as a text of a dozen lines."""
        return str(self.figures())

    def chart(self, *, width: int | str = 960) -> alt.LayerChart:
        """The picture as an Altair chart.

        Args:
            width: In pixels; `"container"` for that of what it stands in.

        Raises:
            ImportError: When Altair is not installed.
        """
        from langchain_asyncfc.timeline.drawing import chart  # noqa: PLC0415 - needs an extra

        return chart(self.record(), width=width)

    def to_html(self, path: str | Path) -> None:
        """Write the picture as one page that works offline, with hover and zoom.

        Args:
            path: The file; it is overwritten.

        Raises:
            ImportError: When Altair or vl-convert is not installed.
        """
        from langchain_asyncfc.timeline.pages import page  # noqa: PLC0415 - needs an extra

        Path(path).write_text(page(self.record()), encoding="utf-8")

    def to_png(self, path: str | Path, *, scale: float = 2.0) -> None:
        """Write the picture as an image.

        Args:
            path: The file; it is overwritten.
            scale: Pixels of the image for one of the chart.

        Raises:
            ImportError: When Altair or vl-convert is not installed.
        """
        from langchain_asyncfc.timeline.images import image  # noqa: PLC0415 - needs an extra

        Path(path).write_bytes(image(self.record(), scale=scale))

    def to_chrome_trace(self, path: str | Path) -> None:
        """Write the run as a trace for https://ui.perfetto.dev; it needs no extra.

        Args:
            path: The file; it is overwritten.
        """
        trace = json.dumps(chrome_trace(self.record()), ensure_ascii=False)
        Path(path).write_text(trace, encoding="utf-8")

    def __str__(self) -> str:
        """The numbers as a text."""
        return self.summary()

    def __repr__(self) -> str:
        """The run in a line."""
        return f"<Timeline {self.figures().headline()}>"

    def _repr_html_(self) -> str:
        """The picture for notebooks: self-contained, so that it stays when they are converted."""
        try:
            from langchain_asyncfc.timeline.pages import frame  # noqa: PLC0415 - needs an extra
        except ImportError:
            return f"<pre>{html.escape(self.summary())}</pre>"
        return frame(self.record())

    def __deepcopy__(self, memo: dict[int, Any]) -> Timeline:
        """Itself: a copy of a config goes on recording here."""
        return self
