"""`python -m tests.browser.screenshots FOLDER`: the console over simulated engines under load, as in docs/images."""

import argparse
import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random

import httpx

from tests.browser.chromium import Page, opened
from tests.browser.test_console import Live, live_site

WARM_S, PATIENCE_S = 75.0, 120.0
CLIENTS = 50
DESK, PHONE = (1680, 1050), (390, 844)
MODELS = ("llama-3.1-70b-instruct", "llama-3.1-70b-instruct", "qwen3-32b")
LONG_AGO = "Once there was a gluon that bound three quarks. "


async def talk(site: Live, number: int) -> None:
    """A client that goes on with its conversation, and leaves some answers early."""
    random = Random(number)
    async with httpx.AsyncClient(base_url=site.endpoint, timeout=120) as client:
        for turn in count():
            words = LONG_AGO * random.choice((30, 60, 120)) + f"Client {number}, part {turn % 4}. " * 20
            body = {"model": MODELS[number % 3], "max_tokens": random.choice((60, 160, 300)), "stream": True}
            body |= {"messages": [{"role": "user", "content": words}]}
            patience_s = 1.2 if random.random() < 0.04 else 120.0
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await client.post("/v1/chat/completions", json=body)
            if random.random() < 0.02:
                await client.post("/v1/chat/completions", json={"model": "no-such-model", "messages": []})
            await asyncio.sleep(random.random() * 3)


async def chat(page: Page) -> None:
    await page.click("#chat-text")
    await page.type("What is a baryon?")
    await page.press("Enter", 13)
    await page.until("document.querySelector('.turn.assistant .note a') !== null", PATIENCE_S)


async def slowest(site: Live) -> str:
    async with httpx.AsyncClient(base_url=site.url) as client:
        rows = (await client.get("/admin/requests?limit=200&outcome=completed")).json()["requests"]
    return str(max(rows, key=lambda row: row["ttft_ms"] or 0)["request_id"])


async def pictures(site: Live, folder: Path) -> None:
    async with opened() as page:
        await page.look(*DESK, "light")
        await page.open(site.url)
        await asyncio.sleep(WARM_S)
        await chat(page)
        await page.value("scrollTo(0, 0)")
        await page.screenshot(folder / "console.png")
        await page.look(*DESK, "dark")
        await page.value(f"location.hash = '#request={await slowest(site)}'")
        await page.until("document.querySelector('#receipt .stages') !== null")
        await page.value("scrollTo(0, 0)")
        await page.screenshot(folder / "console_request.png")
        await page.value("location.hash = ''")
        await page.look(*PHONE, "light", is_phone=True)
        await asyncio.sleep(3)
        await page.value("scrollTo(0, 0)")
        await page.screenshot(folder / "console_phone.png")


@contextmanager
def running_site() -> Iterator[Live]:
    with tempfile.TemporaryDirectory() as temporary:
        sites = live_site(Path(temporary))
        try:
            yield next(sites)
        finally:
            sites.close()


async def main(folder: Path) -> None:
    with running_site() as site:
        clients = [asyncio.create_task(talk(site, number)) for number in range(CLIENTS)]
        try:
            await pictures(site, folder)
        finally:
            for client in clients:
                client.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    asyncio.run(main(parser.parse_args().folder))
