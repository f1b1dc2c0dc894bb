"""In which form a client wants the page, by its `Accept`. Pure."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

PROTOBUF = "application/vnd.google.protobuf"
MESSAGE, FRAMING = "io.prometheus.client.MetricFamily", "delimited"
PROTOBUF_CONTENT_TYPE = f"{PROTOBUF}; proto={MESSAGE}; encoding={FRAMING}"
TEXTS = {"text/plain", "application/openmetrics-text"}
ANYTHING = {"*/*", "text/*", "application/*"}
WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)

Encoder = Callable[[CollectorRegistry], bytes]


@dataclass(frozen=True, slots=True)
class Wish:
    """One that we can meet."""

    is_protobuf: bool
    is_named: bool
    weight: float


def wants_protobuf(accept: str) -> bool:
    """Where it is preferred to every text, by weight, and of equals by who is named first. Prometheus names it first,
    and only if native histograms are on. Other encodings and messages under its name are not ours; what is malformed
    is no wish.
    """
    wishes = [wish for part in accept.split(",") if (wish := _wish(part)) is not None and wish.weight > 0]
    best = max(wishes, key=lambda wish: (wish.weight, wish.is_named), default=None)
    return best is not None and best.is_protobuf


def text_encoder(accept: str) -> tuple[Encoder, str]:
    """Text or OpenMetrics, with its content type; the usual for a version that is no number (`version=new`)."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")


def _wish(told: str) -> Wish | None:
    media, *parameters = (part.strip() for part in told.split(";"))
    values = dict(_parameters(parameters))
    weight = values.get("q", "1")
    if not WEIGHT.fullmatch(weight):
        return None
    media = media.lower()
    if media == PROTOBUF:
        is_ours = values.get("proto") == MESSAGE and values.get("encoding") == FRAMING
        return Wish(True, True, float(weight)) if is_ours else None
    is_text = media in TEXTS
    return Wish(False, is_text, float(weight)) if is_text or media in ANYTHING else None


def _parameters(told: Iterable[str]) -> Iterable[tuple[str, str]]:
    for parameter in told:
        name, _, value = parameter.partition("=")
        yield name.strip().lower(), value.strip().strip('"')
