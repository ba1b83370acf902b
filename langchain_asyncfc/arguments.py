"""A call's arguments once values are known: what they name, and what the tool is run with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from langchain_asyncfc.calls import Call
from langchain_asyncfc.effects import Access, access_of
from langchain_asyncfc.errors import (
    FailedReference,
    ReferenceProblem,
    UnfitValue,
    UnknownReference,
)
from langchain_asyncfc.futures import future_id
from langchain_asyncfc.handles import ToolFuture
from langchain_asyncfc.parameters import check_value, takes_only_text
from langchain_asyncfc.references import Reference, lookup, substitute

__all__ = ["Values"]


class Values:
    """The values that references mean: those of a run's futures, and those of earlier runs.

    Args:
        futures: The run's futures by ordinal; they may grow.
    """

    def __init__(self, futures: Mapping[int, ToolFuture]) -> None:
        self._futures = futures
        self.earlier: Callable[[int], Any] = _no_value

    def earlier_failure(self, call: Call) -> FailedReference | None:
        """A future of an earlier run that the call refers to and that did not resolve."""
        for reference in call.references:
            if reference.ordinal not in self._futures:
                try:
                    self.earlier(reference.ordinal)
                except FailedReference as failure:
                    return failure
                except KeyError:
                    continue
        return None

    def access(self, call: Call) -> Access | None:
        """What a call reads and writes, as far as its arguments are known now."""
        if not call.sites:
            return access_of(call.facts.effects, call.args, frozenset())
        sites = [site for site in call.sites if site.references]
        open_sites = [site for site in sites if not all(map(self._is_known, site.references))]
        unknown = {str(site.location[0]) for site in open_sites}
        args = call.args
        try:
            known = [site for site in call.sites if str(site.location[0]) not in unknown]
            args = substitute(call.args, known, self._value)
            return access_of(call.facts.effects, args, frozenset(unknown))
        except Exception:  # noqa: BLE001 - whatever it is, the call fails with it when it is to start
            unknown = {str(site.location[0]) for site in sites}
        return access_of(call.facts.effects, args, frozenset(unknown))

    def final(self, call: Call) -> Mapping[str, Any]:
        """The arguments with which a call runs.

        Raises:
            ReferenceProblem: When a value is not there or does not fit.
        """
        if not call.sites:
            return call.args
        try:
            return self._filled(call)
        except ReferenceProblem:
            raise
        except Exception as error:
            # A value is an object of the tool's developer: to read it may raise anything.
            msg = (
                f"{', '.join(map(str, call.references))} cannot be used: to read it raised "
                f"{type(error).__name__}. Refer to another part of it, or write the value itself."
            )
            raise UnfitValue(msg) from error

    def _filled(self, call: Call) -> Mapping[str, Any]:
        tool = call.facts.tool
        if tool is None:
            return substitute(call.args, call.sites, self._value)
        wants_text = functools.partial(takes_only_text, tool)
        args = substitute(call.args, call.sites, self._value, wants_text)
        for site in call.sites:
            value: Any = args
            for step in site.location:
                value = value[step]
            if site.references and (misfit := check_value(tool, site.location, value)):
                msg = f"{', '.join(map(str, site.references))} does not fit: {misfit}"
                raise UnfitValue(msg)
        return args

    def _is_known(self, reference: Reference) -> bool:
        future = self._futures.get(reference.ordinal)
        return future is None or future.done

    def _value(self, reference: Reference) -> Any:
        future = self._futures.get(reference.ordinal)
        if future is not None:
            outcome = future.outcome
            assert outcome is not None  # noqa: S101 - the tracker waits for references
            return lookup(outcome.value, reference)
        try:
            return lookup(self.earlier(reference.ordinal), reference)
        except KeyError:
            msg = (
                f"'{reference}' cannot be used: no value of {future_id(reference.ordinal)} is kept "
                "from an earlier run. Write the value itself."
            )
            raise UnknownReference(msg) from None


def _no_value(ordinal: int) -> Any:
    raise KeyError(ordinal)
