"""Step 1, for tenants whose requests are to have no personal data in them when they leave the gateway."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from deployments.gateway.answer_tap import AnswerTap, NewTap
from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.event_restorer import DIALECTS
from deployments.gateway.privacy.found import Kind
from deployments.gateway.privacy.names_model import NamesModel
from deployments.gateway.privacy.redaction import Redaction, refuse_token_ids
from deployments.gateway.privacy.restoration import Restoration, asks_for_json
from deployments.gateway.privacy.restoring_tap import RestoringTap
from deployments.gateway.privacy.said import said_texts
from deployments.gateway.recipient import Header
from deployments.gateway.settings import GatewaySettings

SMALL_BYTES = 1024
LARGE_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Redacted:
    """What the engine may see, how many different values of each kind it does not, and how the client gets them back:
    not at all if `restoration` is None.
    """

    document: dict[str, Any]
    counts: Counter[Kind]
    restoration: Restoration | None

    def new_tap(self, path: bytes) -> NewTap:
        if self.restoration is None or path not in DIALECTS:
            return AnswerTap
        return partial(RestoringTap, self.restoration, path)

    def header(self) -> Header:
        said = ", ".join(f"{kind}={count}" for kind, count in sorted(self.counts.items()))
        return (b"x-baryon-redacted", said.encode() or b"none")


class Redactor:
    """`names`: None if they are not looked for."""

    def __init__(self, detector: Detector, names: NamesModel | None = None) -> None:
        self._detector = detector
        self._names = names
        self._aside = ThreadPoolExecutor(1, "redaction")
        self._large_aside = ThreadPoolExecutor(1, "redaction-large")

    async def redact(
        self, document: dict[str, Any], privacy: Literal["redact", "restore"], size_bytes: int = 0
    ) -> Redacted:
        """What is not small is looked through in a thread, one after another, while other requests go on: digits that
        may be phone numbers take 25 µs a byte. What is large has a thread of its own, so that no other waits for it.

        Raises:
            GatewayError: 400, it is token ids, or has too many numbers; 503, names cannot be looked for.
        """
        refuse_token_ids(document)
        names = await self._names.names_in(said_texts(document)) if self._names is not None else {}
        redaction = Redaction(self._detector, names, keeps_literals=privacy == "restore")
        if size_bytes > SMALL_BYTES:
            aside = self._large_aside if size_bytes > LARGE_BYTES else self._aside
            redacted = await asyncio.get_running_loop().run_in_executor(aside, redaction.document, document)
        else:
            redacted = redaction.document(document)
        restoration = Restoration(redaction.values, asks_for_json(document)) if privacy == "restore" else None
        return Redacted(redacted, redaction.counts, restoration)


def configured_redactor(settings: GatewaySettings) -> Redactor:
    names = NamesModel(settings.names_url, settings.names_model) if settings.names_url else None
    return Redactor(Detector(tuple(settings.phone_regions)), names)
