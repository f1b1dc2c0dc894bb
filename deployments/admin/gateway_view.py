"""What one gateway knows by itself: its own counts, and the records of requests that it has finished of late."""

import os
import time
from collections.abc import Callable
from typing import Any

from deployments.admin.last_minute import LastMinute, Sums
from deployments.admin.question import RequestsQuestion
from deployments.gateway.app import GatewayApp

Document = dict[str, Any]


class GatewayView:
    """`node_id`: of the node that this gateway runs on."""

    def __init__(self, app: GatewayApp, node_id: str, now_s: Callable[[], float] = time.time) -> None:
        self.minute = LastMinute()
        self._app = app
        self._node_id = node_id
        self.pid = os.getpid()
        self.started_at_s = now_s()

    @property
    def gateway_id(self) -> str:
        return self._app.routers.gateway_id

    def now(self) -> Document:
        """By model: who waits, and what the last minute came to; by replica: own requests and cache hits."""
        by_model, by_replica = self.minute.by_model(), self.minute.prompts_by_replica()
        routers = dict(self._app.routers.items())
        in_flight = {
            replica: requests
            for known in routers.values()
            for replica, requests in known.router.ledger.own_requests().items()
        }
        nothing = (0, 0)
        return {
            "gateway_id": self.gateway_id,
            "node_id": self._node_id,
            "pid": self.pid,
            "started_at_s": self.started_at_s,
            "window_s": self.minute.window_s,
            "in_flight": self._app.in_flight(),
            "is_draining": self._app.draining,
            "models": {
                model: {
                    "waiting": self._app.room.waiting(model),
                    "minute": by_model.get(model, Sums()).document(),
                }
                for model in routers.keys() | by_model.keys()
            },
            "replicas": {
                replica: {
                    "in_flight": in_flight.get(replica, 0),
                    "prompt_tokens": by_replica.get(replica, nothing)[0],
                    "cached_tokens": by_replica.get(replica, nothing)[1],
                }
                for replica in in_flight.keys() | by_replica.keys()
            },
        }

    def requests(self, question: RequestsQuestion) -> list[Document]:
        """Newest first."""
        return self._app.recent.latest(
            question.limit, model=question.model or None, outcome=question.outcome or None, slow=question.slow
        )

    def request(self, identity: str) -> Document | None:
        """By our id, the client's own, or the trace's."""
        return self._app.recent.find(identity)
