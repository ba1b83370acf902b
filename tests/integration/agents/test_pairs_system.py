"""`AsyncFCMiddleware` next to the middleware that brings a shell and a search over files.

The shell is a real one; its commands are short.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    FilesystemFileSearchMiddleware,
    HostExecutionPolicy,
    ModelCallLimitMiddleware,
    RedactionRule,
    ShellToolMiddleware,
)

from langchain_asyncfc import AsyncFCMiddleware, Effects
from langchain_asyncfc.testing import assert_valid_history, call
from tests.integration.agents.helpers import Talk, answers, ask, go, substance, texts
from tests.integration.conftest import Mode

# LangChain's shell session leaves its pipes to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
READS = {name: Effects(reads="fs:") for name in ("glob_search", "grep_search")}


def shell(root: Path, **options: Any) -> ShellToolMiddleware[Any, Any]:
    """A shell in a directory."""
    policy = HostExecutionPolicy(command_timeout=20)
    env = {"PATH": "/usr/bin:/bin"}
    return ShellToolMiddleware(root, execution_policy=policy, env=env, **options)


def run(mode: Mode, agent: Any) -> list[Any]:
    """The final messages. The shell's threads are unknown to virtual time, so it is real here."""
    final = asyncio.run(agent.ainvoke(go())) if mode.is_async else agent.invoke(go())
    assert_valid_history(final["messages"])
    assert set(final) == {"messages"}
    return final["messages"]


def hold(root: Path) -> str:
    """A command that waits for a file."""
    return f"until [ -e {root}/go ]; do read -t 0.02 <> <(:); done; x=5; echo one"


def test_shell(entry: Mode, tmp_path: Path) -> None:
    """Commands run in the background, one after the other, in one session."""

    def turns(passed_on: str) -> list[Any]:
        return [
            ask(call("shell", "a", command=hold(tmp_path))),
            ask(call("shell", "b", command="echo two $x")),
            ask(call("shell", "c", command=f"echo '{passed_on}'; false")),
        ]

    histories = []
    for futures in (False, True):
        (tmp_path / "go").unlink(missing_ok=True)
        talk = Talk(turns("${future_2}" if futures else "two 5\n"))
        last = talk.turns[-1]

        def release(_: Any, last: Any = last) -> Any:
            (tmp_path / "go").touch()
            return last

        talk.turns = [*talk.turns[:-1], release]
        if not futures:
            (tmp_path / "go").touch()
        own = AsyncFCMiddleware()
        middleware = [shell(tmp_path), own] if futures else [shell(tmp_path)]
        agent = create_agent(talk.model, [], middleware=middleware)
        histories.append(substance(run(entry, agent)))
        assert bool(talk.placeholders) == futures
    assert _without_arguments(histories[0]) == _without_arguments(histories[1])


def _without_arguments(history: list[Any]) -> list[Any]:
    """A history but for what the model wrote where references may stand."""
    return [item for item in history if item[0] != "ai"]


def test_shell_gets_values(entry: Mode, tmp_path: Path) -> None:
    """A command may hold the output of an earlier one."""
    talk = Talk(
        [
            ask(call("shell", "a", command="echo 7")),
            ask(call("shell", "b", command="echo $((${future_1} + 1))")),
        ]
    )
    agent = create_agent(talk.model, [], middleware=[shell(tmp_path), AsyncFCMiddleware(grace=0)])
    assert texts(run(entry, agent)) == ["7\n", "8\n"]


def test_shell_redacts(entry: Mode, tmp_path: Path) -> None:
    """What the shell redacts is redacted in the background too, and the artifact is kept."""
    rule = RedactionRule(pii_type="email")
    talk = Talk([ask(call("shell", "a", command="echo ann@mail.org"))])
    agent = create_agent(
        talk.model,
        [],
        middleware=[shell(tmp_path, redaction_rules=[rule]), AsyncFCMiddleware(grace=0)],
    )
    [answer] = answers(run(entry, agent))
    assert answer.text == "[REDACTED_EMAIL]\n"
    assert answer.artifact["exit_code"] == 0
    assert "ann@" not in str(answer.additional_kwargs)


def test_shell_at_the_end_of_a_run(entry: Mode, tmp_path: Path) -> None:
    """A run that is ended early waits for its commands before the shell is stopped."""
    talk = Talk(
        [
            ask(call("shell", "a", command="sleep 0.2; echo one")),
            ask(call("shell", "b", command="echo two")),
        ]
    )
    agent = create_agent(
        talk.model,
        [],
        middleware=[
            shell(tmp_path),
            AsyncFCMiddleware(grace=0),
            ModelCallLimitMiddleware(run_limit=2),
        ],
    )
    assert texts(run(entry, agent)) == ["one\n", "two\n"]


@pytest.mark.parametrize("first", [True, False])
def test_file_search(entry: Mode, tmp_path: Path, first: bool) -> None:
    """Searches run in the background; with their effects declared, several at once."""
    (tmp_path / "a.py").write_text("needle = 1\n")
    (tmp_path / "b.txt").write_text("hay\n")
    talk = Talk(
        [
            ask(call("glob_search", "a", pattern="**/*.py")),
            ask(call("grep_search", "b", pattern="needle", output_mode="content")),
        ]
    )
    search = FilesystemFileSearchMiddleware(root_path=str(tmp_path), use_ripgrep=False)
    own = AsyncFCMiddleware(effects=READS, grace=0)
    agent = create_agent(talk.model, [], middleware=[search, own] if first else [own, search])
    assert texts(run(entry, agent)) == ["/a.py", "/a.py:1:needle = 1"]
