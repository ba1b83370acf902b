"""The real clients, each with a local server in the place of its service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel

from tests.integration.providers.anthropic_messages import Messages
from tests.integration.providers.gemini import GenerateContent
from tests.integration.providers.openai_chat import ChatCompletions
from tests.integration.providers.openai_responses import Responses
from tests.integration.providers.server import Protocol, ProviderServer


@dataclass(frozen=True, slots=True)
class Provider:
    """A client with the options under which it is tested, and its server's protocol.

    Attributes:
        name: What tests call it.
        protocol: Makes the server's side.
        client: Makes the client for a server's address.
        stores: Whether its answers have ids of responses that the service keeps. A client may send
            only what is new, and whether it does cannot be told from the messages.
    """

    name: str
    protocol: Callable[[], Protocol]
    client: Callable[[str], BaseChatModel]
    stores: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A provider whose server runs."""

    provider: Provider
    server: ProviderServer
    model: BaseChatModel


def _openai(url: str, **options: Any) -> BaseChatModel:
    ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI
    # At another address than OpenAI's the client does not ask for usage data by itself.
    options = {"stream_usage": True, **options}
    return ChatOpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0, **options)


def _anthropic(url: str, **options: Any) -> BaseChatModel:
    ChatAnthropic = pytest.importorskip("langchain_anthropic").ChatAnthropic
    # A name of no real model, as the client warns of those that are going to end.
    options = {"model": "claude-test", "max_tokens": 2048, **options}
    return ChatAnthropic(base_url=url, api_key="key", max_retries=0, **options)


def _gemini(url: str, model: str) -> BaseChatModel:
    ChatGoogleGenerativeAI = pytest.importorskip("langchain_google_genai").ChatGoogleGenerativeAI
    return ChatGoogleGenerativeAI(model=model, base_url=url, api_key="key", max_retries=0)


PROVIDERS = [
    Provider(
        "openai-chat",
        ChatCompletions,
        lambda url: _openai(url, model="gpt-4.1"),
    ),
    Provider(
        "openai-responses",
        Responses,
        lambda url: _openai(url, model="gpt-4.1", use_responses_api=True),
        stores=True,
    ),
    Provider(
        "openai-responses-stored",
        Responses,
        lambda url: _openai(url, model="gpt-4.1", use_previous_response_id=True),
        stores=True,
    ),
    Provider("anthropic", Messages, _anthropic),
    Provider("gemini", GenerateContent, lambda url: _gemini(url, "gemini-2.5-flash")),
]
"""The clients as most programs use them."""


def _native(name: str, **options: Any) -> Provider:
    return Provider(
        name,
        Responses,
        lambda url: _openai(url, **{"model": "gpt-6-test", **options}),
        stores=True,
    )


NATIVE = [
    _native("openai-native", use_responses_api=True),
    _native("openai-native-responses-v1", output_version="responses/v1"),
    _native("openai-native-v1", use_responses_api=True, output_version="v1"),
    _native("openai-native-stored", use_previous_response_id=True),
    _native("openai-native-stored-v1", use_previous_response_id=True, output_version="v1"),
]
"""Clients of a model that takes asynchronous tools, and shows which calls are."""

OTHERWISE_NATIVE = [
    _native("openai-native-by-name"),  # the client itself chooses the API
    _native("openai-native-v0", use_responses_api=True, output_version="v0"),
]
"""The same where the client does something else by itself, or hides what calls are."""

REASONING = [
    Provider(
        "openai-responses-reasoning",
        lambda: Responses(reasons=True),
        lambda url: _openai(url, model="gpt-5", use_responses_api=True),
        stores=True,
    ),
    Provider(
        "openai-responses-reasoning-v1",
        lambda: Responses(reasons=True),
        lambda url: _openai(url, model="gpt-5", use_responses_api=True, output_version="v1"),
        stores=True,
    ),
    Provider(
        "openai-responses-reasoning-stored",
        lambda: Responses(reasons=True),
        lambda url: _openai(url, model="gpt-5", use_previous_response_id=True),
        stores=True,
    ),
    Provider(
        "anthropic-thinking",
        Messages,
        lambda url: _anthropic(url, thinking={"type": "enabled", "budget_tokens": 1024}),
    ),
    Provider(
        "anthropic-v1",
        Messages,
        lambda url: _anthropic(
            url, thinking={"type": "enabled", "budget_tokens": 1024}, output_version="v1"
        ),
    ),
    Provider("gemini-3", GenerateContent, lambda url: _gemini(url, "gemini-3-pro-preview")),
]
"""Clients of models that think, whose thoughts must go back as they came."""
