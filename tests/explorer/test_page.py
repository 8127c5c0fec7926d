"""Tests the page of `alexnet explore` in a browser: Debian's Chromium, driven by Playwright, on this machine alone.

Skips where either is missing. ALEXNET_CHROMIUM names another browser.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="Playwright is not installed: pip install '.[dev]'")
pytest.importorskip("fastapi")
from playwright.sync_api import Browser, Page, sync_playwright

from alexnet.explorer.images import GALLERY
from alexnet.lessons.lesson import all_lessons
from alexnet.lessons.site import write_site
from harness.lessons import as_if_run
from harness.prefix_proxy import prefixed
from harness.service_process import Running, exploring

CHROMIUM = os.environ.get("ALEXNET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium fonts-noto-cjk")
TABS = ("learn", "look", "filters", "why", "similar", "train", "compare")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def running(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    twin, lessons = tmp_path_factory.mktemp("twin") / "twin", tmp_path_factory.mktemp("lessons")
    shutil.copytree(trained / "run", twin)
    write_site([as_if_run(all_lessons()[1])], lessons / "site")
    with exploring(trained / "run", twin, GALLERY, lessons=lessons) as service:
        yield service


class Watched:
    """A page of its own, and what went wrong in it."""

    def __init__(self, browser: Browser, url: str, width: int = 1280, **settings: Any):
        self.context = browser.new_context(viewport={"width": width, "height": 800}, **settings)
        self.page: Page = self.context.new_page()
        self.url = url
        self.wrong: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda r: None if self.near(r.url) else self.elsewhere.append(r.url))

    def near(self, url: str) -> bool:
        return url.startswith((self.url, "data:", "blob:"))

    def open(self, address: str) -> Page:
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/{address}")
        self.settled()
        return self.page

    def settled(self) -> None:
        self.page.wait_for_selector("main .card")
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_function("() => !document.querySelector('.wait, [aria-busy], [data-pending]')")


@pytest.fixture
def watched(browser: Browser, running: Running) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> Watched:
            made = Watched(browser, running.url, **settings)
            stack.callback(made.context.close)
            return made

        yield make


@pytest.mark.parametrize(
    ("language", "width", "theme"), [("en", 1280, "light"), ("en", 360, "dark"), ("zh", 360, "dark")]
)
def test_every_tab_stands_without_mistakes_or_foreign_requests_fits_and_is_accessible(watched, language, width, theme):
    """Chinese on a wide screen is laid out as English there, and has more room than on the narrow one."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    seen = watched(width=width)
    for tab in TABS:
        page = seen.open(f"#{tab}?lang={language}&theme={theme}")
        assert page.get_attribute("html", "lang") == {"en": "en", "zh": "zh-CN"}[language]
        assert page.locator("nav [aria-current=page]").count() == 1
        assert page.locator(".error").all_inner_texts() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        missing = page.evaluate(
            "[...document.querySelectorAll('img')].filter((i) => i.complete && !i.naturalWidth).length"
        )
        assert missing == 0
        # Narrow and dark is asked of in Chinese, so that each language is.
        found = [] if (language, width) == ("en", 360) else axe.Axe().run(page).response["violations"]
        serious = [
            (each["id"], [node["html"][:200] for node in each["nodes"]][:3])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], tab
    assert seen.wrong == []
    assert seen.elsewhere == []


PREFIXES = {
    "taken off": ("/proxy/8000", {}, {}),
    "passed on": ("/proxy/8000", {"root_path": "/proxy/8000"}, {"strips": False}),
}


@pytest.mark.parametrize("way", PREFIXES)
def test_every_tab_stands_below_the_prefix_of_a_proxy(browser, trained, tmp_path, way):
    """As behind JupyterHub, code-server and AutoDL: no address leaves the prefix, also when an image is sent."""
    prefix, settings, proxy = PREFIXES[way]
    with exploring(trained / "run", **settings) as service, prefixed(service.port, prefix, **proxy) as url:
        seen = Watched(browser, url.rstrip("/"))
        for tab in TABS:
            page = seen.open(f"#{tab}")
            assert page.locator("nav [aria-current=page]").count() == 1
            assert page.locator(".error").all_inner_texts() == []
            assert page.evaluate("[...document.images].filter((i) => i.complete && !i.naturalWidth).length") == 0, tab
        photo = tmp_path / "mine.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(photo)
        page = seen.open("#look")
        page.set_input_files("input[type=file]", str(photo))
        page.wait_for_function("() => /img=[0-9a-f]{32}/.test(location.hash)")
        seen.settled()
        assert page.locator("#answers li").count() >= 2
        seen.context.close()
    assert seen.wrong == []
    assert seen.elsewhere == []


