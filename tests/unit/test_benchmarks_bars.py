from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("altair", reason="drawing is an extra")
pytest.importorskip("vl_convert", reason="drawing is an extra")

from benchmarks.bars import Group, bars

_SVG = "{http://www.w3.org/2000/svg}"
_NAMES = ["one", "two", "three", "four", "mark"]


def _drawn(*groups: Group) -> ET.Element:
    return ET.fromstring(bars("Speed", _NAMES, groups))


def _of(root: ET.Element, name: str) -> ET.Element:
    """The bar or the mark of a name."""
    return next(
        path
        for path in root.iter(f"{_SVG}path")
        if path.get("aria-label", "").endswith(f"name: {name}")
    )


def _numbers(path: ET.Element) -> list[float]:
    return [float(n) for n in re.findall(r"-?[\d.]+", path.get("d", ""))]


def _length(root: ET.Element, name: str) -> float:
    """Of a bar: `M<x>,<y>h<length>…`."""
    return _numbers(_of(root, name))[2]


def test_bars_are_as_long_as_their_values_over_one() -> None:
    """The scale begins at 1, and what lies below it has no length."""
    root = _drawn(Group("W1", [0.9, 1.5, 2.0, 3.0], 2.0))
    assert _length(root, "one") == 0
    assert _length(root, "four") / _length(root, "two") == pytest.approx(4)
    assert _length(root, "four") / _length(root, "three") == pytest.approx(2)


def test_the_mark_stands_at_its_value() -> None:
    """The line of the mark is at the end of a bar of the same value."""
    root = _drawn(Group("W1", [1.0, 1.0, 2.0, 1.0], 2.0))
    mark = _of(root, "mark")
    moved = float(re.findall(r"translate\(([\d.]+)", mark.get("transform", "translate(0"))[0])
    x = _numbers(mark)[0]
    assert moved + x == pytest.approx(_length(root, "three"), abs=1.01)  # it is 2 pixels wide


def test_every_group_and_name_is_written() -> None:
    """What is drawn can be read as text, figures included, also where a figure is below 1."""
    root = _drawn(
        Group("W1", [0.91, 1.22, 1.33, 1.44], 1.5), Group("W2", [2.0, 2.0, 2.0, 2.0], 1.0)
    )
    texts = {text.text for text in root.iter(f"{_SVG}text")}
    assert {"Speed", *_NAMES, "W1", "W2", "0.91", "1.22", "1.33", "1.44"} <= texts


def test_the_same_figures_are_the_same_text() -> None:
    """Also when one process draws twice."""
    group = Group("W1", [0.9, 1.5, 2.0, 3.0], 2.0)
    assert bars("Speed", _NAMES, [group]) == bars("Speed", _NAMES, [group])
