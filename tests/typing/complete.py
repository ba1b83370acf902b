"""`python tests/typing/complete.py`: whether every public name has a type that checkers agree on.

Asks `pyright --verifytypes`, as those who use the package see it. Ends with 1 if a type is missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

UPSTREAM = {"langchain_asyncfc.tool_node.AsyncFCToolNode": "Type of metaclass unknown"}
"""Not known of our names, since not of LangGraph's: so of any subclass of `ToolNode`."""


def main() -> int:
    """Print what is not complete; the exit code."""
    command = ["pyright", "--ignoreexternal", "--verifytypes", "langchain_asyncfc", "--outputjson"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,  # it ends with 1 for what is excused above
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    own = [symbol for symbol in found["symbols"] if symbol["isExported"]]
    missing = [
        (symbol["name"], finding["message"])
        for symbol in own
        for finding in symbol["diagnostics"]
        if UPSTREAM.get(symbol["name"]) != finding["message"]
    ]
    for name, message in missing:
        print(f"{name}: {message}")
    print(f"{len(own):,} public names, {len(missing)} findings")
    return 1 if missing or not own else 0


if __name__ == "__main__":
    sys.exit(main())
