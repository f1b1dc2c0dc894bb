"""A headless Chromium, spoken to by its own DevTools protocol: every request that it sends and every error it logs."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--hide-scrollbars", "about:blank"),
)
DEADLINE_S = 30.0
POLL_S = 0.05


def executable() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One tab. `urls`: all that were asked for; `errors`: what the console and uncaught exceptions say."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._asked = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.urls: list[str] = []
        self.errors: list[str] = []
        self.counts: dict[str, int] = defaultdict(int)
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        answer = self._answers[self._asked] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        async with asyncio.timeout(DEADLINE_S):
            return await answer

    async def value(self, expression: str) -> Any:
        """Of a JavaScript expression; a promise is awaited."""
        told = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, expression: str, deadline_s: float = DEADLINE_S) -> Any:
        """Its value, once that is true."""
        try:
            async with asyncio.timeout(deadline_s):
                while not (value := await self.value(expression)):
                    await asyncio.sleep(POLL_S)
                return value
        except TimeoutError:
            shown = await self.value("document.body.innerText")
            raise AssertionError(f"never true: {expression}; the page says:\n{shown}") from None

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def look(self, width: int, height: int, scheme: str, *, is_phone: bool = False) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", features=[feature])

    async def click(self, selector: str) -> None:
        """With the mouse, where the element is once it has come to rest."""
        where = (
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        box, before = await self.value(where), None
        while box != before:
            await asyncio.sleep(2 * POLL_S)
            box, before = await self.value(where), box
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", buttons=1, clickCount=1
            )

    async def type(self, text: str) -> None:
        """Into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    async def screenshot(self, path: Path) -> None:
        told = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(told["data"]))

    async def close(self) -> None:
        self._reading.cancel()
        await self._socket.close()

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message)
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if not answer.done():
                    if "error" in told:
                        answer.set_exception(AssertionError(told["error"]))
                    else:
                        answer.set_result(told["result"])
            else:
                self._happened(told["method"], told["params"])

    def _happened(self, event: str, told: dict[str, Any]) -> None:
        self.counts[event] += 1
        if event == "Network.requestWillBeSent":
            self.urls.append(told["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(str(told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")


@asynccontextmanager
async def opened() -> AsyncIterator[Page]:
    path = executable()
    assert path is not None
    folder = Path(tempfile.mkdtemp(prefix="bn-chromium-"))
    process = subprocess.Popen(
        [path, *FLAGS, f"--user-data-dir={folder}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        page = Page(await connect(await _tab(folder / "DevToolsActivePort"), max_size=None))
        try:
            for domain in ("Page", "Runtime", "Network", "Log"):
                await page.call(f"{domain}.enable")
            yield page
        finally:
            await page.close()
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _tab(port_file: Path) -> str:
    """The address of its first tab."""
    async with asyncio.timeout(DEADLINE_S):
        while not port_file.exists() or not port_file.read_text().strip():
            await asyncio.sleep(POLL_S)
        port, browser = port_file.read_text().split()
        async with connect(f"ws://127.0.0.1:{port}{browser}") as socket:
            while True:
                await socket.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
                targets = json.loads(await socket.recv())["result"]["targetInfos"]
                pages = [target["targetId"] for target in targets if target["type"] == "page"]
                if pages:
                    return f"ws://127.0.0.1:{port}/devtools/page/{pages[0]}"
                await asyncio.sleep(POLL_S)
