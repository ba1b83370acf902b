"""A bar chart as SVG, which needs no drawing library and is the same text for the same figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

COLOURS = ("#9aa0a6", "#8ab4f8", "#1a73e8", "#0b3d91")
"""Of the bars of a group, from left to right."""

_ROW, _BAR, _LEFT, _TOP, _WIDTH = 58, 12, 112, 76, 760


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that belong together.

    Attributes:
        name: What stands beside them.
        values: Their lengths.
        mark: Where a line is drawn across them.
    """

    name: str
    values: Sequence[float]
    mark: float


def bars(title: str, names: Sequence[str], groups: Sequence[Group]) -> str:
    """Draw groups of bars, one below the other, on a scale that begins at 1.

    Args:
        title: Stands on top.
        names: Of the bars of a group, then of the mark.
        groups: The groups.
    """
    most = max(max(*group.values, group.mark) for group in groups)
    top = math.ceil(most * 2) / 2
    scale = (_WIDTH - _LEFT - 60) / (top - 1)
    height = _TOP + _ROW * len(groups) + 20
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'{head} font-family="sans-serif" font-size="11" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="15" fill="#202124">{title}</text>',
        *_legend(names),
        *_axis(top, scale, height),
    ]
    for number, group in enumerate(groups):
        parts += _group(group, _TOP + number * _ROW, scale)
    return "\n".join([*parts, "</svg>", ""])


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = 10.0
    for name, colour in zip(names, (*COLOURS, "#d93025"), strict=True):
        yield f'<rect x="{x:.0f}" y="34" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 14:.0f}" y="43" fill="#202124">{name}</text>'
        x += 32 + 5.6 * len(name)


def _axis(top: float, scale: float, height: int) -> Iterator[str]:
    for step in range(round((top - 1) * 2) + 1):
        value = 1 + step / 2
        x = _LEFT + scale * (value - 1)
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 16}" stroke="#dadce0"/>'
        )
        yield (
            f'<text x="{x:.1f}" y="{_TOP - 12}" text-anchor="middle" fill="#5f6368">{value:g}x'
            "</text>"
        )


def _group(group: Group, y: int, scale: float) -> Iterator[str]:
    mark = scale * (group.mark - 1)
    yield f'<text x="{_LEFT - 8}" y="{y + 28}" text-anchor="end" fill="#202124">{group.name}</text>'
    for number, (value, colour) in enumerate(zip(group.values, COLOURS, strict=True)):
        length = scale * max(value - 1, 0)
        at = y + number * _BAR
        # The mark crosses the bars in the middle; their figures stand behind it.
        end = length if number in (0, len(COLOURS) - 1) else max(length, mark)
        yield (
            f'<rect x="{_LEFT}" y="{at}" width="{length:.1f}" height="{_BAR - 2}" fill="{colour}"/>'
        )
        yield (
            f'<text x="{_LEFT + end + 4:.1f}" y="{at + 9}" font-size="9" fill="#5f6368">'
            f"{value:.2f}</text>"
        )
    x = _LEFT + mark
    yield (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + _BAR - 1}" y2="{y + 3 * _BAR - 1}" '
        'stroke="#d93025" stroke-width="2"/>'
    )
