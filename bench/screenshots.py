"""Screenshots of pages in headless Chromium: three widths, light and dark, whole pages.

    python -m bench.screenshots                      # the committed results
    python -m bench.screenshots PAGE.html... --output build/screenshots
    python -m bench.screenshots results/cnn9-amd-epyc-2cpu-avx512f.html --readme results/figures/page.png

Needs chromium and chromedriver on the path, and the packages selenium and pillow.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.cli.pages import write_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

WIDTHS = (390, 900, 1440)
"""Pixels of a phone, a tablet and a desk."""

SCHEMES = ("light", "dark")

README = (1100, 1270)
"""Pixels of the picture in the README: the answer and the front."""

_COLOURS = 256
"""Of the picture in the README, which keeps it below 150 kB."""

_TALLEST = 16_000
"""Pixels: Chromium's surface ends there, and what lies below would be drawn as its first part again."""

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def executables() -> tuple[str | None, str | None]:
    """Return the paths of Chromium and of its driver; None for what is not installed."""
    return shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


@contextmanager
def browser() -> Iterator[Chrome]:
    """Start headless Chromium with an empty profile, with its logs kept, and end it behind the block."""
    from selenium import webdriver

    chromium, driver_path = executables()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium or ""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
        driver.set_page_load_timeout(60)
        try:
            yield driver
        finally:
            driver.quit()


def show(driver: Chrome, page: Path, width: int, scheme: str, *, media: str = "", height: int = 900) -> None:
    """Open a page in a window of `width` CSS pixels and wait until its charts are drawn."""
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    resize(driver, width, height)
    driver.get(page.resolve().as_uri())
    driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)));"
    )


def resize(driver: Chrome, width: int, height: int) -> None:
    """Set the size of the window in CSS pixels, one of the screen each."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def picture(driver: Chrome, *, height: int | None = None) -> bytes:
    """Return the open page as PNG, whole or its first `height` pixels."""
    full = driver.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": full[0], "height": height or min(full[1], _TALLEST), "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    return base64.b64decode(shot["data"])


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures and name each; 2 where there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m bench.screenshots", description="screenshots of pages")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE.html", help="default: of the committed results")
    parser.add_argument("--output", type=Path, default=Path("build/screenshots"), help="folder (default: %(default)s)")
    parser.add_argument("--readme", type=Path, metavar="PNG", help="write the top of one page there, and nothing else")
    options = parser.parse_args(arguments)
    if options.readme and len(options.pages) != 1:
        parser.error("--readme: expected one page")
    if not all(executables()):
        sys.stderr.write("chromium and chromedriver: not on the path, expected both\n")
        return 2
    with browser() as driver:
        if options.readme:
            show(driver, options.pages[0], README[0], SCHEMES[0], height=README[1])
            _write(options.readme, _few_colours(picture(driver, height=README[1])))
            return 0
        options.output.mkdir(parents=True, exist_ok=True)
        for page in options.pages or _pages_of_results(options.output):
            for scheme in SCHEMES:
                for width in WIDTHS:
                    show(driver, page, width, scheme)
                    _write(options.output / f"{page.stem}-{width}-{scheme}.png", picture(driver))
    return 0


def _pages_of_results(folder: Path) -> list[Path]:
    """Write the pages of the committed results and their index into a folder, and return them."""
    files = [path for path in sorted(paths.RESULTS.glob("*/*.json")) if path.parent.name != "tables"]
    write_index(files, folder / "index.html", None)
    return sorted(folder.glob("*.html"))


def _few_colours(content: bytes) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.open(BytesIO(content)).convert("RGB").quantize(_COLOURS).save(file, format="png", optimize=True)
    return file.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    sys.exit(main())
