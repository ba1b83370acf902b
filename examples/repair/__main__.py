"""The command line: run the repair with one tool node and with the other, and compare."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as tool_node_condition
from openai import DefaultAsyncHttpxClient, OpenAIError
from rich.console import Console
from rich.text import Text

from examples.repair.agent import (
    INSTRUCTIONS,
    Agent,
    build,
    chat_openai,
    named_model,
    task,
)
from examples.repair.policy import decide
from examples.repair.recording import Recorder, RunLog
from examples.repair.report import Result, is_good, show
from examples.repair.tools import make_tools
from examples.repair.view import live
from examples.repair.workspace import CASES, TICK, Workspace, failing_tests, unpack
from examples.scripted.endpoint import Endpoint
from examples.scripted.pace import Pace
from langchain_asyncfc import AsyncFCToolNode, asyncfc_instructions, tools_condition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from langchain_core.language_models import BaseChatModel

DESCRIPTION = "Repair a small project with ToolNode, then with AsyncFCToolNode, and compare."

STEP_LIMIT = 200
"""Supersteps of the graph; the embedded model needs about 60, a real one may try more."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How large the task is and how fast things go.

    Attributes:
        cases: The broken modules.
        tick: Seconds, the unit of time of the project's tests.
        pace: The speed of the embedded model.
    """

    cases: tuple[str, ...] = CASES
    tick: float = TICK
    pace: Pace = field(default_factory=Pace)


QUICK = Setting(cases=("backoff", "worker", "server"), tick=0.03, pace=Pace(first=0.05, rate=480))
"""For CI: fewer modules, and everything several times as fast."""


def with_tool_node(model: BaseChatModel, workspace: Workspace) -> Agent:
    """Return the agent as it is usually written."""
    tools = make_tools(workspace)
    node = ToolNode(tools, handle_tool_errors=True)
    return build(model.bind_tools(tools), node, tool_node_condition, INSTRUCTIONS)


def with_asyncfc(
    model: BaseChatModel, workspace: Workspace, delivery: Literal["in_place", "append"]
) -> Agent:
    """Return the same agent with node and condition swapped, and the model told of futures."""
    tools = make_tools(workspace)
    node = AsyncFCToolNode(tools, handle_tool_errors=True, delivery=delivery)
    instructions = f"{INSTRUCTIONS}\n\n{asyncfc_instructions()}"
    return build(model.bind_tools(node.model_tools), node, tools_condition, instructions)


TITLES = {"node": "ToolNode", "asyncfc": "AsyncFCToolNode"}
"""The two kinds of run, by the value of `--only`."""


@asynccontextmanager
async def opened(model: BaseChatModel | None, pace: Pace) -> AsyncIterator[BaseChatModel]:
    """Give the model, or if there is none, one with an embedded service that ends with it."""
    if model is not None:
        yield model
        return
    async with AsyncExitStack() as stack:
        endpoint = stack.enter_context(Endpoint(pace, decide))
        # The service is on this machine: proxies in the environment are not asked.
        client = await stack.enter_async_context(DefaultAsyncHttpxClient(trust_env=False))
        yield chat_openai(
            model="demo-engineer",
            base_url=endpoint.base_url,
            api_key="not-needed",
            http_async_client=client,
            max_retries=0,
        )


async def repair(
    title: str, agent: Agent, workspace: Workspace, console: Console, plain: bool
) -> RunLog:
    """Let the agent do its task once and return what happened."""
    console.rule(title, characters="-")
    log = RunLog(title)
    start = MessagesState(messages=[task(workspace.test_files)])
    messages = start["messages"]
    with live(log, console, plain) as listener:
        recorder = Recorder(log, listener)
        config = RunnableConfig(callbacks=[recorder], recursion_limit=STEP_LIMIT)
        async for values in agent.astream(start, config, stream_mode="values"):
            messages = values["messages"]
            recorder.see(messages)
        log.wall = log.now()
    console.print(Text(messages[-1].text))
    return log


async def run(named: BaseChatModel | None, options: argparse.Namespace, folder: Path) -> int:
    """Run the task with each kind of node on a fresh copy; print the table; return the status."""
    setting = QUICK if options.quick else Setting()
    plain = options.plain or not sys.stdout.isatty()
    console = Console(no_color=True, highlight=False, width=100) if plain else Console()
    finished: list[tuple[RunLog, Workspace]] = []
    async with opened(named, setting.pace) as model:
        for kind in [options.only] if options.only else TITLES:
            workspace = unpack(folder / kind, setting.cases, setting.tick)
            if kind == "node":
                agent = with_tool_node(model, workspace)
            else:
                agent = with_asyncfc(model, workspace, options.delivery)
            log = await repair(TITLES[kind], agent, workspace, console, plain)
            finished.append((log, workspace))
    red = await failing_tests([workspace for _, workspace in finished])
    results = [
        Result(log, workspace.diff(), failing)
        for (log, workspace), failing in zip(finished, red, strict=True)
    ]
    show(results, console, plain)
    return 0 if is_good(results) else 1


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m examples.repair", description=DESCRIPTION)
    parser.add_argument(
        "--model",
        metavar="PROVIDER:NAME",
        help="a real model, or 'embedded' for the service on loopback (the default, unless "
        "OPENAI_API_KEY is set). The tests then run what the model wrote, in a temporary folder "
        "but not in a sandbox.",
    )
    parser.add_argument("--plain", action="store_true", help="lines instead of a live table")
    parser.add_argument("--keep", action="store_true", help="keep the repaired repositories")
    parser.add_argument("--quick", action="store_true", help="a smaller task at a faster pace")
    parser.add_argument("--only", choices=list(TITLES), help="run with one node only")
    parser.add_argument(
        "--delivery",
        choices=["in_place", "append"],
        default="in_place",
        help="how AsyncFCToolNode shows the model a late result (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        The exit status: 0 if all tests are green and the diffs are the same, else 1; 2 if the
        options make no sense, 130 after Ctrl-C.
    """
    options = parse_options(arguments)
    try:
        model = named_model(options.model)
    except (ImportError, ValueError, OpenAIError) as error:
        print(f"There is no model {options.model!r}: {error}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="repair-"))
    try:
        return asyncio.run(run(model, options, folder))
    except KeyboardInterrupt:
        return 130
    finally:
        if options.keep:
            print(f"The repositories are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
