"""All runs: those that are in the cache are not made again, those that failed are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from langchain_core.language_models import BaseChatModel

from benchmarks.real.cache import Cache, Record, key
from benchmarks.real.costs import Prices, Tokens, estimate, total
from benchmarks.real.episodes import Episode, Job, play
from benchmarks.real.models import SetupError, is_hopeless, may_pass, told
from benchmarks.real.offers import Offers
from benchmarks.real.questions import drawn
from benchmarks.real.ways import Meter, Way

SCRIPTED: Final = "scripted"
"""The name of the stand-in for a model."""

_FORMAT: Final = 1
"""Raised when what a record holds changes its meaning."""

_IN_A_ROW: Final = 5
"""Failures one after another after which nothing more is sent: a quota is used up, a service is
down. Each has been tried twice, by a client that tries again by itself."""

_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured.

    Attributes:
        model: Name of the model, as the tables show it.
        where: The service's address, if it is not the provider's own.
        options: What the model is asked for besides, such as its temperature.
        workloads: Of `W1`, `W2` and `W3`.
        tasks: How many tasks of each; `None` for all.
        ways: How calls are answered.
        seeds: How many draws of the tools' times.
        median: Of the tools' times, in seconds.
        concurrency: How many tasks are run at a time.
        pause: Seconds before a failed run is made again.
        prices: Of tokens, where they are known.
        budget: US dollars that may be spent.
    """

    model: str
    where: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    workloads: Sequence[str] = ("W1",)
    tasks: int | None = 20
    ways: Sequence[Way] = ("a", "c", "d")
    seeds: int = 1
    median: float = 1.0
    concurrency: int = 1
    pause: float = 10.0
    prices: Prices | None = None
    budget: float | None = None


