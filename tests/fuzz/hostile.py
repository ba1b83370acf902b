"""What the fuzzer is made of: hostile messages, tools that note their runs, and a watch.

Every call that is made up carries a number of its own in the argument `n`, so that a run of a tool
can be told to come from one call.
"""

# ruff: noqa: RUF005 - lists of odd things, a line each
from __future__ import annotations

import inspect
import os
import sys
import threading
import traceback
import typing
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition as asks_for_tools

import langchain_asyncfc
from langchain_asyncfc import Effects, tools_condition
from langchain_asyncfc.parameters import check_value
from langchain_asyncfc.testing import run_virtual

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "50"))
FUZZ = settings(
    max_examples=EXAMPLES,
    # Not shrunk: that takes minutes here, and the example is printed as it was drawn.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=list(HealthCheck),
)

PACKAGE = str(Path(langchain_asyncfc.__file__).parent)
CONTROL = ("await_future", "cancel_future")
SAFE = ("look", "read", "keep")
"""Tools that write nothing."""
NAMES = (*SAFE, "note", "seal")


# -- what models may write -----------------------------------------------------------------------


def deep(levels: int, leaf: Any = None) -> Any:
    """A list in a list in a list …."""
    for _ in range(levels):
        leaf = [leaf]
    return leaf


any_text = st.text(st.characters(exclude_categories=()), max_size=20)
"""Also with halves of surrogate pairs."""

_paths = st.lists(
    st.sampled_from(
        [".a", "[0]", "[-1]", '["a key"]', "['b']", ".__class__", ".__class__.__mro__", "..", "["]
        + ["[0", "]", " .a", "[999999999]", "[9999999999999]", ".0", '[""]', ".é", ". ", "()"]
        + ["[0]" * 300, ".a" * 300, '["' * 300, "${future_1}", "}", "\n", "\x00"]
    ),
    max_size=3,
).map("".join)
_numbers = ["0", "1", "1", "2", "2", "3", "7", "01", "-1", "999999999", "9999999999", "", "x"]
_forms = ["{}", "{}", "{}", "${{{}}}", "a ${{{}}} b ${{{}}}", "\\{}", "\\\\${{{}}}", "{} is done"]
_forms += ["${{ {} }}", "${{${{{}}}}}", "${{{}", " {}", "{}\n", "${{HOME}} {}", "\\" * 300 + "{}"]


