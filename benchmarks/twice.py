"""`python -m benchmarks.twice [NAME …]`: check that virtual figures are the same each time.

Each part is run twice with few tasks, in processes of its own that order sets of texts differently.
The tables must be the same to the last byte.
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
from collections.abc import Sequence

VIRTUAL = ("bound", "end_to_end", "others")
"""The parts whose figures are of virtual time alone."""


def differences(name: str) -> Sequence[str]:
    """The lines in which two runs of a part differ."""
    first, second = (_run(name, seed) for seed in ("1", "2"))
    return list(difflib.unified_diff(first, second, "first run", "second run", lineterm=""))


def _run(name: str, hash_seed: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks", name, "--quick"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def main() -> None:
    """Run the chosen parts twice; end with an error if any differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twice", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*VIRTUAL, []], help="parts; default: all")
    failed = False
    for name in parser.parse_args().names or VIRTUAL:
        found = differences(name)
        print("\n".join([f"{name}: {'differs' if found else 'the same twice'}", *found]))
        failed = failed or bool(found)
    sys.exit(failed)


if __name__ == "__main__":
    main()
