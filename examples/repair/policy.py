"""The played engineer: one function from a request to what the model says next.

It is one policy for every tool node, and knows nothing but the request. It works on one test
file after the other, as most models do: reproduce the failure and read the code (one message,
three calls), edit, run the tests again, next. Under `ToolNode` every result is there when it is
asked again. When it sees a placeholder instead, it does what can be done without that result; it
repeats no call, and guesses no result. When nothing else can be done, it waits: with
`await_result` on the call itself or with `await_future`, as far as the request's tools offer
them, or else by ending its turn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from examples.repair.history import Call, calls_of
from examples.repair.knowledge import FIXES, Fix
from examples.scripted.replies import Action, Reply
from examples.scripted.wire import Request, UserMessage, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NOTHING = Reply("")
_TEST_FILE = re.compile(r"\btests/test_\w+\.py\b")


class Rank(IntEnum):
    """What a test file needs next, most urgent first; from `WAIT` on there is nothing to do."""

    VERIFY = 0
    REPAIR = 1
    START = 2
    WAIT = 3
    GREEN = 4
    STUCK = 5


@dataclass(frozen=True, slots=True)
class Step:
    """The next step for one test file.

    Attributes:
        rank: What kind of step it is.
        reply: What to say and do.
        lacks: The calls whose results are waited for.
        repaired: Whether these are test runs after a repair, so that nothing more is expected.
    """

    rank: Rank
    reply: Reply = _NOTHING
    lacks: tuple[Call, ...] = ()
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One failing test file and the calls made so far."""

    test: str
    calls: Sequence[Call]

    @property
    def module(self) -> str:
        """Return the module that the test file is about."""
        return self.test.replace("tests/test_", "relay/")

    def made(self, name: str, **arguments: str) -> list[Call]:
        """Return the calls to a tool that have these arguments, oldest first."""
        wanted = arguments.items()
        return [
            call for call in self.calls if call.name == name and wanted <= call.arguments.items()
        ]

    def next_step(self) -> Step:
        """Return what to do next for this file."""
        runs = self.made("run_tests", path=self.test)
        edits = self.made("apply_edit", path=self.module)
        if not runs:
            return Step(Rank.START, self._start())
        if edits and edits[-1].position > runs[-1].position:
            # Calls take effect in the order in which they were made, so the tests can be started
            # while the edit is pending.
            return Step(Rank.STUCK) if edits[-1].failed else Step(Rank.VERIFY, self._verify())
        if (output := runs[-1].result) is None:
            return Step(Rank.WAIT, lacks=(runs[-1],), repaired=bool(edits))
        if output.startswith("exit status 0\n"):
            return Step(Rank.GREEN)
        return self._repair(output, edits)

    def fixes(self, edits: Iterable[Call]) -> list[Fix]:
        """Return the fixes that were made by some edits."""
        return [fix for edit in edits for fix in FIXES if fix.new == edit.arguments["new"]]

    def _start(self) -> Reply:
        running = any(call.pending for call in self.calls)
        text = "While that runs, I look at" if running else "I run the tests of"
        return Reply(
            f"{text} {self.module}.",
            (
                Action("run_tests", {"path": self.test}),
                Action("read_file", {"path": self.module}),
                Action("read_file", {"path": self.test}),
            ),
        )

    def _verify(self) -> Reply:
        return Reply("Now its tests again.", (Action("run_tests", {"path": self.test}),))

    def _repair(self, output: str, edits: Sequence[Call]) -> Step:
        read = self.made("read_file", path=self.module)[-1]
        if read.result is None:
            return Step(Rank.WAIT, lacks=(read,))
        source = read.result
        for edit in edits:
            source = source.replace(edit.arguments["old"], edit.arguments["new"])
        fix = next((fix for fix in FIXES if fix.matches(output) and fix.old in source), None)
        if fix is None:
            return Step(Rank.STUCK)
        if fix.lookup:
            if not (lookups := self.made("grep", pattern=fix.lookup)):
                text = "The handler misses the error that the store raises. Where is it defined?"
                return Step(Rank.REPAIR, Reply(text, (Action("grep", {"pattern": fix.lookup}),)))
            if lookups[-1].pending:
                return Step(Rank.WAIT, lacks=(lookups[-1],))
        arguments = {"path": self.module, "old": fix.old, "new": fix.new}
        return Step(Rank.REPAIR, Reply(fix.why, (Action("apply_edit", arguments),)))