@st.composite
def references(draw: Any) -> str:
    """Texts that look like references, right and wrong."""
    reference = f"future_{draw(st.sampled_from(_numbers))}{draw(_paths)}"
    return str(draw(st.sampled_from(_forms)).replace("{}", reference).replace("{{", "{"))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    any_text,
    st.sampled_from(["", "x" * 100_000, "\\" * 5000 + "future_", "${" * 500, "[" * 5000, "🧨"]),
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and objects of these."""
    return st.recursive(
        leaves,
        lambda below: st.one_of(
            st.lists(below, max_size=4), st.dictionaries(any_text, below, max_size=4)
        ),
        max_leaves=8,
    )


plain_values = st.one_of(nested(scalars), st.sampled_from([deep(200), deep(100, {"a": "b"})]))
"""Values without anything that may be a reference."""


class Odd:
    """An object that is no data."""

    def __repr__(self) -> str:
        return "Odd()"


_odd = st.sampled_from(
    [b"\xff", {1, 2}, frozenset(), (1, "future_1"), Decimal(1), int, len, Odd(), range(3), ...]
    + [{"future_1": "future_1"}, {1: "future_1", None: 2}, complex(1), memoryview(b"a")]
)
values = nested(st.one_of(scalars, references(), references(), _odd))
"""Values of every kind, with references."""

_ids = st.one_of(
    st.sampled_from(["1", "2", "3", "1", "2"]),
    st.sampled_from([None, "", "x" * 10_000, "\ud800", "1\n", "future_1"]),
)
_names = st.sampled_from([*NAMES, *NAMES, *CONTROL, "unknown", "", "asyncfc", "__class__"])
_control_args = st.fixed_dictionaries(
    {},
    optional={
        "futures": st.one_of(
            st.lists(st.one_of(references(), scalars, _odd), max_size=3),
            st.sampled_from(["future_1", '["future_1"]', "future_1, future_2", "[" * 5000, [], {}]),
            st.sampled_from([b"future_1", {"a": 1}, deep(200), [10**5000], [["future_1"]], Odd()]),
            values,
        ),
        "timeout": st.one_of(
            st.sampled_from([0, 1, -1, 10**400, float("inf"), float("nan"), "3", True, 1e300, [1]]),
            scalars,
        ),
        "n": st.none(),
    },
)

Draft = tuple[str, dict[str, Any], str | None]
"""A call before it is numbered: name, arguments, id."""


@st.composite
def drafts(draw: Any, arguments: st.SearchStrategy[Any] = values) -> Draft:
    """A call of a tool, known or not, or of a control tool."""
    name = draw(_names)
    if name in CONTROL:
        return name, draw(_control_args), draw(_ids)
    args = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "x": arguments,
                "path": arguments,
                "await_result": st.sampled_from([True, False, "all", "true", None, 1, [], "x"]),
            },
        )
    )
    if draw(st.integers(0, 9)) == 9:
        args[draw(any_text)] = draw(arguments)
    return name, args, draw(_ids)


def is_plain(value: Any) -> bool:
    """Whether nothing in it may be taken for a reference."""
    return "future_" not in repr(value)


# -- what may stand in a list of messages ----------------------------------------------------------

_future_ids = st.one_of(
    st.sampled_from([f"future_{n}" for n in (0, 1, 1, 2, 2, 3, 5, 999_999_999)]),
    st.sampled_from(["future_", "future_9999999999", "future_1 ", "FUTURE_1", "", "future_-1"]),
    values,
)
_states = st.one_of(
    st.sampled_from(["pending", "pending", "pending", "resolved", "failed", "lost", "running"]),
    values,
)
records = st.one_of(
    st.fixed_dictionaries(
        {"future": _future_ids, "state": _states},
        optional={"value": values, "detach": values, "seen": values, "after": values},
    ),
    st.fixed_dictionaries(
        {
            "delivered": st.one_of(
                values,
                st.dictionaries(
                    st.sampled_from(["future_1", "future_2", "future_9", "x", ""]),
                    st.one_of(
                        values,
                        st.fixed_dictionaries({"state": _states}, optional={"value": values}),
                    ),
                ),
            )
        }
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "literal": st.one_of(st.lists(st.sampled_from(["1", "2", None, 3, []])), values),
            "values_of": st.one_of(st.lists(_future_ids), values),
        },
    ),
    values,
)
"""Records, from nearly right to nothing of the kind."""

_kwargs = st.one_of(
    st.just({}),
    records.map(lambda record: {"asyncfc": record}),
    st.fixed_dictionaries({"lc_source": st.sampled_from(["summarization", 1]), "x": values}),
)
_message_ids = st.sampled_from([None, None, "m1", "m2", "m3", "m4", "m5"])
_contents = st.one_of(
    any_text,
    st.sampled_from(
        ["future_1 is running.", "[future_2] 3", "future_12 future_3"]
        + [[{"type": "text", "text": "x"}], [{"type": "tool_use", "async": True, "id": ["1"]}]]
        + [[{"type": "x", "async": True, "extras": 1}, "y"]]
    ),
)


@dataclass(slots=True)
class Numbers:
    """Numbers the calls of one example.

    Attributes:
        given: The arguments of each, by number.
        named: The tool of each.
    """

    given: dict[int, dict[str, Any]] = field(default_factory=dict)
    named: dict[int, str] = field(default_factory=dict)

    def ask(self, calls: Sequence[Draft], **options: Any) -> AIMessage:
        """A message with these calls."""
        made = []
        for name, args, call_id in calls:
            if name not in CONTROL:
                n = len(self.given) + 1
                args = {**args, "n": n}  # noqa: PLW2901
                self.given[n], self.named[n] = args, name
            made.append({"name": name, "args": args, "id": call_id, "type": "tool_call"})
        return AIMessage(options.pop("content", ""), tool_calls=made, **options)

    def of(self, message: BaseMessage) -> set[int]:
        """The numbers of a message's calls."""
        calls = message.tool_calls if isinstance(message, AIMessage) else []
        return {call["args"]["n"] for call in calls if call["name"] not in CONTROL}


