"""Messages in another language: templates, columns, pages, and that programs get the same as ever."""

import inspect
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.cells import cell_len

from alexnet.errors import UsageError
from alexnet.language.choose import choose_language
from alexnet.language.help import translated_help
from alexnet.language.pages import translated_page
from alexnet.language.speak import said, speaking, spoken
from alexnet.language.template import Template, places
from alexnet.language.words import Words
from alexnet.report.html import page, table
from alexnet.text import columns
from harness.messages import help_paragraphs

SPOKEN = Words(
    "zh",
    {
        "disk full": "磁盘已满",
        "no field {0} in {1}": "{1} 中没有字段 {0}",
        "no field {0}": "没有字段 {0}",
        "{0} image{1} left": "还剩 {0} 张图像",
        "Use {0}.": "请用 {0}。",
        "it failed: {0}": "失败：{0}",
        "class": "类别",
        "count\x04cat": "只猫",
    },
)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("disk full", "磁盘已满"),
        ("no field 'epoch' in the recipe", "the recipe 中没有字段 'epoch'"),  # of two that fit, the one that says more
        ("no field 'epoch'", "没有字段 'epoch'"),
        ("1 image left", "还剩 1 张图像"),
        ("2 images left", "还剩 2 张图像"),
        ("it failed: disk full", "失败：磁盘已满"),  # a message in a message
        ("disk full\nUse /tmp.", "磁盘已满\n请用 /tmp。"),
        ("disk full; 3 images left", "磁盘已满；还剩 3 张图像"),
        ("no field {0}", "没有字段 {0}"),  # braces of a user
        ("E500 unknown words", "E500 unknown words"),
        ("it failed: 3 cats", "失败：3 只猫"),
        ("1 cat", "1 只猫"),
        ("", ""),
        ("  disk full", "  磁盘已满"),
        ("class", "类别"),
        ("no field class", "没有字段 class"),  # names of users, fields and folders may be words of the catalogue
        ("no field class in cat", "cat 中没有字段 class"),
        ("Use class.", "请用 class。"),
        ("class, disk full", "类别，磁盘已满"),
        ("Disk full. Use /tmp.", "磁盘已满。请用 /tmp。"),
        ("Use /tmp. It was so. Use ~.", "请用 /tmp。 It was so.请用 ~。"),  # sentence by sentence
        ("it failed: 2 images left. Use /tmp.", "失败：还剩 2 张图像。请用 /tmp。"),
        ("held by 7 (process ... on host)", "held by 7 (process ... on host)"),
        ("class  no field 'epoch'", "class  no field 'epoch'"),  # no value reaches into another column
    ],
)
def test_messages_are_found_by_their_template(english, chinese):
    assert SPOKEN(english) == chinese


def test_english_is_as_it_was():
    assert Words("en", {"disk full": "x"})("disk full") == "disk full"
    assert said("disk full") == "disk full"


def filled(template, message):
    found = template.values(message)
    return None if found is None else template.fill(found, lambda value, _: value)


values = st.text(st.characters(blacklist_characters="{}", blacklist_categories=("Cs",)), min_size=1, max_size=8)


@given(values, values)
def test_values_are_found_again_where_the_words_between_them_say_where_they_end(first, second):
    template = Template("the field {0} has the value <{1}>", "字段 {0} 的值是 <{1}>")
    message = f"the field {first} has the value <{second}>"
    assume("<" not in first + second)
    assert filled(template, message) == f"字段 {first} 的值是 <{second}>"


def test_places():
    assert places("{1} of {0} and {1}") == [1, 0, 1]
    assert filled(Template("{0} is {0}", "{0} 是 {0}"), "a is b") is None
    assert filled(Template("{0} is {0}", "{0} 是 {0}"), "a is a") == "a 是 a"


def test_the_language_is_that_of_the_block():
    assert spoken() == "en"
    with speaking("zh"):
        assert spoken() == "zh"
        assert said("xyzzy plugh") == "xyzzy plugh"
    assert spoken() == "en"


def test_columns_stay_where_they_are():
    with speaking("zh"):
        line = said("report     photos/report.html")
    assert line.endswith(" photos/report.html")
    assert columns(line) == cell_len(line) == len("report     photos/report.html")


@pytest.mark.parametrize("text", ["", "abc", "图像 224", "e\u0301", "，。：", "Ä"])
def test_columns_are_counted_as_a_terminal_shows_them(text):
    assert columns(text) == cell_len(text)


