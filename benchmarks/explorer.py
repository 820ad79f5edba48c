"""How fast the explorer opens and moves a run of many samples, in headless Chromium.

    python benchmarks/explorer.py [--samples 20000] [--loads 5] [--run FOLDER] [--smoke]

The run is a survey of the zoo's digits decoder at latents drawn from its prior (it stays at `--run` where that is
given, and is not made again). The page is served as `theodolite explore` serves it, and looked at by Playwright:

- *opens*: from the address to a coloured scatter plot, a new browser context each time;
- *moves*: frames a second while the plot is dragged, as the page itself counts them (`requestAnimationFrame`);
- *table*, *gallery*: from the click to the first rows and pictures.

A machine without a graphics card draws WebGL by software, which decides the frames. Needs `theodolite[explorer]`,
Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import theodolite
from theodolite.explorer.content import Content
from theodolite.explorer.server import HOST, address, application, bound, new_token

DESCRIPTORS = ["local_scaling", "local_rank", "leading_singular_value"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

DRAG = """async () => {
  const box = document.querySelector('[data-testid=plot] canvas').getBoundingClientRect();
  const canvas = document.querySelector('[data-testid=plot] canvas');
  const at = (type, x) => canvas.dispatchEvent(new PointerEvent(type, {
    bubbles: true, pointerId: 1, clientX: box.x + x, clientY: box.y + box.height / 2 }));
  canvas.setPointerCapture = () => {};
  at('pointerdown', box.width / 2);
  const times = [];
  for (let frame = 0; frame < 60; frame++) {
    at('pointermove', box.width / 2 + 4 * (frame % 30));
    times.push(await new Promise(requestAnimationFrame));
  }
  at('pointerup', box.width / 2);
  return times;
}"""
"""Drags the plot for sixty frames and tells when each was drawn, in milliseconds."""


def main() -> None:
    options = _options()
    driver = _playwright()
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if driver is None or executable is None:
        sys.exit("Playwright and Chromium are needed: pip install playwright; apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        run = _run(options.run or Path(folder) / "run", options.samples)
        with _served(run) as page_address, driver() as tools:
            browser = tools.chromium.launch(executable_path=executable, args=ARGUMENTS)
            found = [_looked_at(browser, page_address) for _ in range(options.loads)]
            browser.close()
    print(f"{options.samples} samples, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| | median | least | most |\n|---|---|---|---|")
    for name in found[0]:
        values = [each[name] for each in found]
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")


def _playwright() -> Any:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    return sync_playwright


def _run(folder: Path, samples: int) -> Any:
    if not folder.exists():
        started = time.perf_counter()
        options = {"latents": f"seed:0..{samples - 1}", "descriptors": DESCRIPTORS, "budget": "quick"}
        theodolite.survey("zoo:digits", None, folder, **options)
        print(f"a run of {samples} samples: {time.perf_counter() - started:.0f} s", flush=True)
    return theodolite.read_run(folder)


@contextmanager
def _served(run: Any) -> Iterator[str]:
    """The address of the page, until the end of the block."""
    import uvicorn

    listener, token = bound(0), new_token()
    app = application([Content(run)], token, {f"{HOST}:{listener.getsockname()[1]}"}, None)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield address(listener, token)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def _looked_at(browser: Any, page_address: str) -> dict[str, float]:
    """Seconds until each view is there, and frames a second."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    started = time.perf_counter()
    page.goto(f"{page_address}#view=scatter&c=local_rank")
    page.wait_for_selector("[data-ready=true]")
    page.wait_for_selector("[data-testid=plot] canvas")
    page.wait_for_selector(".legend .scale")
    found = {"opens, s": time.perf_counter() - started}
    times = page.evaluate(DRAG)
    found["moves, frames a second"] = 1000 * (len(times) - 1) / (times[-1] - times[0])
    for view, there in (("Table", "table tbody tr, [role=row]"), ("Gallery", ".tile img, .tile canvas, .tile")):
        started = time.perf_counter()
        page.get_by_role("tab", name=view).click()
        page.wait_for_selector(there)
        found[f"{view.lower()}, s"] = time.perf_counter() - started
    context.close()
    return {name: round(value, 2) for name, value in found.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--loads", type=int, default=5, help="how often the page is opened")
    parser.add_argument("--run", type=Path, help="where the run is, or is made")
    parser.add_argument("--smoke", action="store_true", help="forty samples, looked at once")
    options = parser.parse_args()
    if options.smoke:
        options.samples, options.loads = 40, 1
    return options


if __name__ == "__main__":
    main()
