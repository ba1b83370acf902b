"""What the documentation says of the code is what the code says of itself."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from langgraph.prebuilt import ToolNode

import langchain_asyncfc
from langchain_asyncfc import AsyncFCToolNode
from langchain_asyncfc import errors as errors_module
from langchain_asyncfc.futures import FINAL, TRANSITIONS, FutureState

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(\s*)```.*?^\1```", re.MULTILINE | re.DOTALL)


def _rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = text.split(f"\n{heading}\n", 1)[1]
    lines = below[below.index("\n|") + 1 :].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize(
    "name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md"]
)
def test_relative_links_exist(name: str) -> None:
    """Files that these pages link to are in the repository."""
    text = FENCED.sub("", (ROOT / name).read_text())
    targets = [link for link in LINK.findall(text) if "://" not in link]
    missing = [
        link for link in targets if not (ROOT / name).parent.joinpath(link.split("#")[0]).exists()
    ]
    assert missing == []


def test_state_diagram_is_the_table_of_transitions() -> None:
    """The arrows of the diagram are exactly the steps that the code allows."""
    diagram = re.search(r"```mermaid\n(.*?)```", (DOCS / "design.md").read_text(), re.DOTALL)
    assert diagram is not None
    arrows = set(re.findall(r"^ *(\S+) --> (\S+)$", diagram[1], re.MULTILINE))
    first = {("[*]", str(FutureState.WAITING))}
    steps = {(str(now), str(then)) for now, after in TRANSITIONS.items() for then in after}
    # A lost future has no step that leads to it: it is what is left of one after a crash.
    ends = {(str(state), "[*]") for state in FINAL - {FutureState.LOST}}
    assert arrows == first | steps | ends


def test_state_table_names_every_state() -> None:
    """The table of states has each of them once, with the states that may follow."""
    rows = _rows((DOCS / "design.md").read_text(), "## States of a future")
    said = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows}
    assert said == {str(now): {str(then) for then in after} for now, after in TRANSITIONS.items()}


def _missing_modules(cell: str) -> list[str]:
    """The modules that a cell names and the package does not have."""
    package = ROOT / "langchain_asyncfc"
    named = re.findall(r"`(\w+)`", cell)
    return [m for m in named if not ((package / f"{m}.py").exists() or (package / m).is_dir())]


def test_way_of_a_call_names_modules() -> None:
    """Each stage of a call's way names modules that exist."""
    rows = _rows((DOCS / "design.md").read_text(), "## The way of a tool call")
    assert len(rows) >= 8
    assert [missing for row in rows for missing in _missing_modules(row[1])] == []


def test_rules_are_kept_where_the_table_says() -> None:
    """Each rule names modules that exist, and test files that have tests of that rule."""
    rows = _rows((DOCS / "design.md").read_text(), "## The rules, and where each is kept")
    assert [row[0] for row in rows] == [str(number) for number in range(1, 28)]
    wrong = []
    for number, _, modules, tests in rows:
        wrong += [f"rule {number}: no module {m}" for m in _missing_modules(modules)]
        for name in re.findall(r"`([\w/]+\.py)`", tests):
            path = ROOT / "tests" / name
            if not path.exists():
                wrong.append(f"rule {number}: no file {name}")
            elif "test_rules_" in name and f"def test_rule_{number}_" not in path.read_text():
                wrong.append(f"rule {number}: no test of it in {name}")
    assert wrong == []


@pytest.mark.parametrize("page", ["README.md", "docs/options.md"])
def test_options_and_their_defaults(page: str) -> None:
    """The table of options has each one that `ToolNode` does not have, with its default."""
    rows = _rows((ROOT / page).read_text(), "## Options")
    said = {row[0].strip("`"): row[1].strip("`") for row in rows}
    plain = inspect.signature(ToolNode).parameters
    own = {
        name: parameter.default
        for name, parameter in inspect.signature(AsyncFCToolNode).parameters.items()
        if name not in plain
    }
    assert said == {name: repr(default).replace("'", '"') for name, default in own.items()}


def test_reference_covers_the_public_modules() -> None:
    """Every public name, and every error, is on a page of the reference."""
    pages = [page.read_text() for page in (DOCS / "reference").glob("*.md")]
    shown = set(re.findall(r"^::: (\S+)$", "\n".join(pages), re.MULTILINE))
    for name in langchain_asyncfc.__all__:
        module = getattr(langchain_asyncfc, name).__module__
        assert shown & {f"langchain_asyncfc.{name}", f"{module}.{name}", module}, name
    assert errors_module.__name__ in shown