@pytest.mark.parametrize(
    ("named", "variables", "language"),
    [
        ("zh", {}, "zh"),
        ("zh_CN.UTF-8", {}, "zh"),
        ("EN", {"ALEXNET_LANG": "zh"}, "en"),
        (None, {"ALEXNET_LANG": "zh", "LANG": "en_US.UTF-8"}, "zh"),
        (None, {"LANG": "zh_TW.UTF-8"}, "zh"),
        (None, {"LC_ALL": "de_DE", "LANG": "zh_CN"}, "en"),
        (None, {"LANG": "C"}, "en"),
    ],
)
def test_which_language(named, variables, language, monkeypatch):
    for name in ("ALEXNET_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choose_language(named) == language


def test_a_language_that_it_does_not_speak():
    with pytest.raises(UsageError, match="E2055"):
        choose_language("fr")


PAGE = page(
    "a <b> & c",
    {"x": ("class", table({"class": "", "loss": "n"}, [("<b>disk full</b>", "1 &lt; 2"), ("cats &amp; dogs", "2")]))},
)


def test_a_page_that_nothing_is_said_of_is_the_same_to_the_byte():
    assert translated_page(PAGE, lambda text: text, "en") == PAGE


def test_a_page_is_said_text_by_text():
    told = translated_page(PAGE, SPOKEN, "zh")
    assert '<html lang="zh">' in told
    assert "<b>磁盘已满</b>" in told
    assert "类别</th>" in told
    assert "cats &amp; dogs" in told
    assert told.count("<") == PAGE.count("<")


def test_scripts_code_and_attributes_that_nobody_reads_stay():
    source = '<p class="class" title="class" data-x="class">class</p><code>class</code><script>class</script>'
    told = translated_page(source, SPOKEN, "zh")
    assert told == '<p class="class" title="类别" data-x="class">类别</p><code>class</code><script>class</script>'


def test_names_in_a_page_stay_and_sentences_are_said_with_the_marks_within_them():
    say = Words("zh", {"class": "类别", "disk full": "磁盘已满", "{0} is on <b>{1}</b> now": "<b>{1}</b> 上有 {0}"})
    for source, told in (
        ("<td><bdi>class</bdi></td><td>class</td>", "<td><bdi>class</bdi></td><td>类别</td>"),
        ("<p><bdi>class</bdi> is on <b>/tmp</b> now</p>", "<p><b>/tmp</b> 上有 <bdi>class</bdi></p>"),
        ("<p><em>class</em> <bdi><em>disk full</em></bdi></p>", "<p><em>类别</em> <bdi><em>disk full</em></bdi></p>"),
        ("<p>class <b>disk full</b></p>", "<p>类别 <b>磁盘已满</b></p>"),
        (
            "<caption>class</caption><tbody><td>class</td></tbody>",
            "<caption>类别</caption><tbody><td>class</td></tbody>",
        ),
        ("<table><tbody><td>class</td></tbody>", "<table><tbody><td>类别</td></tbody>"),
        ("<th><span>class</span></th>", "<th><span>类别</span></th>"),
        ("<p>it&#x27;s <b>x</b></p>", "<p>it&#x27;s <b>x</b></p>"),
    ):
        assert translated_page(source, say, "zh") == told


def test_what_is_said_is_escaped_as_it_was():
    say = Words("zh", {"a < b": "a < 乙", "it's": '"它"'})
    assert translated_page('<i title="it&#x27;s">a &lt; b</i>', say, "zh") == '<i title="&quot;它&quot;">a &lt; 乙</i>'


HELP = """Train it. Nothing else.

    Two lines of
    prose.

    For example:
      alexnet train photos/

    Parameters
    ----------
    data
        As for
        alexnet train.
    """


def test_help_is_prose_and_examples():
    prose = ["Train it. Nothing else.", "Two lines of prose.", "For example:", "As for alexnet train."]
    assert help_paragraphs(HELP) == prose
    told = translated_help(inspect.cleandoc(HELP).partition("\n\nParameters")[0], lambda text: f"<{text}>")
    assert "<Two lines of prose.>" in told
    assert told.endswith("<For example:>\n  alexnet train photos/")


def test_programs_get_the_same_in_every_language(alexnet, trained):
    answers = [
        json.loads(alexnet("evaluate", trained / "run", "--format", "json", *language).out)
        for language in ((), ("--lang", "zh"))
    ]
    assert answers[0] == answers[1]


def test_the_language_stands_anywhere_on_the_line(alexnet):
    first, last = alexnet("--lang=zh", "recipes").out, alexnet("recipes", "--lang", "zh").out
    assert first == last != alexnet("recipes").out
    assert alexnet("recipes", "--lang").code == 2


def test_errors_keep_their_code(alexnet):
    told = alexnet("predict", "nowhere", "--lang", "zh")
    assert told.code == 2
    assert "E230 nowhere" in told.err
    assert "does not exist" not in told.err