def test_a_dropped_image_is_answered_and_a_reload_restores_everything(watched, tmp_path):
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 40, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    seen = watched()
    page = seen.open("#look?lang=zh&theme=dark")
    page.set_input_files("input[type=file]", tmp_path / "a.png")
    page.wait_for_function("() => /img=[0-9a-f]{32}/.test(location.hash)")
    seen.settled()
    page.click("#stage-conv3")
    seen.settled()
    page.click("#unit-3")
    page.wait_for_function("() => location.hash.includes('unit=3')")
    seen.settled()
    before = page.url, page.inner_text("#unit h2"), page.inner_text("#answers")
    assert "conv3" in before[1]
    page.reload()
    seen.settled()
    assert (page.url, page.inner_text("#unit h2"), page.inner_text("#answers")) == before
    assert page.get_attribute("html", "data-theme") == "dark"
    assert seen.wrong == []


def test_what_was_asked_for_is_answered_or_not_and_stands_in_the_address(watched):
    seen = watched()
    page = seen.open("#look?lang=en")
    assert "ure" not in page.inner_text("#answers")
    page.select_option("#choose-sure", "0.95")
    page.wait_for_function("() => location.hash.includes('sure=0.95')")
    seen.settled()
    said = page.inner_text("#answers")
    assert "Not sure. Best guesses:" in said
    assert "6 validation images do not prove a precision of 95 %" in said
    page.select_option("#choose-set", "0.8")
    page.wait_for_function("() => location.hash.includes('set=0.8')")
    seen.settled()
    page.reload()
    seen.settled()
    assert "One of: " in page.inner_text("#answers")
    assert page.locator("#choose-set").input_value() == "0.8"
    page.select_option("#choose-sure", "")
    page.wait_for_function("() => !location.hash.includes('sure=')")
    seen.settled()
    assert "ot sure" not in page.inner_text("#answers")
    assert seen.wrong == []


def test_keys_alone_lead_from_the_image_to_a_unit(watched):
    seen = watched()
    page = seen.open("#look?lang=en")

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to(".samples button")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("() => /img=\\w+-\\d+/.test(location.hash)")
    seen.settled()
    tab_to("#stage-conv2")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash.includes('layer=conv2')")
    seen.settled()
    tab_to("[id^=unit-]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash.includes('unit=')")
    unit = page.evaluate("new URLSearchParams(location.hash.split('?')[1]).get('unit')")
    assert page.inner_text("#unit h2") == f"conv2 · feature map {unit}"


def test_why_follows_the_class_and_the_slider(watched):
    seen = watched()
    page = seen.open("#why?lang=en&method=saliency")
    page.click(".bars li:nth-child(2) button")
    page.wait_for_selector(".bars li:nth-child(2) button[aria-pressed=true]")  # drawn anew for that class
    seen.settled()
    page.wait_for_selector(".photo canvas")
    page.locator("#blend").fill("20")
    assert page.evaluate("document.querySelector('.photo canvas').style.opacity") == "0.2"
    assert "blend=20" in page.url
    assert seen.wrong == []


def test_a_server_that_goes_and_comes_back_costs_nothing(browser, trained):
    with exploring(trained / "run") as first:
        seen, port = Watched(browser, first.url), first.port
        page = seen.open("#look?lang=en&layer=conv2&unit=1")
        title = page.inner_text("#unit h2")
    page.wait_for_selector("#banner:not([hidden])", timeout=10000)
    address = page.url
    with exploring(trained / "run", port=port):
        page.wait_for_selector("#banner", state="hidden", timeout=10000)
        seen.settled()
        assert page.url == address
        assert page.inner_text("#unit h2") == title
        page.goto("about:blank")  # closes its connections, so that the server can stop at once
    seen.context.close()


def test_nothing_moves_where_motion_is_not_wanted(watched):
    seen = watched(reduced_motion="reduce")
    page = seen.open("#look?lang=en")
    page.evaluate("document.body.append(Object.assign(document.createElement('p'), {className: 'wait'}))")
    assert page.evaluate("getComputedStyle(document.querySelector('.wait'), '::before').animationName") == "none"


def test_languages_and_themes_are_switched_and_stand_in_the_address(watched):
    seen = watched(color_scheme="dark")
    page = seen.open("#filters?lang=en")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.click("header button:has-text('中文')")
    page.wait_for_selector("nav :text('滤波器')")
    page.click("header button:has-text('☀')")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'light'")
    assert "lang=zh" in page.url
    assert "theme=light" in page.url


# --- the tab Learn ----------------------------------------------------------------------------------------------------

IDEAS = ("activation", "convolution", "pooling", "lrn", "dropout", "augmentation", "towers")


