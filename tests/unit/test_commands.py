"""Tests of how commands print: to readers that leave, to none, and in small encodings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = "from langchain_asyncfc.commands import say; say({text}); say('more')"


def printed(text: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", CODE.format(text=text)]
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload, no-any-return]


def test_a_reader_that_leaves() -> None:
    """As with `| head`: no error, no traceback, exit code 0."""
    read, write = os.pipe()
    os.close(read)
    done = printed("'x' * 1_000_000", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_standard_output() -> None:
    """A closed one is none to write to."""
    done = printed("'x'", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_characters_that_the_output_does_not_have(encoding: str) -> None:
    """They are escaped; half a character, as in some traces, is one of them."""
    done = printed(
        r"'caf\u00e9 \ud800'",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0
    shown = r"caf\xe9 \ud800" if encoding == "ascii" else "caf\u00e9 \\ud800"
    assert done.stdout == f"{shown}\nmore\n".encode(encoding)
