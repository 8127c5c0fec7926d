"""Measures how fast the page of `alexnet explore` responds and takes screenshots: results/explorer.json and a folder.

python -m studies.robustness.explorer RUN RUN IMAGES SHOTS

RUN and RUN are two runs on the same images. IMAGES is a folder; 50 of its files are dropped on the page, one after the
other. SHOTS is a folder for screenshots of all tabs in both languages, both widths, light and dark. Times are measured
in the page, from the drop of the file until its first five classes are drawn.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from alexnet.evaluation.predict import find_images
from studies.robustness.recording import ROOT, record

DROPS = 50
SWITCHES = 5  # times through all layers
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
TABS = ("look", "filters", "why", "similar", "train", "compare")

# The file arrives like a dropped one, in an event with a DataTransfer. Drawn means that the next frame was shown.
DROP = """async ([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name));
  document.querySelector("#answers").replaceChildren();
  const drawn = new Promise((done) => {
    const look = () => document.querySelectorAll("#answers .bars li").length >= Math.min(5, window.classes)
      ? requestAnimationFrame(() => done(performance.now())) : requestAnimationFrame(look);
    requestAnimationFrame(look);
  });
  const began = performance.now();
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  return (await drawn) - began;
}"""
DROPPED = """([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name));
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
PASTED = """([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
  window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
}"""
SWITCH = """async (stage) => {
  const began = performance.now();
  document.querySelector(`#stage-${stage}`).dispatchEvent(new MouseEvent("click", { bubbles: true }));
  return await new Promise((done) => {
    const look = () => document.querySelector("#maps h2")?.textContent === stage
      ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look);
    requestAnimationFrame(look);
  });
}"""


@contextlib.contextmanager
def explored(*runs: str) -> Iterator[str]:
    """The page in a process of its own: its address."""
    command = [sys.executable, "-m", "alexnet", "explore", *runs, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=os.getcwd()) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            yield said.removeprefix("open ").strip()
        finally:
            process.send_signal(signal.SIGTERM)


def settled(page: Page) -> None:
    """Waits until nothing is on its way."""
    page.wait_for_selector("main .card")
    page.wait_for_load_state("networkidle")
    page.wait_for_function("() => !document.querySelector('.wait, [aria-busy]')", timeout=120_000)


def quantiles(milliseconds: list[float]) -> dict[str, Any]:
    """Count, median, 95th percentile and largest, in milliseconds."""
    p50, p95 = np.quantile(milliseconds, (0.5, 0.95))
    return {"count": len(milliseconds), "p50_ms": round(p50), "p95_ms": round(p95), "max_ms": round(max(milliseconds))}


def measured(page: Page, url: str, images: list[Path]) -> dict[str, Any]:
    """Times from drop to classes, and from a click on a layer to its feature maps."""
    page.goto(f"{url}#look?lang=en")
    settled(page)
    setup = "async () => { window.classes = (await (await fetch('/explorer/setup')).json()).runs[0].classes.length }"
    page.evaluate(setup)
    drops = []
    for image in images:
        drops.append(page.evaluate(DROP, [image.name, list(image.read_bytes())]))
        settled(page)
    stages = page.evaluate("() => [...document.querySelectorAll('g.stage')].map((each) => each.id.slice(6))")
    first, again = [], []
    for image in images[:SWITCHES]:
        page.set_input_files("input[type=file]", image)
        settled(page)
        first += [page.evaluate(SWITCH, stage) for stage in stages[1:]]
        settled(page)
        again += [page.evaluate(SWITCH, stage) for stage in reversed(stages[:-1])]
        settled(page)
    return {"drop_to_top5": quantiles(drops), "layer_switch": quantiles(first), "layer_switch_again": quantiles(again)}


def ways(browser: Browser, url: str, run: str, image: Path) -> dict[str, bool]:
    """For each way to give the page an image, and each tab, whether the chosen run classifies it."""
    file = [image.name, list(image.read_bytes())]
    arrived = {}
    for way, tab in (
        *((DROPPED, tab) for tab in TABS),
        (PASTED, "filters"),
        (PASTED, "why"),
        ("file", "similar"),
        ("webcam", "why"),
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}#{tab}?lang=en&run={run}")
        settled(page)
        before = page.evaluate("() => location.hash")
        with page.expect_response(lambda response: response.url.endswith("/explorer/images?run=" + run)) as answer:
            if way == "file":
                page.set_input_files("input[type=file]", image)
            elif way == "webcam":
                page.get_by_role("button", name="use the webcam").click()
                page.wait_for_function("() => document.querySelector('video')?.videoWidth > 0")
                page.get_by_role("button", name="Take the photo").click()
            else:
                page.evaluate(way, file)
        settled(page)
        named = {DROPPED: "drop", PASTED: "paste"}.get(way, way)
        arrived[f"{named} on {tab}"] = answer.value.ok and page.evaluate("() => location.hash") != before
        page.close()
    return arrived


def main() -> None:
    """Measures, takes the screenshots and writes the file."""
    first, second, folder, shots = sys.argv[1:]
    files = find_images([folder])
    images = [files[i] for i in np.linspace(0, len(files) - 1, DROPS).astype(int)]
    out, wrong, elsewhere, wide = Path(shots), [], [], []
    out.mkdir(parents=True, exist_ok=True)
    with explored(first, second) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        times = measured(browser.new_page(viewport={"width": 1280, "height": 900}), url, images)
        arrived = ways(browser, url, Path(second).name, images[0])
        for language, theme, width in ((a, b, c) for a in ("en", "zh") for b in ("light", "dark") for c in (1280, 360)):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
            page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else elsewhere.append(r.url))
            for tab in TABS:
                page.goto("about:blank")
                page.goto(f"{url}#{tab}?lang={language}&theme={theme}")
                settled(page)
                name = f"{tab}-{language}-{theme}-{width}"
                if page.evaluate("() => document.documentElement.scrollWidth") > width:
                    wide.append(name)
                page.screenshot(path=out / f"{name}.png", full_page=True)
            page.close()
        browser.close()
    record(
        ROOT / "results" / "explorer.json",
        ("torch", "fastapi", "uvicorn", "playwright"),
        threads=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        load=os.getloadavg()[0],  # of the machine at the end, beside its cores
        cores=os.cpu_count(),
        **times,
        arrived=arrived,
        screenshots=len(list(out.glob("*.png"))),
        console_errors=len(wrong),
        requests_elsewhere=len(elsewhere),
        too_wide=wide,
    )


if __name__ == "__main__":
    main()