def serious_faults(page: Page) -> list[tuple[str, list[str]]]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:3])
        for each in axe.Axe().run(page).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("language", "width", "theme"), [("en", 1280, "light"), ("zh", 360, "dark")])
def test_every_card_has_a_sentence_with_numbers_fits_and_is_accessible(watched, language, width, theme):
    seen = watched(width=width, reduced_motion="reduce")
    sentences = set()
    for idea in IDEAS:
        page = seen.open(f"#learn?run=gallery&card={idea}&lang={language}&theme={theme}")
        assert page.locator(".error").all_inner_texts() == []
        said = page.inner_text(".sentence")
        assert any(letter.isdigit() for letter in said), said
        assert (max(said) >= "一") == (language == "zh"), said
        sentences.add(said)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, idea
        assert page.inner_text("nav.ideas [aria-current]")
        assert serious_faults(page) == [], idea
    assert len(sentences) == len(IDEAS)
    assert (seen.wrong, seen.elsewhere) == ([], [])


def test_a_run_without_such_a_layer_says_so_and_offers_one_that_has(watched):
    seen = watched(reduced_motion="reduce")
    page = seen.open("#learn?run=run&card=towers&lang=en")
    assert "run has no such layer" in page.inner_text("#idea")
    page.click("#other-run")
    page.wait_for_selector(".sentence")
    assert "run=gallery" in page.url
    assert "cross between the towers" in page.inner_text(".sentence")
    assert seen.wrong == []


SWITCHES = {
    "activation": ("#switch-all", "Space", "all=1"),
    "lrn": ("#slider-lrn_k", "ArrowRight", "lrn_k="),
    "dropout": ("#drop-other", "Enter", "seed=1"),
    "augmentation": ("#switch-nocrop", "Space", "nocrop=1"),
    "towers": ("#cut-conv3", "Space", "cut=conv3"),
    "pooling": ("#slider-row", "ArrowLeft", "row="),
    "convolution": ("#conv-step", "Enter", "col=1"),
}


@pytest.mark.parametrize("idea", SWITCHES)
def test_a_switch_is_moved_by_keys_stands_in_the_address_and_survives_a_reload(watched, idea):
    selector, key, part = SWITCHES[idea]
    seen = watched(reduced_motion="reduce")
    page = seen.open(f"#learn?run=gallery&card={idea}&lang=en")
    before = page.inner_text(".result")
    page.focus(selector)
    page.keyboard.press(key)
    page.wait_for_function("(part) => location.hash.includes(part)", arg=part)
    page.wait_for_function("(old) => document.querySelector('.result').innerText !== old", arg=before)
    seen.settled()
    assert page.evaluate("(s) => document.activeElement.matches(s)", selector)
    after = page.inner_text(".result")
    page.reload()
    seen.settled()
    assert page.inner_text(".result") == after
    assert seen.wrong == []


def test_the_window_moves_by_itself_until_it_is_stopped_and_not_where_motion_is_not_wanted(watched):
    seen = watched()
    page = seen.open("#learn?run=gallery&card=convolution&lang=en")
    page.wait_for_function("() => location.hash.includes('col=2')")
    page.click("#conv-play")
    assert page.inner_text("#conv-play") == "play"
    calm = watched(reduced_motion="reduce").open("#learn?run=gallery&card=convolution&lang=en")
    assert calm.inner_text("#conv-play") == "play"
    assert "col=" not in calm.url
    assert seen.wrong == []


def test_a_lecture_is_turned_by_the_arrow_keys_and_ends_with_escape(watched):
    seen = watched(reduced_motion="reduce")
    page = seen.open("#learn?run=gallery&lecture=1&lang=en")
    assert page.locator("nav.tabs").is_hidden()
    plain = page.evaluate("getComputedStyle(document.body).fontSize")
    titles = []
    for _ in IDEAS:
        titles.append(page.inner_text("#idea-title"))
        page.keyboard.press("ArrowRight")
        page.wait_for_function("(old) => document.querySelector('#idea-title').innerText !== old", arg=titles[-1])
    assert len(set(titles)) == len(IDEAS)
    assert page.inner_text("#idea-title") == titles[0]
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("(old) => document.querySelector('#idea-title').innerText === old", arg=titles[-1])
    page.keyboard.press("Escape")
    page.wait_for_selector("nav.tabs:visible")
    assert page.evaluate("getComputedStyle(document.body).fontSize") != plain
    assert seen.wrong == []


# --- the lessons in it ------------------------------------------------------------------------------------------------

RUN, NOT_RUN = 2, 8  # which the lessons of `running` are


