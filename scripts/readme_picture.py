"""Make the picture of a report that the README shows: `python scripts/readme_picture.py RUN`.

Writes the report of the run folder RUN, opens it in headless Chromium, and stores its top part as
`docs/images/report.png`, 1200 pixels wide and below 350 kB. Needs playwright and a Chromium on the path.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from theodolite.errors import InputError
from theodolite.report import write_report

WIDTH, MARGIN = 1200, 56
MOST_BYTES = 350_000
OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "report.png"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder, as `theodolite survey` writes it")
    parser.add_argument("--out", type=Path, default=OUT, help="the picture to write")
    parser.add_argument("--until", default="distributions", help="the last section to show, by its id")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            picture = screenshot(write_report(options.run, Path(folder) / "report.html"), options.until)
        content = compressed(picture)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(content)
    print(f"{options.out}: {picture.width} x {picture.height} pixels, {len(content) / 1000:.0f} kB")
    return 0


def screenshot(report: Path, last_section: str) -> Image.Image:
    """A report down to the end of a section, its figures drawn."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError("playwright expected, got none; install it with pip install playwright") from error
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise InputError("a Chromium expected on the path, got none; install chromium or Google Chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
        page.goto(report.as_uri())
        page.wait_for_timeout(500)  # pictures are decoded after the page has loaded
        box = page.locator(f"#{last_section}").bounding_box()
        if box is None:
            raise InputError(f"a report with the section {last_section} expected, got one without; survey more samples")
        height = round(box["y"] + box["height"] + MARGIN)
        shot = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height}, full_page=True)
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def compressed(picture: Image.Image) -> bytes:
    """As PNG, with as many colours as fit in `MOST_BYTES`."""
    for colours in (None, 256, 128, 64):
        buffer = io.BytesIO()
        chosen = picture if colours is None else picture.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG)
        chosen.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_BYTES:
            return buffer.getvalue()
    raise InputError(f"a picture below {MOST_BYTES} bytes expected, got {buffer.tell()}; end it earlier with --until")


if __name__ == "__main__":
    sys.exit(main())
