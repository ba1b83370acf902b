"""The page of results: a section for each part, so that a part can be measured again by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SECTIONS = re.compile(r"^(?=## )", re.MULTILINE)


def with_section(page: str, title: str, lines: Sequence[str], order: Sequence[str]) -> str:
    """The page with a section put in, or in the place of its older version.

    Args:
        page: The page as it is.
        title: Of the section.
        lines: What stands below the title.
        order: The titles of all sections, in their order; others are dropped.
    """
    head, *sections = _SECTIONS.split(page)
    by_title = {text.partition("\n")[0].removeprefix("## "): text for text in sections}
    by_title[title] = "\n".join([f"## {title}", "", *lines, ""]) + "\n"
    found = [by_title[known].rstrip("\n") + "\n" for known in order if known in by_title]
    return "\n".join([head.rstrip("\n") + "\n", *found])