@st.composite
def messages(draw: Any, numbers: Numbers) -> BaseMessage:
    """One message of any kind, with whatever may be in its `additional_kwargs`."""
    options = {"id": draw(_message_ids), "additional_kwargs": draw(_kwargs)}
    kind = draw(st.sampled_from(["tool", "tool", "tool", "ai", "ai", "human", "system"]))
    if kind == "ai":
        calls = draw(st.lists(drafts(), max_size=3))
        return numbers.ask(calls, content=draw(_contents), **options)
    content = draw(_contents)
    if kind == "tool":
        return ToolMessage(
            content,
            tool_call_id=draw(_ids.filter(lambda i: i is not None)),
            name=draw(st.sampled_from([None, "look", "note", ""])),
            status=draw(st.sampled_from(["success", "error"])),
            artifact=draw(st.one_of(st.none(), values)),
            **options,
        )
    return (HumanMessage if kind == "human" else SystemMessage)(content, **options)


# -- what is attacked ----------------------------------------------------------------------------


@dataclass(slots=True)
class Bench:
    """Tools that note their runs: the tool, and what it was run with."""

    runs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, **kwargs: Any) -> Any:
        """Note a run, and return what it was given."""
        with self.lock:
            self.runs.append((name, kwargs))
        return kwargs.get("x")

    def tools(self, *, seconds: float = 0.0) -> list[BaseTool]:
        """The tools, sync and async; the async ones take some seconds."""
        return [self._tool(name, seconds) for name in NAMES]

    def _tool(self, name: str, seconds: float) -> BaseTool:
        import asyncio

        if name == "read":

            def run(n: int, path: Any = None, x: Any = None) -> Any:
                return self.note(name, n=n, path=path, x=x)

            async def arun(n: int, path: Any = None, x: Any = None) -> Any:
                await asyncio.sleep(seconds)
                return self.note(name, n=n, path=path, x=x)
        else:

            def run(n: int, x: Any = None) -> Any:  # type: ignore[misc]
                return self.note(name, n=n, x=x)

            async def arun(n: int, x: Any = None) -> Any:  # type: ignore[misc]
                await asyncio.sleep(seconds)
                return self.note(name, n=n, x=x)

        # As types, not as the texts of this module: LangChain evaluates those, and is watched.
        hints = {"n": int, "path": Any, "x": Any} if name == "read" else {"n": int, "x": Any}
        run.__annotations__ = arun.__annotations__ = hints
        schema = None
        if name == "keep":  # as tools of MCP servers are
            properties = {"n": {"type": "integer"}, "x": {"anyOf": [{}, {"type": "string"}]}}
            schema = {"type": "object", "properties": properties, "required": ["n"]}
        return StructuredTool.from_function(
            run, arun, name=name, description=name, args_schema=schema, infer_schema=schema is None
        )


EFFECTS = {
    "look": Effects(),
    "keep": Effects(),
    "read": Effects(reads="fs:{path}/{x}"),
    "seal": Effects(writes="fs:", fence=True),
}


class Parrot(BaseChatModel):
    """A model that says one reply after the other, and then that it is done."""

    replies: list[AIMessage]
    said: list[AIMessage] = []  # noqa: RUF012 - pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Need no tools."""
        return self

    def reply(self) -> AIMessage:
        """The next reply."""
        n = len(self.said)
        reply = self.replies[n] if n < len(self.replies) else AIMessage("done")
        self.said.append(reply)
        return reply.model_copy()

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.reply())])


