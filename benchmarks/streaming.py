"""A chat model that streams what a player says, for the ways in which calls start early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, AnyMessage, BaseMessage, ToolCall, ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from benchmarks.pace import TOKENS_PER_SECOND, TTFT, decode
from benchmarks.players import AWAIT_TOKENS, FLAG_TOKENS, Player, played


class StreamingModel(BaseChatModel):
    """Decodes as fast as the other ways' models, call after call.

    A call is there when the last of its tokens is, with what it says of waiting; the message when
    `decode` of all tokens has passed.
    """

    player: Callable[[], Player]
    """Who plays now."""

    @property
    def _llm_type(self) -> str:
        return "player"

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        del args, kwargs
        player = self.player()
        clock = asyncio.get_running_loop().time
        start = clock()
        reply = player.reply(cast("list[AnyMessage]", messages))
        spent = 0
        for index, call in enumerate(reply.tool_calls):
            spent += _tokens(player, call)
            await asyncio.sleep(start + TTFT + spent / TOKENS_PER_SECOND - clock())
            chunk = ToolCallChunk(
                name=call["name"],
                args=json.dumps(call["args"]),
                id=call["id"],
                index=index,
                type="tool_call_chunk",
            )
            yield ChatGenerationChunk(
                message=AIMessageChunk(content="", id=reply.id, tool_call_chunks=[chunk])
            )
        assert not reply.tool_calls or spent == player.output[-1]
        await asyncio.sleep(max(0.0, start + decode(player.output[-1]) - clock()))
        last = AIMessageChunk(content=reply.content, id=reply.id, chunk_position="last")
        yield ChatGenerationChunk(message=last)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("It streams, on an event loop.")


def _tokens(player: Player, call: ToolCall) -> int:
    """Tokens of a call, with those by which it says what is waited for."""
    number = played(call)
    if number is None:
        return AWAIT_TOKENS
    return player.tokens[number] + FLAG_TOKENS * ("await_result" in call["args"])
