"""What the layout of the package promises: a pure core, and a way of a call without cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_asyncfc

PACKAGE = Path(langchain_asyncfc.__file__).parent
PURE = ["effects", "errors", "futures", "hazards", "reasons", "references", "tracker"]
FOREIGN = ("asyncio", "langchain_core", "langgraph", "threading", "time")


def _imports(path: Path) -> set[str]:
    """The modules that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("module", PURE)
def test_the_pure_core_imports_neither_asyncio_nor_langgraph(module: str) -> None:
    """The core has no I/O, no clock and no framework, in itself and in what it imports."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        seen.add(name)
        imports = _imports(PACKAGE / f"{name}.py")
        assert not [i for i in imports if i.split(".")[0] in FOREIGN], name
        own = {i.removeprefix("langchain_asyncfc.") for i in imports if "langchain_asyncfc." in i}
        todo += own - seen


def test_imports_are_absolute() -> None:
    """Every import names its module in full."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def test_no_module_imports_a_later_one_that_imports_it() -> None:
    """The modules of the package import each other without a cycle."""
    graph = {
        path.stem: {
            i.split(".")[1]
            for i in _imports(path)
            if i.startswith("langchain_asyncfc.") and i.split(".")[1] != path.stem
        }
        for path in PACKAGE.glob("*.py")
        if path.stem != "__init__"
    }
    done: set[str] = set()
    while left := {name for name in graph if name not in done}:
        free = {name for name in left if not (graph[name] & left)}
        assert free, f"cycle among {sorted(left)}"
        done |= free


def test_private_parts_of_langgraph_are_not_touched() -> None:
    """Public seams only: no module of LangGraph or LangChain with an underscore is imported."""
    for path in PACKAGE.rglob("*.py"):
        for name in _imports(path):
            if name.startswith(("langgraph", "langchain_core")):
                assert not any(part.startswith("_") for part in name.split(".")), (path, name)


def test_importing_the_package_leaves_the_process_as_it_was() -> None:
    """No thread is started and no hook is registered before a node is built."""
    code = (
        "import threading, langchain_core.tracers.context as c; before = len(c._configure_hooks);"
        "import langchain_asyncfc;"
        "assert len(c._configure_hooks) == before; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_runs_calls_knows_nothing_of_timelines() -> None:
    """Timelines are made of what everybody can see; only estimates need them."""
    for path in PACKAGE.rglob("*.py"):
        if not {"timeline", "estimate"} & set(path.relative_to(PACKAGE).parts):
            names = {name for name in _imports(path) if "langchain_asyncfc.timeline" in name}
            assert not names, path


def test_nothing_is_drawn_before_a_picture_is_asked_for() -> None:
    """Neither the package nor its timelines import a drawing library."""
    code = (
        "import sys; import langchain_asyncfc, langchain_asyncfc.timeline as t;"
        "str(t.Timeline()); repr(t.Timeline());"
        "assert not {'altair', 'vl_convert', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
