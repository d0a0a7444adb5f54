"""A real browser: the system's Chromium, driven by Playwright, with the network off."""

import contextlib
import shutil

import pytest

from tests.patience import HANG_SECONDS

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextlib.contextmanager
def opened(page_file, width=1280, height=900, dark=False):
    """A page in a browser that reaches no network; what its console says comes with it. Skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(NAMES)})")
    with sync_api.sync_playwright() as playwright:
        patience = 1000.0 * HANG_SECONDS
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"], timeout=patience
        )
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", offline=True
        )
        context.set_default_timeout(patience)
        page = context.new_page()
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{page_file}")
        try:
            yield page, said, asked
        finally:
            browser.close()
