from __future__ import annotations

from xml.etree import ElementTree as ET

from benchmarks.bars import Group, bars

_SVG = "{http://www.w3.org/2000/svg}"


def _drawn(*groups: Group) -> ET.Element:
    return ET.fromstring(bars("Speed", ["a", "b", "c", "d", "mark"], groups))


def test_bars_are_as_long_as_their_values_over_one() -> None:
    """The scale begins at 1, and what lies below it has no length."""
    root = _drawn(Group("one", [0.9, 1.5, 2.0, 3.0], 2.0))
    lengths = [float(rect.get("width", "")) for rect in root.iter(f"{_SVG}rect")][-4:]
    assert lengths[0] == 0
    assert lengths[3] / lengths[1] == 4
    assert lengths[3] / lengths[2] == 2


def test_the_mark_stands_at_its_value() -> None:
    """The line of the mark is at the end of a bar of the same value."""
    root = _drawn(Group("one", [1.0, 1.0, 2.0, 1.0], 2.0))
    bar = list(root.iter(f"{_SVG}rect"))[-2]
    mark = list(root.iter(f"{_SVG}line"))[-1]
    assert float(mark.get("x1", "")) == float(bar.get("x", "")) + float(bar.get("width", ""))


def test_every_group_and_name_is_written() -> None:
    """What is drawn can be read as text, figures included."""
    texts = [t.text for t in _drawn(Group("W1", [1.11, 1.22, 1.33, 1.44], 1.5)).iter(f"{_SVG}text")]
    assert {"Speed", "a", "b", "c", "d", "mark", "W1", "1.11", "1.22", "1.33", "1.44"} <= {*texts}
