"""The lessons as `alexnet explore` serves them: what has run, what has not, and what is refused."""

import base64
import json
import re

import pytest

from alexnet.errors import UsageError
from alexnet.explorer.images import GALLERY
from alexnet.explorer.lesson_routes import BUILT, figures_as_images, site_of
from alexnet.lessons.lesson import COURSE, LANGUAGES, all_lessons
from alexnet.lessons.site import write_site
from harness.lessons import SVG, as_if_run

LESSONS = all_lessons()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    httpx = pytest.importorskip("httpx")
    from harness.service_process import exploring

    folder = tmp_path_factory.mktemp("lessons")
    write_site([as_if_run(LESSONS[1]), as_if_run(LESSONS[6], small=True)], folder / "site")
    with (
        exploring(GALLERY, lessons=folder) as running,
        httpx.Client(base_url=f"{running.url}/explorer/lessons", trust_env=False, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_lessons_are_listed_with_how_far_the_reader_is_and_what_has_run(client, language, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path))
    (tmp_path / "lessons.json").write_text(json.dumps({"relu": [next(iter(LESSONS[1].exercises)), "of another time"]}))
    listed = client.get(f"/{language}").json()["lessons"]
    assert [each["number"] for each in listed] == [lesson.number for lesson in LESSONS]
    assert [each["title"] for each in listed] == [lesson.prose[language].title for lesson in LESSONS]
    assert [each["run"] for each in listed] == [{2: "whole", 7: "small"}.get(n, "never") for n in range(1, 11)]
    assert [each["solved"] for each in listed] == [0, 1, *[0] * 8]
    assert [each["exercises"] for each in listed] == [len(lesson.exercises) for lesson in LESSONS]


@pytest.mark.parametrize(("number", "run"), [("2", "whole"), ("7", "small"), ("03", "never"), ("dropout", "never")])
def test_a_lesson_is_the_page_that_its_run_has_written(client, number, run):
    told = client.get(f"/zh/{number}").json()
    assert told["run"] == run
    lesson = LESSONS[told["number"] - 1]
    assert f"<h1>{lesson.prose['zh'].title}</h1>" in told["page"]
    assert ('class="output"' in told["page"]) == (run != "never")
    assert "<svg" not in told["page"]
    assert ("data:image/svg+xml" in told["page"]) == (run != "never")


@pytest.mark.parametrize("path", ["/en/11", "/en/0", "/en/2%00", "/zh/<b>", "/fr", "/fr/2", "/EN/2"])
def test_no_other_lesson_and_no_other_language(client, path):
    assert client.get(path).status_code in (404, 422)


def test_a_figure_becomes_an_image_with_its_words_and_all_that_is_drawn():
    labeled = SVG.replace("<svg ", '<svg role="img" aria-label="A &amp; &quot;B&quot;" ', 1)
    page = figures_as_images(f"<p>a</p><figure>{labeled}</figure><figure>{labeled}</figure><p>b</p>")
    images = re.findall(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)">', page)
    assert [alt for alt, _ in images] == ["A &amp; &quot;B&quot;"] * 2
    assert [base64.b64decode(data).decode() for _, data in images] == [SVG] * 2
    assert re.sub(r"<img [^>]*>", "", page) == "<p>a</p><figure></figure><figure></figure><p>b</p>"


def test_a_folder_that_was_named_must_hold_lessons_and_the_usual_one_need_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert site_of(None) == tmp_path / BUILT / "site"
    with pytest.raises(UsageError, match="E2140"):
        site_of(tmp_path)
    write_site([], tmp_path / "site")
    assert site_of(tmp_path) == tmp_path / "site"


def test_the_style_of_the_lessons_is_that_of_their_pages(client):
    answer = client.get(str(client.base_url).replace("/explorer/lessons/", "/page/lesson.css"))
    assert answer.content == (COURSE / "lesson.css").read_bytes()
    assert "text/css" in answer.headers["content-type"]
