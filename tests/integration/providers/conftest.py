"""Agents whose real clients talk to local servers, and scripts for the models behind those.

Every request is checked by the server as the real service would check it. The tools end when a
script opens their gates, so no test depends on time: what must be delivered at a certain step is
waited for in that step (`await_result`, `await_future`, a call that takes the result), and what
must not be is behind a closed gate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_asyncfc.testing import assert_valid_history
from tests.integration.providers.clients import PROVIDERS, Provider, Service
from tests.integration.providers.conversation import Policy, Session
from tests.integration.providers.faces import FACES, Agent, Mode, plain_face
from tests.integration.providers.server import ProviderServer
from tests.integration.providers.settings import Setting
from tests.integration.providers.workshop import Workshop

THREAD = {"configurable": {"thread_id": "t"}}


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Provider], Service]]:
    """Starts a provider's server once, with a client for it."""
    services: dict[str, Service] = {}

    def start(provider: Provider) -> Service:
        if provider.name not in services:
            server = ProviderServer(provider.protocol())
            services[provider.name] = Service(provider, server, provider.client(server.url))
        return services[provider.name]

    yield start
    for service in services.values():
        service.server.close()


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all, as clients keep some things for the loop of their first use."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def service(request: pytest.FixtureRequest, serve: Callable[[Provider], Service]) -> Service:
    """Each client with its server."""
    return serve(request.param)


@dataclass(slots=True)
class Talk:
    """A conversation between a test, as the user, and an agent.

    Attributes:
        session: What the server saw.
        messages: The thread's messages after the last turn.
        streamed: What was streamed in the last turn.
    """

    agent: Agent
    mode: Mode
    session: Session
    messages: list[Any] = field(default_factory=list)
    streamed: list[Any] = field(default_factory=list)

    def say(self, text: str = "go") -> list[Any]:
        """One turn of the user: the thread's messages after it, which are a valid history."""
        try:
            self.messages, self.streamed = self.mode.run(
                self.agent, {"messages": [HumanMessage(text)]}, THREAD
            )
        finally:
            self.session.assert_went_well()
        assert_valid_history(self.messages)
        return self.messages


StartTalk = Callable[..., Talk]


@pytest.fixture
def start_talk(runner: asyncio.Runner) -> Iterator[StartTalk]:
    """Starts a conversation; what it leaves running is ended after the test."""
    talks: list[tuple[Talk, Workshop]] = []

    def start(
        service: Service, setting: Setting, workshop: Workshop, policy: Policy, **options: Any
    ) -> Talk:
        make = plain_face if setting.face == "plain" else FACES[setting.face]
        agent = make(
            service.model,
            workshop.tools(),
            InMemorySaver(),
            grace=0,
            delivery=setting.delivery,
            on_final=setting.on_final,
            async_calls=setting.async_calls,
            **options,
        )
        talk = Talk(agent, Mode(setting.entry, runner), service.server.open(policy))
        talks.append((talk, workshop))
        return talk

    yield start
    for talk, workshop in talks:
        workshop.open()
        talk.mode.close(talk.agent)
    runner.run(_no_tasks())


async def _no_tasks() -> None:
    # A cancelled task needs one more turn of the loop to be gone.
    await asyncio.sleep(0)
    others: Sequence[Any] = [*asyncio.all_tasks() - {asyncio.current_task()}]
    assert not others, others


@pytest.fixture
def workshop() -> Workshop:
    """The tools of a test."""
    return Workshop()
