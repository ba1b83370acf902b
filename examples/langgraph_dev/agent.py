"""A research agent whose tools run in the background, for `langgraph dev` and Studio.

Without a key the model is a script: whatever the user asks, it searches both shelves of a small
library, reads the best page of each, files a note, and answers from the pages. It sees what a
model sees and nothing else, and it is no model: it does not understand the question. `MODEL` in
the environment names a real one, as `langchain.chat_models.init_chat_model` takes it.

`PACE` stretches or shortens all that the script and the tools wait for: 1 is the speed of a usual
model and of slow services, 0.1 ten times as fast.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from typing import Annotated, Literal

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain.tools import ToolRuntime
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from pydantic import Field

from langchain_asyncfc import AsyncFCMiddleware, effects
from langchain_asyncfc.testing import ScriptedChatModel, call

PACE = float(os.environ.get("PACE", "1"))

INSTRUCTIONS = """\
You answer questions from a small library about lighthouses. Search both shelves, read the best \
page of each, save a note with what you found, list the notes, and answer in a few sentences that \
name the pages."""

NOTES = ("notes",)
"""Where notes are kept in the store; Studio shows them as memory."""


LIBRARY: dict[str, dict[str, tuple[str, str]]] = {
    "history": {
        "h1": ("Alexandria", "The lighthouse of Alexandria was built about 280 BC."),
        "h2": ("Eddystone", "Smeaton's tower of 1759 stood on dovetailed blocks of granite."),
        "h3": ("Keepers", "The last keepers of a British light left North Foreland in 1998."),
    },
    "technique": {
        "t1": ("Lenses", "The first Fresnel lens was lit in 1823, in the lighthouse of Cordouan."),
        "t2": ("Rhythm", "Each light flashes in a rhythm of its own, so that sailors can tell it."),
        "t3": ("Power", "Many lights run on LEDs today, with solar panels and batteries."),
    },
}
"""Per shelf, the pages by id: title and text."""

Shelf = Literal["history", "technique"]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


# -- the tools ------------------------------------------------------------------------------------
# Waiting stands for a slow service. Searching and reading change nothing and never wait for each
# other; listing notes waits for notes that are being written.


@effects()
@tool
async def search(shelf: Shelf, question: str) -> list[dict[str, str]]:
    """Search a shelf of the library; the best hits come first, each with `page` and `title`."""
    await asyncio.sleep(2 * PACE)
    wanted = _words(question)
    pages = sorted(
        LIBRARY[shelf].items(), key=lambda item: -len(wanted & _words(" ".join(item[1])))
    )
    return [{"page": page, "title": title} for page, (title, _) in pages]


@effects(reads="pages:{page}")
@tool
def read_page(page: Annotated[str, Field(description="the id of a page, from a search")]) -> str:
    """Read a page of the library."""
    time.sleep(1.5 * PACE)  # a sync tool runs in a thread: this does not block the server
    for pages in LIBRARY.values():
        if page in pages:
            title, text = pages[page]
            return f"{title}: {text}"
    raise ToolException(f"there is no page {page!r}")


@effects(writes="notes:{title}")
@tool
async def save_note(title: str, text: str, runtime: ToolRuntime) -> str:
    """Save a note under a title; an earlier one of that title is replaced."""
    await asyncio.sleep(0.5 * PACE)
    if runtime.store is None:
        raise ToolException("there is no store for notes")
    await runtime.store.aput(NOTES, title, {"text": text})
    return f"saved {title!r}"


@effects(reads="notes:")
@tool
async def list_notes(runtime: ToolRuntime) -> list[str]:
    """List the titles of all notes."""
    if runtime.store is None:
        raise ToolException("there is no store for notes")
    return sorted(item.key for item in await runtime.store.asearch(NOTES, limit=100))


TOOLS: Sequence[BaseTool] = (search, read_page, save_note, list_notes)


# -- the model ------------------------------------------------------------------------------------


def researcher(messages: list[BaseMessage]) -> AIMessage:
    """Reply as a researcher would, step by step, whatever was asked."""
    names = {made.name for made in TOOLS}
    asked = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=0)
    question = messages[asked].text.strip() or "lighthouses"
    spoken = [m for m in messages if isinstance(m, AIMessage)]
    calls = [made for m in spoken for made in m.tool_calls if made["name"] in names]
    turn = [m for m in messages[asked:] if isinstance(m, AIMessage)]
    done = [made for m in turn for made in m.tool_calls if made["name"] in names]
    # Futures are numbered by the calls of the conversation.
    first = len(calls) - len(done) + 1
    match len(done):
        case 0:
            return AIMessage(
                "I search both shelves.",
                tool_calls=[
                    call("search", shelf="history", question=question),
                    call("search", shelf="technique", question=question),
                ],
            )
        case 2:
            return AIMessage(
                "I read the best page of each, as soon as it is known.",
                tool_calls=[
                    call("read_page", page=f"future_{first}[0].page"),
                    call("read_page", page=f"future_{first + 1}[0].page"),
                ],
            )
        case 4:
            text = f"${{future_{first + 2}}}\n${{future_{first + 3}}}"
            return AIMessage(
                "I file what they say, and look at the notes.",
                tool_calls=[call("save_note", title=question, text=text), call("list_notes")],
            )
    return AIMessage(_answer(messages[asked:]))


def _answer(turn: list[BaseMessage]) -> str:
    """What there is to say at the end of a turn: nothing yet, while results are missing."""
    results = [m for m in turn if isinstance(m, ToolMessage)]
    if any(" is running." in m.text for m in results):
        return "All that I need is on its way."
    read = [f"- {m.text}" for m in results if m.name == "read_page"]
    notes = [m.text for m in results if m.name == "list_notes"]
    return "\n".join(["The library says:", *read, "", f"Notes so far: {', '.join(notes)}"])


def make_model() -> BaseChatModel:
    """Return the model that `MODEL` names, or the script."""
    if name := os.environ.get("MODEL"):
        return init_chat_model(name)
    return ScriptedChatModel(
        policy=researcher,
        ttft=0.4 * PACE,
        tokens_per_second=60 / PACE,
        check_history=True,
    )


agent = create_agent(
    make_model(), TOOLS, system_prompt=INSTRUCTIONS, middleware=[AsyncFCMiddleware()]
)
