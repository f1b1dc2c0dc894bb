"""One node's page: what its gateways and state have counted, what its engines tell, which of them are up, its GPUs."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client import Metric as Sampled
from prometheus_client.core import GaugeMetricFamily

from monitoring import metrics
from monitoring.engine_board import EngineBoard
from monitoring.engine_pages import EnginePages
from monitoring.engine_scrape import Engine, EngineScrape
from monitoring.gpus import Gpus
from monitoring.latency_families import with_native
from monitoring.metrics import Metric
from monitoring.negotiation import PROTOBUF_CONTENT_TYPE, text_encoder, wants_protobuf
from monitoring.node_files import NodeFiles

END_OF_OPEN_METRICS = b"# EOF\n"
OPEN_METRICS = "application/openmetrics-text"

Round = tuple[Sequence[Engine], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class NodeNames:
    """`node` is what it is called in labels."""

    node: str
    node_id: str
    address: str


class Exporter:
    """Two that ask at once share one round of the engines."""

    def __init__(
        self,
        files: NodeFiles,
        names: NodeNames,
        build: Mapping[str, str],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = EngineBoard()
        self._files = files
        self._names = names
        self._build = build
        self._now_s = now_s
        self._scrape = EngineScrape()
        self._gpus = Gpus()
        self._round: asyncio.Task[Round] | None = None
        self._up: Mapping[Engine, bool] = {}
        self._took_s = 0.0
        self._registry = CollectorRegistry()
        self._registry.register(files)
        self._registry.register(self)

    async def page(self, accept: str, within_s: float) -> tuple[bytes, str]:
        """In the form that is asked for, with its content type. Engines that do not answer in time are left out."""
        began_s = self._now_s()
        asked, told = await self._ask(within_s)
        self._up = self.board.seen(asked, told.keys(), self._now_s())
        pages = EnginePages()
        for engine in self._up:
            if engine.replica in told:
                pages.add(told[engine.replica], self._labels(engine))
        page = self._protobuf(pages) if wants_protobuf(accept) else self._text(pages, accept)
        self._took_s = self._now_s() - began_s
        return page

    def is_needed(self) -> bool:
        """Whether anything is left on this node that it tells of."""
        return bool(self.board.to_ask()) or self._files.has_writers()

    async def close(self) -> None:
        await self._scrape.close()

    def collect(self) -> Iterable[Sampled]:
        """What is known here alone, for prometheus-client."""
        up, names = self._up, self._names
        yield _family(metrics.REPLICA_UP, ((self._row(e), float(is_up)) for e, is_up in up.items()))
        yield _family(metrics.TENSOR_PARALLEL, ((self._row(e), e.tensor_parallel_size) for e in up))
        known = [(self._row(e), float(e.kv_cache_tokens)) for e in up if e.kv_cache_tokens is not None]
        yield _family(metrics.KV_CACHE_TOKENS, known)
        gpus = self._gpus.now()
        yield _family(metrics.GPU_MEMORY_USED, (([names.node, str(g.index)], g.memory_used_bytes) for g in gpus))
        yield _family(metrics.GPU_MEMORY, (([names.node, str(g.index)], g.memory_total_bytes) for g in gpus))
        yield _family(metrics.GPU_USE, (([names.node, str(g.index)], g.utilization) for g in gpus))
        yield _family(metrics.BUILD, [([self._build[label] for label in metrics.BUILD.labels], 1)])
        yield _family(metrics.NODE, [([names.node, names.node_id, names.address], 1)])
        yield _family(metrics.EXPORTER_SECONDS, [([], self._took_s)])

    def _text(self, pages: EnginePages, accept: str) -> tuple[bytes, str]:
        encode, content_type = text_encoder(accept)
        is_open_metrics = content_type.startswith(OPEN_METRICS)
        ours = encode(self._registry)
        engines = pages.text(is_open_metrics=is_open_metrics).encode()
        end = END_OF_OPEN_METRICS if is_open_metrics else b""
        return ours.removesuffix(end) + engines + end, content_type

    def _protobuf(self, pages: EnginePages) -> tuple[bytes, str]:
        from monitoring.protobuf_page import ProtobufPage

        page = ProtobufPage()
        for kept in self._files.in_cells():
            page.add_family(with_native(kept))
        for known in self.collect():
            page.add_family(known)
        for name, family in pages.families():
            page.add_lines(name, family.kind, family.help, family.lines)
        return page.encoded(), PROTOBUF_CONTENT_TYPE

    async def _ask(self, within_s: float) -> Round:
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._ask_all(self.board.to_ask(), within_s))
        return await asyncio.shield(self._round)

    async def _ask_all(self, engines: Sequence[Engine], within_s: float) -> Round:
        return engines, await self._scrape.pages(engines, within_s)

    def _row(self, engine: Engine) -> list[str]:
        return list(self._labels(engine).values())

    def _labels(self, engine: Engine) -> dict[str, str]:
        return {"model": engine.model, "replica": engine.replica, "node": self._names.node}


def _family(metric: Metric, rows: Iterable[tuple[Sequence[str], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family