@pytest.mark.parametrize(("language", "width", "theme"), [("en", 1280, "light"), ("zh", 360, "dark")])
def test_the_lessons_are_read_on_the_page_with_or_without_outputs(watched, language, width, theme):
    seen, frame = watched(width=width, reduced_motion="reduce"), f"lang={language}&theme={theme}"
    words = [lesson.prose[language] for lesson in all_lessons()]
    page = seen.open(f"#learn?lesson=all&{frame}")
    assert page.locator(".lessons > ol > li > a").all_inner_texts() == [
        f"{n}. {each.title}" for n, each in enumerate(words, 1)
    ]
    assert serious_faults(page) == []
    for number in (RUN, NOT_RUN):
        page = seen.open(f"#learn?lesson={number}&{frame}")
        prose = words[number - 1]
        assert page.locator(".lesson h1").all_inner_texts() == [prose.title]
        assert page.title().startswith(prose.title)
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert serious_faults(page) == [], number
        assert page.evaluate("document.documentElement.scrollWidth") <= width, number
        assert page.locator(".lesson section.exercise").count() == len(prose.names("exercise"))
        figures = page.locator(".lesson figure img")
        drawn = sum(block.kind == "cell" and bool(block.text) for block in prose.blocks)
        assert figures.count() == (drawn if number == RUN else 0)
        assert (page.locator(".lesson .note").count(), page.locator(".lesson .absent").count()) == (
            (0, 0) if number == RUN else (1, drawn)
        )
        assert figures.evaluate_all("all => all.every((each) => each.naturalWidth > 0 && each.alt)")
    assert (seen.wrong, seen.elsewhere) == ([], [])


def test_a_card_leads_to_its_lesson_by_keys_the_lesson_back_and_the_address_holds_it(watched):
    seen = watched(reduced_motion="reduce")
    page = seen.open("#learn?run=gallery&card=activation&lang=en")
    page.focus("#to-lesson")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lesson h1")
    assert "lesson=2" in page.url
    assert page.evaluate("document.activeElement.id") == "lesson-title"  # where a screen reader goes on
    page.reload()
    seen.settled()
    assert page.inner_text(".lesson h1") == "ReLU"
    page.click("header button:has-text('中文')")
    page.wait_for_selector(".lesson h2:has-text('三个激活函数')")
    page.go_back()
    page.wait_for_selector(".lesson h2:has-text('Three')")
    page.click("nav.turn a[rel=next]")
    page.wait_for_function("() => location.hash.includes('lesson=3')")
    seen.settled()
    page.click("p.touch a")
    page.wait_for_selector("#idea-title")
    assert "card=augmentation" in page.url
    assert "lesson" not in page.url
    assert page.title().startswith("Learn")
    page.click("#lessons")
    page.wait_for_selector("#lesson-10")
    page.go_back()
    page.wait_for_selector("#idea-title")
    assert (seen.wrong, seen.elsewhere) == ([], [])


def test_each_card_names_a_lesson_and_each_lesson_a_place_to_touch_it(watched):
    seen, named = watched(reduced_motion="reduce"), set()
    for idea in IDEAS:
        href = seen.open(f"#learn?run=gallery&card={idea}&lang=en").get_attribute("#to-lesson", "href")
        named.add(number := int(re.search(r"lesson=(\d+)", href)[1]))
        page = seen.open(f"#learn?lesson={number}&lang=en")
        assert any(
            f"card={idea}" in link for link in page.locator("p.touch a").evaluate_all("a => a.map((e) => e.href)")
        )
    assert named == {1, 2, 3, 4, 5, 6, 7}
    for number in {lesson.number for lesson in all_lessons()} - named:
        assert seen.open(f"#learn?lesson={number}&lang=en").locator("p.touch a").count() > 0, number
    assert seen.wrong == []


@pytest.mark.parametrize("number", [RUN, NOT_RUN])
def test_an_address_leads_to_a_figure_of_a_lesson(watched, number):
    prose = all_lessons()[number - 1].prose["en"]
    last = [block.name for block in prose.blocks if block.kind == "cell" and block.text][-1]
    page = watched(reduced_motion="reduce").open(f"#learn?lesson={number}&at={last}&lang=en")
    page.wait_for_function(
        """(name) => {
          const box = document.querySelector(`#figure-${name}`).getBoundingClientRect();
          return scrollY > 0 && box.top >= 0 && box.bottom <= innerHeight;
        }""",
        arg=last,
    )


def test_a_lesson_that_there_is_not_is_said_and_the_list_is_one_click_away(watched):
    seen = watched()
    page = seen.open("#learn?lesson=77&lang=en")
    assert "there is no lesson '77'" in page.inner_text(".error")
    page.click("#lessons")
    page.wait_for_selector("#lesson-1")
