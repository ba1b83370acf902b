"""What can be said of one tool by itself. Each rule takes a survey and yields findings."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Final

from langchain_asyncfc.effects import levels_of
from langchain_asyncfc.effects_audit.findings import Finding
from langchain_asyncfc.effects_audit.meeting import reads_of, writes_of
from langchain_asyncfc.effects_audit.surveys import Survey
from langchain_asyncfc.effects_audit.words import (
    is_irrevocable,
    repeats_well,
    words_of,
    writing_verb,
)
from langchain_asyncfc.toolbox import Origin

__all__ = ["TOOL_RULES", "path_arguments"]

_PATHS: Final = frozenset(
    {"dest", "destination", "dir", "directory", "dst", "file", "filename", "filepath", "files"}
    | {"folder", "path", "paths", "source", "src", "target"}
)
"""Words in the names of arguments that name files."""

_PROGRAMS: Final = frozenset(
    {"bash_command", "cmd", "code", "command", "commands", "python_code", "script"}
    | {"shell_command", "source_code"}
)
"""Names of arguments that hold a program; SQL is left to the labels."""

_NO_NAMES: Final = frozenset({"object", "null"})
"""JSON types of values that never name a resource: they leave a template at its parent."""


def _found(tool: Survey, code: str, what: str, advice: str) -> Finding:
    return Finding(code, (tool.name,), what, advice, (tool.where,) if tool.where else ())


def path_arguments(tool: Survey) -> list[str]:
    """The arguments that name files, by their names and types."""
    return [
        name
        for name, types in tool.parameters.items()
        if _PATHS.intersection(words_of(name)) and types & {"string", "array"}
    ]


def refused(tool: Survey) -> Iterator[Finding]:
    """A001: building a node with these labels is an error."""
    if not tool.refused:
        return
    unknown = [name for name in tool.effects.arguments() if name not in tool.parameters]
    close = difflib.get_close_matches(unknown[0], tool.parameters, 1) if unknown else []
    meant = f" Perhaps {{{close[0]}}} is meant." if close else ""
    advice = "Name an argument that the model gives." if unknown else "Rename the tool."
    yield _found(tool, "A001", tool.refused, advice + meant)


def named_like_a_writer(tool: Survey) -> Iterator[Finding]:
    """A010: the labels say that it writes nothing, its name or description that it does."""
    verb = writing_verb(tool.name, tool.description)
    if not tool.only_reads or verb is None:
        return
    by = "its name" if verb in words_of(tool.name) else "its description"
    yield _found(
        tool,
        "A010",
        f"{by} says '{verb}', its labels ({tool.origin}) say that it writes nothing",
        "Say what it writes, as in @effects(writes=...). If nobody else sees what it changes, "
        "leave the labels and silence this code.",
    )


def hinted_as_a_writer(tool: Survey) -> Iterator[Finding]:
    """A011, A012: MCP hints against the labels, and against each other."""
    hints = tool.hints
    destroys, reads = hints.get("destructiveHint"), hints.get("readOnlyHint")
    if destroys and reads:
        yield _found(
            tool,
            "A012",
            "readOnlyHint and destructiveHint are both true",
            "With trust_mcp_hints=True it counts as a reader. Label it by effects=.",
        )
    elif tool.only_reads and (destroys or reads is False):
        hint = "destructiveHint=true" if destroys else "readOnlyHint=false"
        yield _found(
            tool,
            "A011",
            f"its server says {hint}, its labels ({tool.origin}) say that it writes nothing",
            "Say what it writes, or make sure that the server is wrong.",
        )


def path_left_out(tool: Survey) -> Iterator[Finding]:
    """A013: of several arguments that name paths only some are in its labels."""
    if not tool.declared:
        return
    named = tool.effects.arguments()
    paths = path_arguments(tool)
    missing = [name for name in paths if name not in named]
    if not missing or len(missing) == len(paths):
        return
    bare = [path for path in (*reads_of(tool), *writes_of(tool)) if "{" not in path]
    roots = {levels_of(path)[:1] for path in named.values()}
    if any(not levels_of(path) or levels_of(path) in roots for path in bare):
        return  # a wider label covers it
    listed = ", ".join(missing)
    yield _found(
        tool,
        "A013",
        f"its labels name {', '.join(sorted(named))}, but not {listed}",
        f"If {listed} is read or written, say so, as in reads='fs:{{{missing[0]}}}'.",
    )


def runs_programs(tool: Survey) -> Iterator[Finding]:
    """A014: what the model writes there can do anything."""
    programs = sorted(_PROGRAMS & set(tool.parameters))
    if not tool.declared or not programs:
        return
    if any(not levels_of(path) for path in writes_of(tool)):
        return
    yield _found(
        tool,
        "A014",
        f"it runs what the model writes into {', '.join(programs)}; no label knows what",
        "Say reads='/', writes='/' or leave it undeclared, unless each call has a sandbox of its "
        "own, or one that the labels cover.",
    )


def leads_upwards(tool: Survey) -> Iterator[Finding]:
    """A015: `..` in a label is worked out, and cannot lead above the first level."""
    for path in (*reads_of(tool), *writes_of(tool)):
        if ".." in path.partition(":")[2].split("/") or ".." in path.split("/"):
            yield _found(
                tool,
                "A015",
                f"the label '{path}' holds '..', which ends at the first level of the resource",
                "Write the path that is meant, from the resource's name down.",
            )


def adds_up(tool: Survey) -> Iterator[Finding]:
    """A016: a second time does a second thing, by its name."""
    verb = writing_verb(tool.name)
    if not tool.effects.idempotent or tool.only_reads or repeats_well(verb) is not False:
        return
    if tool.hints.get("idempotentHint"):
        return
    yield _found(
        tool,
        "A016",
        f"it is declared idempotent and named '{verb}': after a crash it is run again",
        "Make sure that a second call with the same arguments changes nothing more, "
        "or take idempotent=True away.",
    )


def interrupts(tool: Survey) -> Iterator[Finding]:
    """A017: it would be started in the background, and once more to ask."""
    if tool.interrupts and not tool.effects.foreground:
        yield _found(
            tool,
            "A017",
            "it calls interrupt(); begun in the background, what stands before that runs twice",
            "Declare foreground=True.",
        )


def optional_argument(tool: Survey) -> Iterator[Finding]:
    """A032, A033: templates that cover their parents, sometimes or always."""
    for name, path in tool.effects.arguments().items():
        if name not in tool.parameters:
            continue  # A001
        types = tool.parameters[name]
        if types and types <= _NO_NAMES:
            yield _found(
                tool,
                "A033",
                f"'{path}': the argument {name} takes {' or '.join(sorted(types))}, which names no "
                "resource, so the label always covers its parent",
                f"Write the parent, or name an argument that is a text in place of {name}.",
            )
        elif name not in tool.required:
            yield _found(
                tool,
                "A032",
                f"'{path}': a call without {name} covers the parent; defaults are not filled in",
                f"Make {name} required where its calls need not wait for the whole parent.",
            )


def touches_everything(tool: Survey) -> Iterator[Finding]:
    """A034: `/` conflicts with all labels there are."""
    if tool.origin is Origin.TRUSTED_HINTS:
        return  # that is what readOnlyHint comes to
    if not tool.declared and tool.origin in (Origin.DECORATOR, Origin.MAPPING):
        yield _found(
            tool,
            "A034",
            "it is left undeclared on purpose: its calls wait for all calls of earlier messages, "
            "and all later ones for it",
            "Name what it touches, if that is known.",
        )
    for side, paths in (("reads", reads_of(tool)), ("writes", writes_of(tool))):
        if any(not levels_of(path) for path in paths):
            waits = "all that write anything" if side == "reads" else "all that read or write"
            yield _found(
                tool,
                "A034",
                f"it {side} everything: its calls and {waits} wait for each other",
                "Name what it touches, if that is known.",
            )


def hints_unused(tool: Survey) -> Iterator[Finding]:
    """A035: hints that would count if the server were trusted."""
    if tool.origin is Origin.UNTRUSTED_HINTS:
        hints = ", ".join(f"{name}={str(value).lower()}" for name, value in tool.hints.items())
        yield _found(
            tool,
            "A035",
            f"its server says {hints}; it counts as undeclared all the same",
            "Give it labels by effects=, or trust_mcp_hints=True if you trust the server.",
        )


def lost_in_a_crash(tool: Survey) -> Iterator[Finding]:
    """A040: what writes and may be repeated could say so."""
    if tool.effects.idempotent or tool.only_reads:
        return
    if tool.hints.get("idempotentHint"):
        why = "its server says idempotentHint=true"
    elif tool.declared and repeats_well(verb := writing_verb(tool.name)):
        why = f"'{verb}' can often be repeated without harm"
    else:
        return
    yield _found(
        tool,
        "A040",
        f"a call that a crash interrupts is delivered as lost; {why}",
        "Say idempotent=True if a second call with the same arguments does no harm.",
    )


def never_in_the_background(tool: Survey) -> Iterator[Finding]:
    """A041: its calls run in the step, and the model waits for them."""
    reasons = [
        text
        for holds, text in (
            (tool.return_direct, "return_direct"),
            (tool.effects.foreground, "foreground=True"),
        )
        if holds
    ]
    if reasons:
        ack = "; ack=True changes nothing there" if tool.effects.ack else ""
        yield _found(
            tool,
            "A041",
            f"{' and '.join(reasons)}: the model waits for its calls{ack}",
            "Nothing, if a person approves it, it interrupts, or its result is the answer.",
        )


def irrevocable(tool: Survey) -> Iterator[Finding]:
    """A042: what must not happen after a failure."""
    verb = writing_verb(tool.name)
    if is_irrevocable(verb) and not (tool.effects.fence or tool.effects.foreground):
        yield _found(
            tool,
            "A042",
            f"it is named '{verb}', and starts even if an earlier call failed",
            "Say fence=True if it must not, or foreground=True if a person approves it.",
        )


TOOL_RULES: Final[tuple[Callable[[Survey], Iterator[Finding]], ...]] = (
    refused,
    named_like_a_writer,
    hinted_as_a_writer,
    path_left_out,
    runs_programs,
    leads_upwards,
    adds_up,
    interrupts,
    optional_argument,
    touches_everything,
    hints_unused,
    lost_in_a_crash,
    never_in_the_background,
    irrevocable,
)
"""Every rule, in the order of the codes as far as possible."""
