"""The real page in a process of its own, and visitors who drive it in headless Chromium.

Skips, saying why, where Chromium, playwright, the pipeline (assets/tiny, or SLOTID_TINY) or the examples are missing.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
PATIENCE = 1000 * int(os.environ.get("SLOTID_PATIENCE", "240"))  # ms for one step; more where the cores are shared
BORING = ("favicon", "AudioContext")  # what the framework itself writes to the console
QUIET = ["--no-sandbox", "--disable-gpu"]


def cpu_seconds(root: int) -> float:
    """User and system time of a process and everything it started: what it would need on a quiet machine, whatever runs beside."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), sum(int(value) for value in fields[11:15])
    family, grown = {root}, True
    while grown:
        grown = {pid for pid, parent in parents.items() if parent in family} - family
        family |= grown
    return sum(ticks.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """The running page: where it is, what it printed, the cache where visitors' files lie, its process."""

    address: str
    log: Path
    cache: Path
    pid: int
    started_in: float  # CPU seconds until it answered

    def tracebacks(self) -> str:
        """What the log holds of unhandled errors; empty is good."""
        text = self.log.read_text()
        return text[text.index("Traceback") :] if "Traceback" in text else ""


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """app.py, its cache in a folder of its own."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    if not os.environ.get("SLOTID_TINY") and not (ROOT / "assets/tiny/model_index.json").is_file():
        pytest.skip("needs the embedded pipeline in assets/tiny (or SLOTID_TINY)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("page")
    log, cache = folder / "log.txt", folder / "cache"
    with log.open("w") as sink:
        run = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env={**os.environ, "GRADIO_TEMP_DIR": str(cache)}, stdout=sink,
            stderr=sink,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE / 1000
        while True:
            assert run.poll() is None and time.monotonic() < deadline, log.read_text() or "the server did not come up"
            try:
                urllib.request.urlopen(address, timeout=20).read()
                break
            except OSError:
                time.sleep(0.2)
        yield Server(address, log, cache, run.pid, cpu_seconds(run.pid))
    finally:
        run.terminate()
        run.wait(20)


@pytest.fixture(scope="session")
def playwright():
    """Playwright's driver."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -r requirements-dev.txt")
    with sync_api.sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright):
    """Headless Chromium of the system."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    yield browser
    browser.close()


@pytest.fixture
def spent():
    """Tells the CPU seconds of the page's server and the browser together."""
    return lambda: cpu_seconds(os.getpid())