def agent(node: Any, model: Parrot, **options: Any) -> Any:
    """A graph of a model and tools, which begins with whatever the messages ask for."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda _: {"messages": [model.reply()]})
    builder.add_node("tools", node)
    ways = {"tools": "tools", "__end__": "model"}
    builder.add_conditional_edges(START, asks_for_tools, ways)
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile(**options)


def run(runnable: Any, given: Any, *, is_async: bool, config: Any = None) -> Any:
    """`invoke`, or `ainvoke` in virtual time."""
    if is_async:
        return run_virtual(runnable.ainvoke(given, config))
    return runnable.invoke(given, config)


# -- what must hold ------------------------------------------------------------------------------


def raised_by_package(error: BaseException) -> bool:
    """Whether an error was raised by the package itself, or by what it called.

    What `ToolNode`, a tool or LangGraph raised went through the package only on its way out.
    """
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    own = [index for index, file in enumerate(files) if file.startswith(PACKAGE)]
    if not own:
        return False
    inner = files[own[-1] + 1 :]
    return not any("/langgraph/" in file or "/langchain_core/tools/" in file for file in inner)


def check_runs(bench: Bench, numbers: Numbers, may_run: set[int], may_rerun: set[int]) -> None:
    """No call ran that should not, and none with other arguments.

    Args:
        bench: Has the runs.
        numbers: Has the calls.
        may_run: Calls that may have run, once.
        may_rerun: Calls of which placeholders were found, which may have run if that is safe.
    """
    counted = Counter(kwargs["n"] for _, kwargs in bench.runs)
    for name, kwargs in bench.runs:
        n = kwargs["n"]
        assert name == numbers.named[n]
        assert n in may_run or (n in may_rerun and name in SAFE), f"{name} {n} ran"
        assert counted[n] == 1, f"{name} {n} ran {counted[n]} times"
        given = numbers.given[n]
        for key in ("x", "path"):
            if key in given and key in kwargs and is_plain(given):
                assert repr(kwargs[key]) == repr(given[key])


def answers_of(found: Sequence[BaseMessage]) -> Counter[str]:
    """How many tool messages name each call."""
    return Counter(m.tool_call_id for m in found if isinstance(m, ToolMessage))


def asked_in(message: BaseMessage) -> Counter[str]:
    """How many calls a message makes under each id."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return Counter(call["id"] or "" for call in calls)


# -- what must not be done -----------------------------------------------------------------------

_EVENTS = frozenset(
    {"exec", "compile", "import", "open", "pickle.find_class", "marshal.loads", "code.__new__"}
    | {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "shutil.rmtree"}
    | {"socket.connect", "socket.getaddrinfo", "ctypes.dlopen", "urllib.Request", "os.remove"}
)


class Watch:
    """Sees code being loaded, evaluated or unpickled, files opened, processes started.

    Python has no way to take an audit hook away, so there is one, which is switched on and off.
    """

    def __init__(self) -> None:
        self._on = False
        self._installed = False
        self.seen: list[str] = []

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self._on and event in _EVENTS:
            frame = sys._getframe(1)
            callers = {f.f_code.co_filename for f in (frame, frame.f_back) if f is not None}
            if callers & {typing.__file__, inspect.__file__}:
                return  # annotations and signatures of the code of LangGraph and of tools
            caller = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            above: Any = frame
            while above is not None and not above.f_code.co_filename.startswith(PACKAGE):
                above = above.f_back
            if above is not None:
                self.seen.append(f"{event} {args!r:.200} {caller}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch a block, and assert that nothing of the kind was done under the package."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hook)
        self.seen.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False
        assert not self.seen, self.seen


WATCH = Watch()

# The library reads dict schemas with modules that it imports at the first one.
check_value(
    StructuredTool(name="x", description="x", args_schema={"type": "object"}, func=dict), ("x",), 1
)
