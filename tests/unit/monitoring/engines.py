"""Engines as far as an exporter sees them: something that answers `GET /metrics`, or does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PAGE = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 70.0
# HELP vllm:prompt_tokens_created Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e+09
# HELP vllm:iteration_tokens_total Histogram of number of tokens per engine_step.
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf",model_name="m"} 9.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 9.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 80.0
# HELP http_requests_total Total number of requests.
# TYPE http_requests_total counter
http_requests_total{handler="/metrics",model="m"} 4.0
"""


@asynccontextmanager
async def engine(page: str = PAGE, *, answers: bool = True, status: int = 200) -> AsyncIterator[str]:
    """Its URL."""
    end = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline() not in (b"\r\n", b""):
            pass
        if answers:
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(page.encode())}\r\nconnection: close\r\n\r\n"
            writer.write((head + page).encode())
        else:
            await end.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        end.set()
        server.close()