class Visitor:
    """One visitor with a session of his own; remembers what the console complained of and who else was asked for something."""

    def __init__(self, context, server: Server):
        self.context, self.page, self.server = context, context.new_page(), server
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("request", self._note)
        self.page.goto(server.address)
        self.page.wait_for_selector("#prompt textarea")

    def _note(self, request) -> None:
        if not request.url.startswith((self.server.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def give(self, clip: Path) -> None:
        """Puts a file into the clip's place; clears it first as a person would."""
        if self.page.locator("#clip video").count():
            # while the component changes its face there may be two of them; either clears it
            self.page.locator("#clip").get_by_label("Clear").first.click()
        self.page.locator("#clip input[type=file]").set_input_files(str(clip))

    def read(self, clip: Path, wait: str = "#slot1 img") -> None:
        self.give(clip)
        self.page.locator("#consent input").check()
        self.page.locator("#read:not([disabled])").click()
        self.page.wait_for_selector(wait)

    def example(self, number: int = 0) -> None:
        """Somebody who does not exist, by one click; until his slots are there."""
        self.page.locator("#examples button").nth(number).click()
        self.page.wait_for_selector("#found .look")
        self.page.wait_for_selector("#slot1 img")

    def tune(self, steps: int) -> None:
        """So many steps, and the shortest film there is."""
        if not self.page.locator("#steps input[type=number]").is_visible():
            self.page.get_by_role("button", name="Fine tuning").click()
        shortest = self.page.locator("#seconds input[type=number]").get_attribute("min")
        for name, value in (("steps", str(steps)), ("seconds", shortest)):
            box = self.page.locator(f"#{name} input[type=number]")
            for _ in range(20):  # a slider that has just been unfolded sets its own value once more: a person types later than that
                box.fill(value)
                box.press("Tab")
                self.page.wait_for_timeout(300)
                if box.input_value() == value:
                    break
            assert box.input_value() == value, f"{name} does not take {value}"

    def make(self, prompt: str = "a person smiles in a garden", wait: str = "#film video") -> None:
        self.page.locator("#prompt textarea").fill(prompt)
        self.page.locator("#make:not([disabled])").click()
        self.page.wait_for_selector(wait)

    def ink(self, selector: str) -> float:
        """How much a picture's pixels differ among themselves (standard deviation of its screenshot)."""
        from PIL import Image

        return float(np.asarray(Image.open(io.BytesIO(self.page.locator(selector).first.screenshot())).convert("L")).std())

    def frame_at(self, seconds: float) -> list[int]:
        """The film's picture at a time, 32 x 32 RGBA, as the browser decodes it."""
        video = "document.querySelector('#film video')"
        self.page.evaluate(f"v => {{ {video}.pause(); {video}.currentTime = v }}", seconds)
        self.page.wait_for_function(f"!{video}.seeking && {video}.readyState >= 2")
        return self.page.evaluate(
            f"() => {{const c = document.createElement('canvas'); c.width = c.height = 32; const g = c.getContext('2d');"
            f"g.drawImage({video}, 0, 0, 32, 32); return [...g.getImageData(0, 0, 32, 32).data]}}"
        )

    def nameless(self) -> list[str]:
        """What a screen reader could not name: pictures without words, controls without a label."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll('main img, main svg[role=img], main button, main input, main textarea, main video')]
            .filter(e => e.checkVisibility({visibilityProperty: true}) && e.type !== 'file')
            .filter(e => !(e.alt || e.ariaLabel || e.title || e.textContent.trim() || e.labels?.[0]?.textContent.trim() ||
                           e.querySelector('img[alt]:not([alt=""])') || e.closest('[aria-label]') || e.closest('[aria-hidden=true]')))
            .map(e => e.outerHTML.slice(0, 160))"""
        )

    def sticks_out(self) -> float:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def serious(self) -> list[str]:
        """Console errors, and requests to anybody but the page's own server."""
        return [text for text in self.complaints if not any(word in text for word in BORING)] + self.elsewhere


@pytest.fixture
def visit(browser, server):
    """Makes visitors: ``visit(width=..., dark=...)``; all leave at the end."""
    contexts = []

    def come(width: int = 1280, dark: bool = False) -> Visitor:
        scheme = "dark" if dark else "light"
        contexts.append(browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme, accept_downloads=True))
        return Visitor(contexts[-1], server)

    yield come
    for context in contexts:
        context.close()


@pytest.fixture
def before_a_camera(playwright, server, tmp_path):
    """Makes a visitor whose camera shows a clip: ``before_a_camera(path)``."""
    import av

    browsers = []

    def come(clip: Path) -> Visitor:
        camera = tmp_path / "camera.y4m"
        with av.open(str(clip)) as source, av.open(str(camera), "w", format="yuv4mpegpipe") as sink:
            stream = sink.add_stream("wrapped_avframe", rate=15)
            stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
            for number, frame in enumerate(source.decode(video=0)):
                frame = frame.reformat(320, 320, "yuv420p")
                frame.pts = number
                frame.time_base = Fraction(1, 15)
                sink.mux(stream.encode(frame))
            sink.mux(stream.encode(None))
        fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
        browsers.append(playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *fake]))
        return Visitor(browsers[-1].new_context(permissions=["camera", "microphone"]), server)

    yield come
    for browser in browsers:
        browser.close()
