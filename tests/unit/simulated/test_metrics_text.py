"""The simulated engine tells what vLLM tells, under the same names."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from engine.simulated.core import SimulatedEngine
from engine.simulated.metrics_text import metrics_text
from engine.simulated.profiles import get_profile
from engine.simulated.timings import Timings
from monitoring.metrics import REPLICA, VLLM


async def test_every_metric_of_vllm_that_we_use_is_there_with_its_labels() -> None:
    engine = SimulatedEngine(get_profile("llama-3.1-8b-h100-tp1"), 10, 2048, 16)
    stepping = asyncio.create_task(engine.run())
    async for _ in engine.generate("r", "a prompt", [3], Timings()):
        pass
    stepping.cancel()
    families = text_string_to_metric_families(metrics_text(engine, "m"))
    told = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    for metric in VLLM:
        name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
        assert set(metric.labels) - set(REPLICA) <= told[name], metric.name
