"""`python -m benchmarks --model provider:name`: a real model on BFCL's tasks, in three ways.

The three ways are `ToolNode`, and `AsyncFCToolNode` without and with labels. Each run is kept when
it is over; the same command goes on where it was stopped, however that happened. `--model
scripted` plays the ground truth on this machine, to try it out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from langchain_core.language_models import BaseChatModel

from benchmarks.real.cache import Cache, file_name
from benchmarks.real.costs import Prices, in_words
from benchmarks.real.models import SetupError, opened
from benchmarks.real.questions import WORKLOADS
from benchmarks.real.report import page
from benchmarks.real.suite import SCRIPTED, Plan, Suite
from benchmarks.real.ways import WAYS

RESULTS: Final = Path(__file__).parent.parent / "results"


def main(arguments: Sequence[str]) -> int:
    """Measure a model.

    Args:
        arguments: Of the command line.

    Returns:
        The exit status: 0 if all runs have a result, 1 if not, 2 if nothing could begin, 130 after
        Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return _measure(options)
    except SetupError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> int:
    suite = Suite(_plan(options), _cache(options))
    output = options.output or RESULTS / f"{file_name(options.model)}.md"
    interrupted = False
    if suite.missing():
        client = _client(options)  # errors of the client come before the question
        print(_announcement(suite), flush=True)
        if not options.yes and not _agreed():
            return 2
        try:
            asyncio.run(_run(suite, client, options.model))
        except KeyboardInterrupt:
            interrupted = True
    text = page(suite)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    print(f"\n{text}\nWritten to {output}; the runs are kept in {options.cache}.")
    if suite.stopped:
        print(f"benchmarks: {suite.stopped}", file=sys.stderr)
    if interrupted:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    return 1 if suite.missing() else 0


def _cache(options: argparse.Namespace) -> Cache:
    cache = Cache(options.cache / f"{file_name(options.model)}.jsonl")
    if cache.torn:
        print(f"{cache.path}: lines that are torn and left out: {cache.torn}.", file=sys.stderr)
    return cache


def _plan(options: argparse.Namespace) -> Plan:
    given = (options.price_in, options.price_out)
    if (given[0] is None) != (given[1] is None):
        raise SetupError("--price-in and --price-out only make sense together.")
    prices = None if given[0] is None or given[1] is None else Prices(*given)
    if options.budget is not None and prices is None:
        raise SetupError(
            "A --budget needs --price-in and --price-out, in USD per million tokens: no list of "
            "prices is kept here, since it would be out of date."
        )
    return Plan(
        model=options.model,
        where=options.base_url,
        options=_asked(options),
        workloads=list(dict.fromkeys(options.workload)),
        tasks=options.tasks,
        ways=list(dict.fromkeys(["a", *options.ways])),  # figures are relative to (a)
        seeds=options.seeds,
        median=options.tool_median,
        concurrency=options.concurrency,
        pause=options.retry_pause,
        prices=prices,
        budget=options.budget,
    )


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for option in options.option:
        key, sign, value = option.partition("=")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
        if not sign:
            raise SetupError(f"--option {option!r}: give it as KEY=VALUE, e.g. temperature=0.")
    return found


def _client(options: argparse.Namespace) -> Mapping[str, Any]:
    """What the client is made with; it is made once here to see that it can be."""
    given = {
        "max_retries": options.max_retries,
        "timeout": options.request_timeout,
        **_asked(options),
    }
    if options.base_url:
        given["base_url"] = options.base_url
    if options.model != SCRIPTED:
        opened(options.model, given)
    return given


@asynccontextmanager
async def _model(name: str, client: Mapping[str, Any]) -> AsyncIterator[BaseChatModel]:
    """The model; where it is the scripted one, also its service."""
    if name != SCRIPTED:
        yield opened(name, client)
        return
    from openai import DefaultAsyncHttpxClient  # noqa: PLC0415 - only needed here

    from benchmarks.real.endpoint import play  # noqa: PLC0415 - its server is an extra
    from examples.scripted.endpoint import Endpoint  # noqa: PLC0415
    from examples.scripted.pace import Pace  # noqa: PLC0415

    # The service is on this machine: proxies in the environment are not asked.
    async with DefaultAsyncHttpxClient(trust_env=False) as http:
        with Endpoint(Pace(), play) as service:
            local = {"base_url": service.base_url, "api_key": "none", "http_async_client": http}
            yield opened(f"openai:{SCRIPTED}", {**client, **local})


async def _run(suite: Suite, client: Mapping[str, Any], name: str) -> None:
    async with _model(name, client) as model:
        await suite.run(model, lambda line: print(line, flush=True))


def _announcement(suite: Suite) -> str:
    plan = suite.plan
    number, missing = len(suite.jobs()), len(suite.missing())
    runs = (
        f"{plan.model}: {number} runs ({', '.join(plan.workloads)}; ways {', '.join(plan.ways)}), "
        f"{number - missing} of them in the cache, {missing} to be made."
    )
    costs = (
        f"They take about {in_words(suite.estimate(), plan.prices)}: four characters a token, the "
        "calls of the ground truth, one a message. A model that reasons or goes astray takes more."
    )
    lines = [runs, costs]
    if plan.prices is None:
        lines.append("Give --price-in and --price-out for the cost in USD.")
    if plan.budget is not None:
        lines.append(f"Runs are made as long as {plan.budget:,.2f} USD cover them.")
    return "\n".join(lines)


def _agreed() -> bool:
    try:
        answer = input("Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("Nothing was sent. --yes goes on without this question.", file=sys.stderr)
    return False


def _tasks(text: str) -> int | None:
    return None if text == "all" else _at_least_one(text)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError("not less than 0")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="PROVIDER:NAME", help="or 'scripted'")
    add("--base-url", metavar="URL", help="another service, such as one of your own")
    add("--option", action="append", default=[], metavar="KEY=VALUE", help="for the client")
    add("--workload", nargs="+", choices=list(WORKLOADS), default=["W1"], help="tasks of BFCL")
    add("--tasks", type=_tasks, default=20, metavar="N", help="tasks of each workload, or 'all'")
    add("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="with which node")
    add("--seeds", type=_at_least_one, default=1, metavar="N", help="draws of the tools' times")
    add("--tool-median", type=_not_negative, default=1.0, metavar="SECONDS", help="of tools")
    add("--concurrency", type=_at_least_one, default=4, metavar="N", help="tasks at a time")
    add("--max-retries", type=int, default=5, metavar="N", help="of a request, by the client")
    add("--request-timeout", type=_not_negative, default=120.0, metavar="SECONDS", help="of one")
    add("--retry-pause", type=_not_negative, default=10.0, metavar="SECONDS", help="before a run")
    add("--price-in", type=_not_negative, metavar="USD", help="of a million tokens sent")
    add("--price-out", type=_not_negative, metavar="USD", help="of a million tokens received")
    add("--budget", type=_not_negative, metavar="USD", help="what this start may spend")
    add("--yes", action="store_true", help="begin without a question")
    add("--cache", type=Path, default=RESULTS / "cache", metavar="DIR", help="of finished runs")
    add("--output", type=Path, metavar="PATH", help="of the page; default: results/MODEL.md")
    return parser
