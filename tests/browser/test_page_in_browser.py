"""The real page in headless Chromium on the real pipeline: every step a visitor takes, bad input, two visitors, a phone, a webcam.

Skips, saying why, where Chromium, playwright, the pipeline (assets/tiny, or SLOTID_TINY) or a clip with a face (examples) is missing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
PATIENCE = 1000 * int(os.environ.get("SLOTID_PATIENCE", "240"))  # ms for one step; more where the cores are shared
BORING = ("Method not implemented", "favicon", "AudioContext", "Download the")  # what Gradio itself writes to the console


@pytest.fixture(scope="session")
def clip(request) -> Path:
    """A clip with one face: an example, or one of the real clips that SLOTID_REAL_CLIPS names."""
    if not list(ROOT.glob("examples/*/reference.mp4")) and os.environ.get("SLOTID_REAL_CLIPS"):
        return sorted(request.getfixturevalue("real_clips").glob("*.mp4"))[0]
    return request.getfixturevalue("examples")[0]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """(address, log): app.py in a process of its own, its cache in a folder of its own."""
    if not os.environ.get("SLOTID_TINY") and not (ROOT / "assets/tiny/model_index.json").is_file():
        pytest.skip("needs the embedded pipeline in assets/tiny (or SLOTID_TINY)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("page")
    log = folder / "log.txt"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "cache")}
    with log.open("w") as sink:
        run = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=environment, stdout=sink, stderr=sink)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE / 1000
        while True:
            assert run.poll() is None and time.monotonic() < deadline, log.read_text() or "the server did not come up"
            try:
                urllib.request.urlopen(address, timeout=2)
                break
            except OSError:
                time.sleep(0.2)
        yield address, log
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
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
    yield browser
    browser.close()


class Visitor:
    """One visitor with a session of his own; remembers what the console complained of."""

    def __init__(self, context, address: str):
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto(address)
        self.page.wait_for_selector("#prompt textarea")

    def read(self, clip: Path, wait: str = "#slot1 img") -> None:
        if self.page.locator("#clip video").count():  # the place is taken: clear it as a visitor would
            self.page.locator("#clip").get_by_label("Clear").click()
        self.page.locator("#clip input[type=file]").set_input_files(str(clip))
        self.page.locator("#consent input").check()
        self.page.locator("#read:not([disabled])").click()
        self.page.wait_for_selector(wait)

    def tune(self, steps: int) -> None:
        if not self.page.locator("#steps input[type=number]").is_visible():
            self.page.get_by_role("button", name="Fine tuning").click()
        box = self.page.locator("#steps input[type=number]")
        box.fill(str(steps))
        box.press("Tab")

    def make(self, prompt: str = "a person smiles in a garden", wait: str = "#film video") -> None:
        self.page.locator("#prompt textarea").fill(prompt)
        self.page.locator("#make:not([disabled])").click()
        self.page.wait_for_selector(wait)

    def ink(self, selector: str) -> float:
        """How much a picture's pixels differ among themselves (standard deviation of its screenshot)."""
        import io

        import numpy as np
        from PIL import Image

        return float(np.asarray(Image.open(io.BytesIO(self.page.locator(selector).first.screenshot())).convert("L")).std())

    def serious(self) -> list[str]:
        return [text for text in self.complaints if not any(word in text for word in BORING)]


