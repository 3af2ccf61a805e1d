"""Takes the README's pictures of the page: opens it, reads an example, makes a film, compares; wide and light, narrow and dark.

``python examples/page_pictures.py`` (needs Chromium and playwright, as `make browser` does) writes docs/page_*.webp.
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST = 118_000  # bytes of one picture


def keep(name: str, picture: bytes) -> None:
    """Writes docs/<name>.webp, as good as ``MOST`` allows."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for quality in (90, 84, 78, 70, 60, 50):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= MOST:
            break
    (ROOT / "docs" / f"{name}.webp").write_bytes(buffer.getvalue())
    print(f"docs/{name}.webp: {image.size[0]} x {image.size[1]}, {buffer.tell() // 1000} kB, quality {quality}")


def between(page, first: str, last: str, margin: int = 14) -> bytes:
    """The page from the top of one element to the bottom of another, in its full width."""
    page.evaluate("window.scrollTo(0, 0)")  # boxes are told from the window's top
    page.wait_for_timeout(300)
    top = page.locator(first).first.bounding_box()["y"] - margin
    low = page.locator(last).first.bounding_box()
    page.mouse.move(0, 0)
    clip = {"x": 0, "y": max(0, top), "width": page.viewport_size["width"], "height": low["y"] + low["height"] + margin - max(0, top)}
    return page.screenshot(full_page=True, clip=clip)


def visit(browser, address: str, width: int, dark: bool, example: int = 1):
    """A visitor who has read an example."""
    scheme = "dark" if dark else "light"
    page = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme, device_scale_factor=1).new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    page.wait_for_selector("#examples button")
    page.locator("#examples button").nth(example).click()
    page.wait_for_selector("#slot1 img")
    page.wait_for_timeout(1500)
    return page


def pictures(browser, address: str) -> None:
    """All of them."""
    page = visit(browser, address, 1280, dark=False)
    keep("page_slots", between(page, "#masthead", "#saw"))
    page.get_by_role("tab", name="What moved").click()
    page.wait_for_timeout(1000)
    keep("page_moves", between(page, "#views", "#views"))
    page.get_by_role("tab", name="How the plan formed").click()
    page.wait_for_timeout(1500)
    keep("page_forming", between(page, "#views", "#views"))
    page.locator("#prompt textarea").fill("a person smiles in a garden, warm light")
    page.locator("#make").click()
    page.wait_for_selector("#film video")
    page.wait_for_timeout(2500)
    keep("page_film", between(page, ".step:has-text('A new film')", ".explained"))
    page.locator("#kind").get_by_text("strength", exact=True).click()
    page.locator("#compare").click()
    page.wait_for_selector("#sweep figure:nth-child(5) img")
    page.wait_for_selector("#compare:not([disabled])")
    page.wait_for_timeout(1000)
    keep("page_compare", between(page, ".step:has-text('Compare')", "#sweep"))
    phone = visit(browser, address, 390, dark=True, example=2)
    keep("page_phone", between(phone, "#masthead", "#saw"))


def main() -> None:
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chromium = next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(address, timeout=20)
                break
            except OSError:
                time.sleep(0.5)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            pictures(browser, address)
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
