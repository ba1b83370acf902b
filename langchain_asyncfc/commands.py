"""What the commands of the package share: how they print."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["say"]


def say(text: str) -> None:
    """Print a report as far as somebody reads it.

    A reader that closes the pipe, as `head` does, is no error, and neither is a standard output
    that is closed. Characters that the output's encoding does not have are escaped.

    Raises:
        OSError: When the output cannot be written for another reason, such as a full disk.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)  # noqa: T201 - this is what commands are for
    except BrokenPipeError:
        # Python would complain once more when it flushes at the end. Source: the note on SIGPIPE
        # in the documentation of the module `signal`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