@pytest.fixture
def visitor(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield Visitor(context, server[0])
    context.close()


VIDEO = "document.querySelector('#film video')"


def test_the_whole_way(visitor, clip, server, tmp_path):
    """Example -> read -> maps and gates -> film -> stop -> compare -> download and drop back -> delete."""
    page = visitor.page
    assert page.locator("#read").is_disabled()
    if page.locator("#examples button").count():  # somebody who does not exist: one click
        page.locator("#examples .grid-container button").first.click()
        page.wait_for_selector("#slot1 img")
    else:
        visitor.read(clip)
    page.wait_for_selector("#time_map svg")
    for number in range(1, 9):
        assert visitor.ink(f"#slot{number} img") > 3, f"the map of slot {number} is blank"
    assert page.locator("#meter li").count() >= 5 and visitor.ink("#found img") > 3
    page.get_by_role("tab", name="Gates").click()
    assert "opens widest" in page.locator("#gates").inner_text() or "no slot is preferred" in page.locator("#gates").inner_text()
    page.get_by_role("tab", name="How the plan formed").click()
    assert page.locator("#forming img").count() == 8
    page.get_by_role("tab", name="One slot, large").click()
    page.wait_for_selector("#large img")

    visitor.tune(8)
    visitor.make("a person smiles in a garden, zorgle")
    page.wait_for_function(f"{VIDEO}.duration > 0.5 && {VIDEO}.readyState >= 2")
    assert "zorgle" in page.locator("#heard i").inner_text()
    drawn = []
    for at in (0.0, 1.2):
        page.evaluate(f"v => {{ {VIDEO}.pause(); {VIDEO}.currentTime = v }}", at)
        page.wait_for_function(f"!{VIDEO}.seeking")
        drawn.append(
            page.evaluate(
                f"() => {{const c = document.createElement('canvas'); c.width = c.height = 32; const g = c.getContext('2d');"
                f"g.drawImage({VIDEO}, 0, 0, 32, 32); return [...g.getImageData(0, 0, 32, 32).data]}}"
            )
        )
    assert drawn[0] != drawn[1], "the film stands still"

    with page.expect_download() as download:
        page.locator("#get_mp4").click()
    film = tmp_path / "back.mp4"
    download.value.save_as(film)
    page.locator("#prompt textarea").fill("something else")
    with page.expect_file_chooser() as chooser:
        page.locator("#restore").click()
    chooser.value.set_files(str(film))
    page.wait_for_function("document.querySelector('#prompt textarea').value.startsWith('a person smiles in a garden')")
    assert page.locator("#steps input[type=number]").input_value() == "8"

    visitor.tune(50)
    page.locator("#make:not([disabled])").click()
    page.wait_for_selector("#frame img")
    page.locator("#stop:not([disabled])").click()
    page.wait_for_selector("#make:not([disabled])")
    assert "Stopped" in page.locator("#walk").inner_text() and page.locator("#frame img").is_visible()

    visitor.tune(2)
    page.locator("#compare").click()
    page.wait_for_selector("#sweep figure:nth-child(2) img")
    assert page.locator("#sweep figcaption").count() == 2
    page.wait_for_selector("#compare:not([disabled])")
    assert page.locator("#history img").count() == 1

    page.locator("#delete").click()
    page.wait_for_selector("#slot1 img", state="detached")
    page.wait_for_selector("#history img", state="hidden")
    cache = server[1].parent / "cache"
    assert not [path for path in cache.rglob("slotid.*")], "a deleted film is still on the disk"
    assert visitor.serious() == []
    assert "Traceback" not in server[1].read_text()


def test_bad_input_says_what_to_do(visitor, tmp_path, media):
    page = visitor.page
    text = tmp_path / "notes.mp4"
    text.write_text("this is no film")
    visitor.read(text, "#told .error")
    assert "notes.mp4" in page.locator("#told").inner_text()
    visitor.read(media.film("nobody.mp4", media.frames(30, 96, 128)), "#told .error:has-text('face')")
    visitor.make("a person smiles", "#said .error")
    assert "Read a clip first" in page.locator("#said").inner_text()
    assert visitor.serious() == []


def test_a_too_long_prompt_says_so(visitor, clip):
    visitor.read(clip)
    visitor.make("a person smiles " * 80, "#said .error")
    assert "1000" in visitor.page.locator("#said").inner_text()


def test_nothing_is_read_without_consent(visitor, clip):
    visitor.page.locator("#clip input[type=file]").set_input_files(str(clip))
    visitor.page.wait_for_selector("#clip video")
    assert visitor.page.locator("#read").is_disabled()


def test_two_visitors_both_finish_and_neither_sees_the_other(browser, server, clip):
    contexts = [browser.new_context() for _ in range(2)]
    first, second = (Visitor(context, server[0]) for context in contexts)
    first.read(clip)
    assert second.page.locator("#slot1 img").count() == 0
    second.read(clip)
    for one in (first, second):
        one.tune(6)
        one.page.locator("#prompt textarea").fill("a person nods")
    for one in (first, second):
        one.page.locator("#make:not([disabled])").click()
    for one in (first, second):
        one.page.wait_for_selector("#film video")
        one.page.wait_for_selector("#history img")
    assert first.page.locator("#history img").count() == second.page.locator("#history img").count() == 1
    addresses = [one.page.locator("#film video").get_attribute("src") for one in (first, second)]
    assert addresses[0] != addresses[1]
    assert first.serious() == [] and second.serious() == []
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(browser, server, clip, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    visitor = Visitor(context, server[0])
    visitor.read(clip)
    visitor.page.wait_for_selector("#time_map svg")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390, "something sticks out to the side"
    assert visitor.page.evaluate("[...document.querySelectorAll('img, svg[role=img]')].every(i => i.alt || i.ariaLabel || i.ariaHidden)")
    context.close()


def test_a_webcam_recording_is_read(playwright, server, clip, tmp_path):
    """Chromium's fake camera plays the clip; the recording is a webm without duration."""
    import av

    camera = tmp_path / "camera.y4m"
    with av.open(str(clip)) as source, av.open(str(camera), "w", format="yuv4mpegpipe") as sink:
        stream = sink.add_stream("wrapped_avframe", rate=15)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            frame = frame.reformat(320, 320, "yuv420p")
            frame.pts = number
            frame.time_base = stream.codec_context.time_base
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
              f"--use-file-for-fake-video-capture={camera}"],
    )  # fmt: skip
    context = browser.new_context(permissions=["camera", "microphone"])
    visitor = Visitor(context, server[0])
    page = visitor.page
    page.locator("#clip").get_by_label("Capture from camera").click()
    access = page.locator("#clip").get_by_text("Click to Access Webcam")
    if access.count():
        access.click()
    page.locator("#clip").get_by_label("start recording").click()
    page.wait_for_timeout(5000)
    page.locator("#clip button:has-text('Stop')").click()
    page.locator("#consent input").check()
    page.locator("#read:not([disabled])").click()
    page.wait_for_selector("#slot1 img")
    assert "Found in" in page.locator("#found").inner_text()
    browser.close()
