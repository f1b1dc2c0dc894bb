"""`python -m tests.benchmarks.idle_streams [STREAMS]`: what waiting streams cost a gateway in memory."""

import asyncio
import json
import sys

import uvloop

from cluster.bench.http_load import HttpStream, Target, post
from tests.benchmarks.gateway_cpu import chat, free_port, rss_mb, running


async def measure(streams: int) -> dict[str, float]:
    engine_port, port = free_port(), free_port()
    ours = (sys.executable, "-m")
    with (
        running([*ours, "tests.benchmarks.fake_engine", str(engine_port), "2", "30000"], engine_port),
        running([*ours, "tests.benchmarks.lone_gateway", str(port), f"http://127.0.0.1:{engine_port}"], port) as pid,
    ):
        target = Target("gateway", "127.0.0.1", port)
        request = post(target, "/v1/chat/completions", chat(stream=True))
        before_mb = rss_mb(pid)
        loop = asyncio.get_running_loop()
        connections = [(await loop.create_connection(HttpStream, "127.0.0.1", port))[1] for _ in range(streams)]
        waiting = [connection.send(request) for connection in connections]
        await asyncio.sleep(3)
        after_mb = rss_mb(pid)
        for connection in connections:
            connection.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        return {"streams": streams, "before_mb": before_mb, "after_mb": after_mb, "added_mb": after_mb - before_mb}


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))))
