"""The console in a real browser, before two live gateways and simulated engines that an autoscaler starts and ends."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.gateway_cpu import free_port
from tests.browser import chromium
from tests.browser.chromium import Page, opened
from tests.unit.gateway.harness import until
from tests.unit.gateway.keys import new_key

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.executable() is None, reason="no Chromium here: apt-get install chromium"),
]
MODEL = "llama-3.1-70b-instruct"
START_S, ANSWER_S = 60.0, 120.0
SCHEMES = ("light", "dark")
ROWS = "document.querySelectorAll('#requests tbody tr').length"
WORDS = ".tile h3, .tile .aside, .tile .value, thead th, .replicas td, .number, .outcome"
IS_CUT = "(e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1"
RIGHT_EDGE = "document.querySelector(name).getBoundingClientRect().right"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Live:
    url: str
    endpoint: str
    pid: int

    async def send(self, requests: int, key: str = "") -> list[str]:
        """Their ids. One asks for a model that is none."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(base_url=self.endpoint, headers=headers, timeout=30) as client:
            bodies = [
                {
                    "model": MODEL,
                    "max_tokens": 8,
                    "stream": number % 2 == 0,
                    "messages": [{"role": "user", "content": "Hi"}],
                }
                for number in range(requests - 1)
            ]
            bodies.append({"model": "no-such-model", "messages": []})
            answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for body in bodies))
        return [answer.headers["x-request-id"] for answer in answers]


