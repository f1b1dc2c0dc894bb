"""`python -m tests.benchmarks.scraped_engines COUNT [PAGE]`: so many engines' `/metrics`; prints their ports.

Without PAGE, a file, they are simulated engines that have made tokens, and each scrape writes the page anew.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from engine.simulated.core import SimulatedEngine
from engine.simulated.metrics_text import metrics_text
from engine.simulated.profiles import get_profile
from engine.simulated.timings import Timings

MODEL = "llama-3.1-8b-instruct"


async def simulated() -> SimulatedEngine:
    engine = SimulatedEngine(get_profile("instant"), 64, 8192, 64)
    running = asyncio.create_task(engine.run())
    async for _ in engine.generate("req", "a prompt of some words", [20], Timings()):
        continue
    running.cancel()
    return engine


async def serve(page: Callable[[], bytes]) -> int:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while await reader.readline() != b"\r\n":
                continue
            body = page()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def main(count: int, page: Path | None) -> None:
    ports = []
    for _ in range(count):
        if page is not None:
            text = page.read_bytes()
            ports.append(await serve(lambda text=text: text))
        else:
            engine = await simulated()
            ports.append(await serve(lambda engine=engine: metrics_text(engine, MODEL).encode()))
    print(*ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
