"""How gateways find one another, and ask one another: each at its private port, opened by the secret it told state."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx

from deployments.admin.gateway_view import GatewayView
from deployments.admin.question import RequestsQuestion
from deployments.gateway_registry import REPORT_PERIOD_S, GatewayReport, Told
from engine.guard import TOKEN_HEADER
from engine.internal_token import token_now

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 1.5
NOW_ROUTE = "/-/now"
REQUESTS_ROUTE = "/-/requests"

Document = dict[str, Any]
Report = Callable[[GatewayReport], Awaitable[Told]]
OnTold = Callable[[Told | None], None]


async def keep_reporting(me: GatewayReport, report: Report, on_told: OnTold, period_s: float = REPORT_PERIOD_S) -> None:
    """For ever. `on_told(None)` when state does not answer."""
    while True:
        try:
            on_told(await report(me))
        except Exception as error:
            logger.warning("state does not hear of this gateway's private port: %r", error)
            on_told(None)
        await asyncio.sleep(period_s)


class Peers:
    """All gateways, this one among them, which is asked without a socket."""

    def __init__(self, own: GatewayView, client: httpx.AsyncClient) -> None:
        self._own = own
        self._client = client
        self.known: tuple[GatewayReport, ...] = ()

    async def now(self) -> list[Document]:
        """What each says of itself. One that does not answer is in the list all the same."""
        own = {**self._own.now(), "answers": True, "is_this": True}
        others = await asyncio.gather(*(self._now_of(other) for other in self._others()))
        return [own, *others]

    async def requests(self, question: RequestsQuestion) -> tuple[list[Document], int]:
        """The newest of all gateways, and how many of these did not answer."""
        asked = [self._ask(other, f"{REQUESTS_ROUTE}?{question.query()}") for other in self._others()]
        answers = [self._own.requests(question), *await asyncio.gather(*asked)]
        rows = [row for rows in answers if rows is not None for row in rows]
        rows.sort(key=lambda row: float(row["began_s"]), reverse=True)
        return rows[: question.limit], sum(rows is None for rows in answers)

    async def request(self, identity: str) -> tuple[Document | None, int]:
        """The one with this id, and how many gateways did not answer."""
        found = self._own.request(identity)
        if found is not None:
            return found, 0
        path = f"{REQUESTS_ROUTE}/{quote(identity, safe='')}"
        answers = await asyncio.gather(*(self._ask(other, path) for other in self._others()))
        return next((answer for answer in answers if answer), None), sum(answer is None for answer in answers)

    def _others(self) -> list[GatewayReport]:
        own = self._own.gateway_id
        return [gateway for gateway in self.known if gateway.gateway_id != own]

    async def _now_of(self, other: GatewayReport) -> Document:
        known = {"gateway_id": other.gateway_id, "node_id": other.node_id, "pid": other.pid}
        answer = await self._ask(other, NOW_ROUTE)
        return {
            **known,
            "started_at_s": other.started_at_s,
            **(answer or {}),
            "answers": answer is not None,
            "is_this": False,
        }

    async def _ask(self, other: GatewayReport, path: str) -> Any:
        """None if it does not answer in time; an empty document if it has none such."""
        headers = {TOKEN_HEADER.decode(): token_now(other.secret).decode()}
        try:
            answer = await self._client.get(other.url + path, headers=headers, timeout=ANSWER_TIMEOUT_S)
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            logger.warning("gateway %s does not answer: %r", other.gateway_id, error)
            return None