@dataclass(frozen=True, slots=True)
class Waiting:
    """The ways to wait that the request's tools offer."""

    on_call: frozenset[str]
    """Names of the tools that take `await_result`."""
    by_tool: bool
    """Whether `await_future` can be called."""

    @classmethod
    def offered(cls, request: Request) -> Waiting:
        """Return what a request offers."""
        functions = [tool.function for tool in request.tools]
        return cls(
            frozenset(f.name for f in functions if "await_result" in f.parameters["properties"]),
            any(function.name == "await_future" for function in functions),
        )

    def for_result(self, reply: Reply, mode: bool | str = True) -> Reply:
        """Return the reply with a request to wait for its first call, or with "all" for all calls.

        An edit is not waited for: the test run after it is.
        """
        first, *others = reply.actions
        if first.name not in self.on_call or first.name == "apply_edit":
            return reply
        first = replace(first, arguments={**first.arguments, "await_result": mode})
        return replace(reply, actions=(first, *others))

    def now(self, lacks: Iterable[Call]) -> Reply:
        """Return a reply that only waits for the results of some calls."""
        futures = [call.future for call in lacks]
        if not self.by_tool:
            return Reply("I wait for the results that are still to come.")
        return Reply("I need this result first.", (Action("await_future", {"futures": futures}),))


def decide(request: Request) -> Reply:
    """Return what the engineer says to a request."""
    calls = calls_of(request.messages)
    waiting = Waiting.offered(request)
    listing = next((call for call in calls if call.name == "list_files"), None)
    if listing is None:
        first = Reply("First an overview.", (Action("list_files", {}),))
        return waiting.for_result(first)
    if listing.result is None:
        return waiting.now([listing])
    cases = [Case(test, calls) for test in _asked(request) if test in listing.result.split("\n")]
    steps = sorted((case.next_step() for case in cases), key=lambda step: step.rank)
    doable = [step for step in steps if step.rank < Rank.WAIT]
    if len(doable) > 1:
        return doable[0].reply
    waits = [step for step in steps if step.rank is Rank.WAIT]
    if doable:
        return _last_doable(doable[0], waits, waiting)
    if waits:
        # The oldest is likely to be there first, and one result is enough to go on.
        oldest = min(waits, key=lambda step: step.lacks[0].position)
        return waiting.now(oldest.lacks)
    return _finish(cases, calls, waiting)


def _last_doable(step: Step, waits: Sequence[Step], waiting: Waiting) -> Reply:
    """Return the reply of the only step that can be done, which may wait for its result.

    It does not where a failure in another file may be known first: that would give something to
    do. With the last test runs of all files it waits for all of them.
    """
    if not all(wait.repaired for wait in waits):
        return step.reply
    last = step.rank is Rank.VERIFY and bool(waits)
    return waiting.for_result(step.reply, "all" if last else True)


def _asked(request: Request) -> list[str]:
    """Return the test files that the user names, in the order of the first mention."""
    said = [text_of(m.content) for m in request.messages if isinstance(m, UserMessage)]
    return list(dict.fromkeys(_TEST_FILE.findall("\n".join(said))))


def _finish(cases: Sequence[Case], calls: Sequence[Call], waiting: Waiting) -> Reply:
    last_edit = max((c.position for c in calls if c.name == "apply_edit"), default=-1)
    diffs = [c for c in calls if c.name == "git_diff" and c.position > last_edit]
    if not diffs:
        final = Reply("A last look at the whole change.", (Action("git_diff", {}),))
        return waiting.for_result(final)
    if diffs[-1].result is None:
        return waiting.now([diffs[-1]])
    return Reply("\n".join(_summary(cases)))


def _summary(cases: Sequence[Case]) -> Iterable[str]:
    green = [case for case in cases if case.next_step().rank is Rank.GREEN]
    yield f"{len(green)} of {len(cases)} test files pass."
    for case in cases:
        if case in green:
            edits = case.made("apply_edit", path=case.module)
            yield f"- {case.module}: {', '.join(fix.summary for fix in case.fixes(edits))}"
        else:
            yield f"- {case.module}: I did not find the cause."