class Suite:
    """The runs of a plan.

    Args:
        plan: What is to be measured.
        cache: What has been measured.

    Attributes:
        stopped: Why not all runs were made; empty if they were.
    """

    def __init__(self, plan: Plan, cache: Cache) -> None:
        self.plan = plan
        self.stopped = ""
        self._cache = cache
        self._offers = Offers()
        self._versions = ", ".join(
            f"{name} {_version(name)}"
            for name in ("langchain-asyncfc", "langgraph", "langchain-core")
        )
        self._groups = list(self._grouped())
        self._keys = {
            (job.question.workload, job.question.name, job.way, job.seed): self._key(job)
            for group in self._groups
            for job in group
        }
        self._spent = Tokens()
        self._reserved = Tokens()
        self._succeeded = False
        self._in_a_row = 0

    def _grouped(self) -> Iterator[list[Job]]:
        """For each task and draw its ways, which are run one after another.

        So they meet the service in the same state; each goes first equally often.
        """
        number = 0
        for workload in self.plan.workloads:
            for question in drawn(workload, self.plan.tasks):
                for seed in range(self.plan.seeds):
                    first = number % len(self.plan.ways)
                    ways = [*self.plan.ways[first:], *self.plan.ways[:first]]
                    yield [Job(question, way, seed) for way in ways]
                    number += 1

    def _key(self, job: Job) -> str:
        offer = self._offers.of(job.question, job.way)
        return key(
            {
                "format": _FORMAT,
                "model": self.plan.model,
                "where": self.plan.where,
                "options": self.plan.options,
                "workload": job.question.workload,
                "task": job.question.name,
                "turns": job.question.turns,
                "way": job.way,
                "seed": job.seed,
                "median": self.plan.median,
                "tools": offer.tools,
                "instructions": offer.instructions,
                "package": _version("langchain-asyncfc"),
            }
        )

    def key_of(self, job: Job) -> str:
        """The key of a run's record."""
        return self._keys[job.question.workload, job.question.name, job.way, job.seed]

    def jobs(self) -> list[Job]:
        """All runs."""
        return [job for group in self._groups for job in group]

    def missing(self) -> list[Job]:
        """The runs that are not in the cache."""
        return [job for job in self.jobs() if self._cache.finished(self.key_of(job)) is None]

    def records(self) -> list[Record]:
        """What is known of the runs, in their order in the plan."""
        found = (self._cache.last(self.key_of(job)) for job in self.jobs())
        return sorted(
            (record for record in found if record is not None),
            key=lambda record: (record.workload, record.task, record.seed, record.way),
        )

    def estimate(self) -> Tokens:
        """What the missing runs take."""
        return total(self._estimate(job) for job in self.missing())

    def _estimate(self, job: Job) -> Tokens:
        return estimate(job, self._offers.of(job.question, job.way))

    async def run(self, model: BaseChatModel, say: Callable[[str], None]) -> None:
        """Make the missing runs.

        Args:
            model: The model.
            say: Is told of each run that is over.

        Raises:
            SetupError: The model's service cannot be used at all.
        """
        groups = iter([g for g in map(self._left, self._groups) if g])

        async def work() -> None:
            for group in groups:
                for job in group:
                    if self.stopped:
                        return
                    await self._make(model, job, say)

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self.plan.concurrency):
                    workers.create_task(work())
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            raise (first if isinstance(first, SetupError) else errors) from None

    def _left(self, group: Sequence[Job]) -> list[Job]:
        return [job for job in group if self._cache.finished(self.key_of(job)) is None]

    async def _make(self, model: BaseChatModel, job: Job, say: Callable[[str], None]) -> None:
        expected = self._estimate(job)
        if not self._affordable(expected):
            self.stopped = "The budget does not cover another run."
            return
        self._reserved += expected
        try:
            record = await self._attempts(model, job)
        finally:
            self._reserved += Tokens(-expected.input, -expected.output)
        self._spent += Tokens(record.input, record.output)
        self._cache.add(record)
        self._in_a_row = self._in_a_row + 1 if record.failure else 0
        if self._in_a_row == _IN_A_ROW:
            self.stopped = f"{_IN_A_ROW} runs in a row failed, the last one so: {record.failure}"
        outcome = record.failure or ("right" if record.valid else f"wrong, {record.why}")
        say(f"{record.workload} {record.task} ({record.way}): {record.seconds:.1f} s, {outcome}")

    def _affordable(self, more: Tokens) -> bool:
        if self.plan.budget is None or self.plan.prices is None:
            return True
        return self.plan.prices.of(self._spent + self._reserved + more) <= self.plan.budget

    async def _attempts(self, model: BaseChatModel, job: Job) -> Record:
        """Make a run, and once again if its service failed; tokens of both are counted."""
        spent = Meter()
        for attempt in range(1, _ATTEMPTS + 1):
            meter = Meter()
            try:
                episode = await play(model, job, self.plan.median, meter)
            except Exception as error:
                if not self._succeeded and is_hopeless(error):
                    raise SetupError(
                        f"The first run with {self.plan.model} at "
                        f"{self.plan.where or 'its own service'} failed: {told(error)} Check the "
                        "address, the model's name and the key."
                    ) from error
                spent = _sum(spent, meter)
                if attempt == _ATTEMPTS or not may_pass(error):
                    return self._record(job, spent, failure=told(error))
                await asyncio.sleep(self.plan.pause)
            else:
                self._succeeded = True
                self._spent += Tokens(spent.input, spent.output)
                return self._record(job, meter, episode)
        raise AssertionError

    def _record(
        self, job: Job, meter: Meter, episode: Episode | None = None, failure: str = ""
    ) -> Record:
        found: dict[str, Any] = {"failure": failure}
        if episode is not None:
            found = {
                "valid": episode.verdict.valid,
                "why": episode.verdict.why,
                "seconds": episode.seconds,
                "acted": [[call.turn, call.tool, call.args] for call in episode.acted],
            }
        return Record(
            key=self.key_of(job),
            model=self.plan.model,
            workload=job.question.workload,
            task=job.question.name,
            way=job.way,
            seed=job.seed,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=self._versions,
            concurrency=self.plan.concurrency,
            **asdict(meter),
            **found,
        )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from its sources"


def _sum(one: Meter, other: Meter) -> Meter:
    return Meter(
        one.requests + other.requests,
        one.input + other.input,
        one.cached + other.cached,
        one.output + other.output,
        one.calls + other.calls,
        one.told and other.told,
    )