def live_site(folder: Path, *arguments: str) -> Iterator[Live]:
    admin_port, port = free_port(), free_port()
    argv = [sys.executable, "-m", "tests.browser.site", str(folder), str(admin_port), str(port), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Live(f"http://127.0.0.1:{admin_port}/", f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            process.wait(START_S)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    yield from live_site(tmp_path_factory.mktemp("site"))


@asynccontextmanager
async def console(site: Live) -> AsyncIterator[Page]:
    """Open, with what the page has loaded checked at the end: nothing from elsewhere, and not a word of complaint."""
    async with opened() as page:
        await page.open(site.url)
        await page.until(f"{ROWS} > 0")
        yield page
        assert not [url for url in page.urls if not url.startswith(site.url)]
        assert page.errors == []


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_request_is_clicked_and_says_where_its_time_went(site: Live, scheme: str) -> None:
    await site.send(12)
    async with console(site) as page:
        await page.look(1680, 1050, scheme)
        await page.until(f"{ROWS} >= 12 && document.querySelectorAll('#replicas .meter').length >= 4")
        chosen = await page.value("document.querySelector('#requests tr[data-key]:nth-child(3)').dataset.key")
        await page.click("#requests tbody tr:nth-child(3) .bars")
        sentence = await page.until("document.querySelector('#receipt .sentence')?.innerText")
        assert sentence.startswith(("It took ", "It was refused"))
        assert await page.value("location.hash") == f"#request={chosen}"
        assert chosen in await page.value("document.querySelector('#receipt dl').innerText")
        assert await page.value("document.querySelectorAll('#requests tr.chosen').length") == 1
        ground = await page.value("getComputedStyle(document.querySelector('.panel')).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 26, 32)"}[scheme]
        assert await contrast(page) >= 4.5
        await page.press("Escape", 27)
        await page.until("document.querySelector('#receipt .sentence') === null && location.hash === ''")


async def test_an_id_is_found_by_the_keyboard_and_by_a_link(site: Live) -> None:
    (wanted, *_) = await site.send(3)
    async with console(site) as page:
        await page.press("/", 191)
        assert await page.value("document.activeElement.id") == "search-id"
        await page.type(wanted)
        await page.press("Enter", 13)
        await page.until("document.querySelector('#receipt .sentence')?.innerText.startsWith('It took ')")
        await page.type("x")
        await page.press("Enter", 13)
        await page.until("document.querySelector('#receipt .sentence')?.innerText.includes('No gateway remembers')")
        assert page.errors
        assert all("404" in error for error in page.errors), "Chromium itself logs an answer of 404"
        page.errors.clear()
        await page.open("about:blank")
        page.urls.clear()
        await page.open(f"{site.url}#request={wanted}")
        await page.until(f"document.querySelector('#receipt dl')?.innerText.includes('{wanted}')")


async def test_a_model_answers_in_the_chat_and_the_answers_request_is_a_click_away(site: Live) -> None:
    await site.send(2)
    async with console(site) as page:
        await page.until(f"document.querySelector('#chat-model').value === '{MODEL}'")
        await page.until("document.querySelector('#decisions .chart') !== null")
        await page.click("#chat-text")
        await page.type("<b>bold</b>")
        await page.press("Enter", 13)
        await page.until("document.querySelector('.turn.assistant .note a') !== null", ANSWER_S)
        note = await page.value("document.querySelector('.turn.assistant .note').innerText")
        assert "TTFT" in note
        assert "tokens/s" in note
        assert await page.value("document.querySelector('.turn.user').innerText") == "<b>bold</b>"
        assert len(await page.value("document.querySelector('.turn.assistant p').innerText")) > 20
        await page.click(".turn.assistant .note a")
        assert "anyone" in await page.until("document.querySelector('#receipt dl')?.innerText")


async def test_a_recipe_is_tried_and_what_speaks_for_its_answer_is_highlighted(site: Live) -> None:
    await site.send(2)
    async with console(site) as page:
        await page.until("document.querySelectorAll('#recipe-name option').length >= 7")
        choose = "Object.assign(document.querySelector('#recipe-name'), {value: 'sentiment'})"
        await page.value(f"{choose}.dispatchEvent(new Event('change'))")
        await page.click("#recipe-input-text")
        await page.type("The room was clean. The <b>staff</b> were lovely. The lift was slow.")
        await page.click("#recipe-why")
        await page.click("#recipe-run")
        await page.until("document.querySelectorAll('.chances li').length === 3")
        output = await page.value("document.querySelector('#recipe-answer .output').innerText")
        assert output in ("positive", "neutral", "negative")
        said = await page.value("document.querySelector('#recipe-answer .said').innerText")
        assert said == "The room was clean. The <b>staff</b> were lovely. The lift was slow."
        titles = await page.value("[...document.querySelectorAll('#recipe-answer mark')].map(mark => mark.title)")
        words = r"(\d)\. (for|against) the answer: .* log-probability; without it, .* goes to other labels"
        ranks = [re.fullmatch(words, title)[1] for title in titles]
        assert "1" in ranks
        assert len(ranks) == len(set(ranks))
        assert "sentiment" in await page.until("document.querySelector('#requests .recipe-of')?.innerText")
        await page.click("#recipe-answer .note a")
        assert "anyone" in await page.until("document.querySelector('#receipt dl')?.innerText")


async def test_what_a_recipe_refuses_is_said_in_the_page(site: Live) -> None:
    await site.send(2)
    async with console(site) as page:
        await page.until("document.querySelectorAll('#recipe-name option').length >= 7")
        choose = "Object.assign(document.querySelector('#recipe-name'), {value: 'classify'})"
        await page.value(f"{choose}.dispatchEvent(new Event('change'))")
        for name, text in (("text", "A goal in the last minute."), ("labels", "sports, sports")):
            await page.click(f"#recipe-input-{name}")
            await page.type(text)
        await page.click("#recipe-run")
        refused = await page.until("document.querySelector('#recipe-answer [data-level=bad]')?.innerText")
        assert "the label 'sports' twice" in refused
        page.errors[:] = [error for error in page.errors if "400" not in error]


async def test_the_autoscalers_decisions_are_drawn_with_their_reason(site: Live) -> None:
    await site.send(2)
    async with console(site) as page:
        await page.until("document.querySelector('#decisions .chart path.target')?.getAttribute('d').length > 10")
        assert await page.value("document.querySelector('#decisions .sentence').innerText")


async def test_on_a_phone_nothing_is_wider_than_the_screen(site: Live) -> None:
    await site.send(6)
    async with console(site) as page:
        for scheme in SCHEMES:
            await page.look(390, 844, scheme, is_phone=True)
            await page.until("document.querySelectorAll('#requests tbody tr').length > 3")
            assert await page.value("document.documentElement.scrollWidth") <= 390
        await page.click("#requests tbody tr:nth-child(2)")
        await page.until("document.querySelector('#receipt .stages') !== null")
        assert await page.value("document.documentElement.scrollWidth") <= 390
        top = await page.value("document.querySelector('#receipt').getBoundingClientRect().top")
        assert -844 < top < 844, "what was asked for is in view"


@pytest.mark.parametrize("width", [2200, 1680, 1280, 1024, 768, 390])
async def test_at_no_width_is_a_word_cut_off_or_a_place_left_empty(site: Live, width: int) -> None:
    await site.send(3)
    async with console(site) as page:
        await page.look(width, 900, "light")
        await page.until("document.querySelectorAll('#replicas .meter').length >= 4")
        await page.until("document.querySelector('.outcome') !== null")
        words = f"[...document.querySelectorAll('{WORDS}')].filter({IS_CUT}).map((e) => e.innerText)"
        assert await page.value(words) == []
        strip, last = await page.value(f"['#totals', '.tile:last-child'].map((name) => {RIGHT_EDGE})")
        assert abs(strip - last) < 1


async def test_while_state_is_away_the_page_says_so_and_goes_on(site: Live) -> None:
    await site.send(2)
    async with console(site) as page:
        os.kill(site.pid, signal.SIGUSR1)
        try:
            await page.until(
                "document.querySelector('#banner').innerText.includes('state deployment has not answered')"
            )
            (identity, *_) = await site.send(2)
            await page.until(f"document.querySelector('#requests tr[data-key=\"{identity}\"]') !== null")
        finally:
            os.kill(site.pid, signal.SIGUSR1)
        await page.until("document.querySelector('#banner').hidden")
        page.errors[:] = [error for error in page.errors if "503" not in error]


async def test_nobody_asks_while_nobody_looks(site: Live) -> None:
    await site.send(2)
    async with console(site) as page:
        await page.value(hidden("true"))
        await asyncio.sleep(0.5)
        before = len(page.urls)
        await asyncio.sleep(5)
        assert len(page.urls) == before
        await page.value(hidden("false"))
        await until(lambda: len(page.urls) > before)


def hidden(is_hidden: str) -> str:
    property_ = f"{{value: {is_hidden}, configurable: true}}"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    return f"Object.defineProperty(document, 'hidden', {property_}); {tell}"


async def test_where_keys_are_needed_the_page_asks_for_one_and_keeps_it_to_itself(tmp_path: Path) -> None:
    key = new_key()
    sites = live_site(tmp_path, "--key", key)
    site = next(sites)
    try:
        await site.send(3, key)
        async with console(site) as page:
            await page.until("!document.querySelector('#chat-key-row').hidden")
            await page.click("#chat-text")
            await page.type("Hello")
            await page.press("Enter", 13)
            refused = await page.until("document.querySelector('.turn.assistant .note[data-level=bad]')?.innerText")
            assert "API key is needed" in refused
            await page.click("#chat-key")
            await page.type(key)
            await page.click("#chat-text")
            await page.type("Hello again")
            await page.press("Enter", 13)
            await page.until("document.querySelector('.turn.assistant .note a') !== null", ANSWER_S)
            kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
            assert key not in await page.value(kept)
            assert not [url for url in page.urls if key in url]
            page.errors[:] = [error for error in page.errors if "401" not in error]
    finally:
        sites.close()


async def test_what_was_said_is_read_under_the_stages_as_text_and_with_who_else_can(tmp_path: Path) -> None:
    key, said = new_key(), "<img src=x onerror=alert(1)> <b>bold</b> " + "long" * 200
    sites = live_site(tmp_path, "--key", key, "--show-text")
    site = next(sites)
    try:
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}]
        body = {"model": MODEL, "max_tokens": 8, "messages": turns}
        async with httpx.AsyncClient(base_url=site.endpoint, timeout=30) as client:
            headers = {"authorization": f"Bearer {key}"}
            answer = await client.post("/v1/chat/completions", json=body, headers=headers)
        words = answer.json()["choices"][0]["message"]["content"]
        async with console(site) as page:
            await page.open(f"{site.url}#request={answer.headers['x-request-id']}")
            await page.until("document.querySelector('.spoken') !== null")
            texts = "[...document.querySelectorAll('.spoken .said')].map((e) => e.textContent)"
            assert await page.value(texts) == ["Be brief.", said, words]
            roles = "[...document.querySelectorAll('.spoken .of')].map((e) => e.textContent)"
            assert await page.value(roles) == ["system", "user", "assistant"]
            assert await page.value("document.querySelectorAll('.spoken img, .spoken b').length") == 0
            note = await page.value("document.querySelector('.spoken .aside').innerText")
            assert "Whoever can open this page can read it" in note
            assert "baryon keys limit acme --show-text off" in note
            order = "[...document.querySelector('#receipt-body').children].map((e) => e.className || e.tagName)"
            assert (await page.value(order)).index("spoken") > (await page.value(order)).index("stages")
            for width in (390, 1680):
                await page.look(width, 900, "light")
                assert await page.value("document.documentElement.scrollWidth") <= width
    finally:
        sites.close()


async def contrast(page: Page) -> float:
    """Of the palest words on their ground, as WCAG counts it."""
    return float(
        await page.value(
            """(() => {
              const light = (colour) => {
                const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
                const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => linear(v / 255));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const ground = light(getComputedStyle(document.querySelector('.panel')).backgroundColor);
              return Math.min(...['.aside', '.fact', '.health', '.requests a', '.sentence', 'dt'].map((selector) => {
                const words = light(getComputedStyle(document.querySelector(selector)).color);
                return (Math.max(words, ground) + 0.05) / (Math.min(words, ground) + 0.05);
              }));
            })()"""
        )
    )
