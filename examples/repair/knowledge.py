"""What the played engineer knows: which symptom in a test's output has which cause in the code.

A fix is proposed only after its symptom was seen in a test's output and its old text in the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fix:
    """A cause that the engineer recognises.

    Attributes:
        symptom: A regular expression over the output of the failing test file.
        why: The reasoning that is written before the edit.
        summary: What the edit does, for the final answer.
        old: The text to replace in the module.
        new: The text to put there.
        lookup: A pattern to grep for before editing, to make sure of something elsewhere.
    """

    symptom: str
    why: str
    summary: str
    old: str
    new: str
    lookup: str | None = None

    def matches(self, output: str) -> bool:
        """Whether the symptom stands in a test's output."""
        return re.search(self.symptom, output) is not None


FIXES: tuple[Fix, ...] = (
    Fix(
        symptom=r"assert None == 'ok'",
        why="retry() gives up one attempt early: range(1, attempts) leaves out the last one, and "
        "then falls through and returns None.",
        summary="the last attempt counts",
        old="range(1, attempts):",
        new="range(1, attempts + 1):",
    ),
    Fix(
        symptom=r"assert \[1, 2, 3\] == \[1, 2, 4\]",
        why="The last attempt counts now. But the waits are 1, 2, 3: the delay grows by a constant "
        "instead of by the factor.",
        summary="waits grow by the factor",
        old="delay += first_delay",
        new="delay *= factor",
    ),
    Fix(
        symptom=r"assert 'abc' is None",
        why="get() stores the value again with the present time, so every reading makes it young. "
        "The age must count from put().",
        summary="reading does not renew a value",
        old="        self._entries[key] = (value, self._clock())\n        return value",
        new="        return value",
    ),
    Fix(
        symptom=r"assert 6 == 3",
        why="The bucket is refilled without a limit: after an idle time it holds more than its "
        "capacity.",
        summary="the bucket holds no more than its capacity",
        old="self._tokens += (now - self._at) * self._rate",
        new="refilled = self._tokens + (now - self._at) * self._rate\n"
        "        self._tokens = min(self._capacity, refilled)",
    ),
    Fix(
        symptom=r"TimeoutError: \d+ jobs are not done",
        why="An exception in a job ends the worker's thread, and task_done() is never called. "
        "Keep the exception as the job's result.",
        summary="an exception becomes the job's result",
        old="            self.results[job_id] = job()\n            self._jobs.task_done()",
        new="            try:\n"
        "                self.results[job_id] = job()\n"
        "            except Exception as error:\n"
        "                self.results[job_id] = error\n"
        "            finally:\n"
        "                self._jobs.task_done()",
    ),
    Fix(
        symptom=r"UnknownJob",
        why="The store raises its own UnknownJob, which is no KeyError, so the handler dies "
        "instead of answering 404.",
        summary="an unknown job is answered with 404",
        old="except KeyError:",
        new="except errors.UnknownJob:",
        lookup=r"\bUnknownJob\b",
    ),
)
