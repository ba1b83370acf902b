"""A headless browser without a network, for pages that have to work offline."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRAWN = "() => new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, as the system has it."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """Open a file without a network. Nothing may be complained of in the end."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, offline=True)
    complaints: list[str] = []

    def open_page(path: Path) -> Any:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: m.type in {"error", "warning"} and complaints.append(m.text))
        page.on("request", lambda r: r.url.startswith("http") and complaints.append(r.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert complaints == []
