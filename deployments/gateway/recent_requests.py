"""The last requests of this gateway, to be found by any of their ids."""

from array import array
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Any

from deployments.gateway.request_record import RequestRecord
from deployments.gateway.texts.kept_texts import KeptTexts

KEPT = 1000
KEPT_PARTS = 8
NO_GAPS = array("f")
Document = dict[str, Any]


class RecentRequests:
    """Keeps the last `kept` records and tells them as JSON documents. A client's own id names its latest request. Of
    what a recipe asks engines for one call, the last few, so that it does not push out everybody else's.

    `texts`: what some of them said, which goes when they do.
    """

    def __init__(self, kept: int = KEPT, texts: KeptTexts | None = None) -> None:
        self._kept = kept
        self.texts = KeptTexts(lambda _: None) if texts is None else texts
        self._records: OrderedDict[str, RequestRecord] = OrderedDict()
        self._by_client_id: dict[str, RequestRecord] = {}
        self._parts: dict[str, list[RequestRecord]] = {}

    def keep(self, record: RequestRecord) -> None:
        """After all observers have seen it: what is larger than all the rest is let go."""
        record.gaps_ms, record.trace = NO_GAPS, None
        self._records[record.request_id] = record
        if record.client_request_id:
            self._by_client_id[record.client_request_id] = record
        if record.part_of:
            parts = self._parts.setdefault(record.part_of, [])
            parts.append(record)
            if len(parts) > KEPT_PARTS:
                self._forget(parts[0])
        if len(self._records) > self._kept:
            self._forget(next(iter(self._records.values())))

    def _forget(self, record: RequestRecord) -> None:
        del self._records[record.request_id]
        if self.texts:
            self.texts.forget(record.request_id)
        if record.part_of:
            parts = self._parts[record.part_of]
            parts.remove(record)
            if not parts:
                del self._parts[record.part_of]
        if self._by_client_id.get(record.client_request_id) is record:
            del self._by_client_id[record.client_request_id]

    def find(self, identity: str) -> Document | None:
        """By our id, by the client's own, or the latest of a recipe's call or of a trace; with its text, if kept."""
        record = self._records.get(identity) or self._by_client_id.get(identity)
        for kind in ("part_of", "trace_id"):
            if record is None and identity:
                record = next(self._matching({kind: identity}), None)
        if record is None:
            return None
        text = self.texts.of(record.request_id)
        return record.document() if text is None else {**record.document(), "text": text}

    def latest(
        self,
        limit: int = KEPT,
        *,
        model: str | None = None,
        tenant: str | None = None,
        outcome: str | None = None,
        slow: bool = False,
    ) -> list[Document]:
        """Newest first; of those that match. `slow`: they missed the model's SLO."""
        asked = {"model": model, "tenant": tenant, "outcome": outcome, "slo_met": False if slow else None}
        wanted = {name: value for name, value in asked.items() if value is not None}
        return [record.document() for record in islice(self._matching(wanted), limit)]

    def _matching(self, wanted: Document) -> Iterator[RequestRecord]:
        for record in reversed(self._records.values()):
            if all(getattr(record, name) == value for name, value in wanted.items()):
                yield record
