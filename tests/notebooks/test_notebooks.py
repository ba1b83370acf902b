"""The notebooks in `examples/`: each runs from top to bottom, offline, as a reader would run it.

Each is run in a kernel of its own, in an empty folder. Kernels run on real time: a notebook
measures, and takes up to 15 s. They are not in `make test-lowest`, which knows neither Jupyter nor
all that the notebooks import.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

RUN = ROOT / "build" / "notebooks"
"""Where they are kept with their outputs, so that the documentation need not run them again."""

SWITCH = re.compile(r"^MODEL = .*$", re.MULTILINE)
"""The line that chooses the model."""

ABSOLUTE = re.compile(r"""(?<![\w.:/])/(?:home|root|tmp|usr|var|Users|mnt|opt|work)/|\b[A-Z]:\\""")
"""A path that exists on somebody's machine only."""

OFFLINE = """
import socket


def _refuse(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        raise OSError(f"a notebook goes online: {address}")
    return _connect(self, address)


_connect, socket.socket.connect = socket.socket.connect, _refuse
"""
"""Has a process refuse every connection that leaves the machine."""

STUBBORN = """
import langchain.chat_models

from langchain_asyncfc.testing import ScriptedChatModel


def _stubborn(name):
    assert name == "another:model"
    return ScriptedChatModel(policy=lambda messages: "I would rather not.")


langchain.chat_models.init_chat_model = _stubborn
"""
"""Puts a model in the place of a real one that says the same to everything, and calls no tool."""

SLOW = pytest.mark.timeout(300)
"""Seconds: Jupyter and LangChain are imported in several processes, also on a busy machine."""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    """One notebook after the other."""
    return request.param


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def _run(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Run a notebook in an empty folder, and look at what its cells wrote to stderr.

    Args:
        notebook: It.
        folder: For whatever a run needs.
        monkeypatch: Sets what kernels find in their environment, and what these start.
        first: What every Python does first, kernels and the processes that notebooks start.
    """
    home, site = folder / "home", folder / "site"
    home.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(first)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    resources = {"metadata": {"path": str(home)}}
    NotebookClient(notebook, timeout=150, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    errors = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert errors == [], "a warning, or a message in the log"
    assert list(home.iterdir()) == [], "a notebook leaves nothing behind where it is run"


@SLOW
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs offline, its assertions hold, and nothing is written to stderr."""
    notebook = _read(path)
    _run(notebook, tmp_path, monkeypatch, OFFLINE)
    RUN.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, RUN / path.name)


@SLOW
def test_it_runs_with_another_model(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model that does something else every cell still runs: only answers differ."""
    notebook = _read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = SWITCH.sub('MODEL = "another:model"', cell.source)
    _run(notebook, tmp_path, monkeypatch, OFFLINE + STUBBORN)


def test_it_is_stripped(path: Path) -> None:
    """What git keeps is valid, and free of outputs, counts and the metadata of an editor."""
    notebook = _read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_it_has_one_switch_to_a_real_model(path: Path) -> None:
    """One cell chooses the model; as it is in git, the scripted one."""
    cells = [cell.source for cell in _read(path).cells if cell.cell_type == "code"]
    lines = [line for source in cells for line in SWITCH.findall(source)]
    assert len(lines) == 1
    assert lines[0].startswith("MODEL = None  # a real one: ")
    assert any("init_chat_model(" in source for source in cells)
    asserts = [source for source in cells if re.search(r"^ *assert ", source, re.MULTILINE)]
    assert asserts, "it claims something of its answers"


def test_it_has_no_absolute_path(path: Path) -> None:
    """Nothing in it depends on where it was written."""
    assert ABSOLUTE.findall(path.read_text()) == []


def test_it_is_short_and_starts_with_its_title(path: Path) -> None:
    """A title with its number first, then cells that fit on a screen."""
    notebook = _read(path)
    number = int(path.name[:2])
    assert notebook.cells[0].source.startswith(f"# {number}. ")
    assert max(len(cell.source.splitlines()) for cell in notebook.cells) <= 60


def test_it_is_in_the_index_and_the_documentation(path: Path) -> None:
    """`examples/README.md` has a line on it, and the documentation a page."""
    assert f"]({path.name})" in (ROOT / "examples" / "README.md").read_text()
    assert f": notebooks/{path.name}\n" in (ROOT / "mkdocs.yml").read_text()


def test_all_are_found() -> None:
    """They are numbered from 1 on, without a gap, and there are eight of them or more."""
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 8
