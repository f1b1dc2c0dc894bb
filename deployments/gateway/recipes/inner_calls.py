"""What a recipe asks of engines, on the path of every other request: limits, queue, routing, usage, record."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Protocol

from deployments.gateway.answer_tap import AnswerTap, NewTap
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import client_left
from deployments.gateway.recipes.decoded import usage_of
from deployments.gateway.recipes.inner_reply import InnerReply
from deployments.gateway.recipient import Headers, Recipient
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.usage import Usage

MOST_AT_ONCE = 32
RATE_HEADERS = b"x-ratelimit-"


@dataclass(frozen=True, slots=True)
class Origin:
    """The recipe call that asks: the id its client knows, and the recipe's name. `new_tap`: what looks at the answer
    that its client gets as it comes. `is_let_in`: another call was made for it before, so this one waits for a slot
    that the tenant's other requests have.
    """

    request_id: str
    recipe: str
    new_tap: NewTap = AnswerTap
    is_let_in: bool = False


@dataclass(slots=True)
class EndedCall:
    """Its answer is here. `headers` of that say where it went and why, if the client wants to know; `usage`: what it
    says it took. The rest, and what is charged, is in `record` when `task` is done.
    """

    record: RequestRecord
    headers: Headers
    task: asyncio.Task[None]
    usage: Usage | None = None


class Engines(Protocol):
    """The gateway, as a recipe sees it."""

    def ask_engine(
        self, request: ClientRequest, document: dict[str, Any], tenant: Tenant, recipient: Recipient, origin: Origin
    ) -> tuple[RequestRecord, asyncio.Task[None]]:
        """The task ends with the answer and raises nothing: what goes wrong, the recipient has. What goes to the client
        itself has the id that it knows the recipe's call by.
        """


class InnerCalls:
    """Of one recipe call, for one tenant. Any number of `ask` may be awaited together; as many run at once as the
    tenant may have requests, 32 at most. Each is charged to the tenant as a plain request is.

    `request`: the client's, whose headers hold for all. `begun`: how many there were. `ended`: those whose answers are
    here, in the order in which they came.
    """

    def __init__(self, engines: Engines, request: ClientRequest, tenant: Tenant, origin: Origin) -> None:
        self._engines = engines
        self._headers = request.headers
        self._tenant = tenant
        self._origin = origin
        allowed = tenant.limits.concurrent_requests
        self._room = asyncio.Semaphore(MOST_AT_ONCE if not allowed else min(MOST_AT_ONCE, allowed))
        self._open: set[InnerReply] = set()
        self._client_left = False
        self.rate_headers: Headers = []
        self.begun = 0
        self.ended: list[EndedCall] = []

    async def ask(self, path: bytes, document: dict[str, Any]) -> dict[str, Any]:
        """The engine's whole JSON answer. Whoever cancels this stops the engine's work, too.

        Raises:
            GatewayError: as the client would have got it, for a plain request.
        """
        async with self._room:
            if self._client_left:
                raise client_left()
            reply = InnerReply()
            ended = await self._run(path, document, reply)
        self.rate_headers = [header for header in reply.also if header[0].startswith(RATE_HEADERS)]
        if reply.client_is_gone:
            raise client_left()
        answered = reply.document()
        ended.usage = usage_of(answered)
        return answered

    async def settled(self) -> None:
        """All that ended has its record filled. An answer is here before that: what is learned of it comes after."""
        pending = [call.task for call in self.ended if not call.task.done()]
        if pending:
            await asyncio.wait(pending)

    async def pass_on(
        self, path: bytes, document: dict[str, Any], recipient: Recipient, new_tap: NewTap = AnswerTap
    ) -> None:
        """The answer goes to the client as it comes; what goes wrong with it, too."""
        record, task = self._begin(path, document, recipient, replace(self._origin, new_tap=new_tap))
        await task
        self.ended.append(EndedCall(record, [], task))

    def leave(self) -> None:
        """The client has left: what runs for it is stopped, and nothing more is asked."""
        self._client_left = True
        for reply in list(self._open):
            reply.leave()

    async def _run(self, path: bytes, document: dict[str, Any], reply: InnerReply) -> EndedCall:
        record, task = self._begin(path, document, reply, self._origin)
        task.add_done_callback(reply.ends)
        self._open.add(reply)
        try:
            await reply.over
        except asyncio.CancelledError:
            reply.leave()
            raise
        finally:
            self._open.discard(reply)
        ended = EndedCall(record, reply.headers, task)
        self.ended.append(ended)
        return ended

    def _begin(
        self, path: bytes, document: dict[str, Any], recipient: Recipient, origin: Origin
    ) -> tuple[RequestRecord, asyncio.Task[None]]:
        origin, self.begun = replace(origin, is_let_in=self.begun > 0), self.begun + 1
        request = ClientRequest(b"POST", path, self._headers, b"", keep_alive=True, is_http_1_1=True)
        return self._engines.ask_engine(request, document, self._tenant, recipient, origin)
