"""The documents in Chinese: the same rows, code and numbers as in English, from one source where there is one."""

import re

import pytest

from harness import ROOT, errors_page
from studies.claims.chinese import in_chinese

CHINESE = re.compile(r"[\u4e00-\u9fff]")
FOREIGN = ("E214", "E279")  # what another library says stands in the message
PAIRS = sorted(path.name.replace(".zh-CN", "") for path in (ROOT / "docs").glob("*.zh-CN.md"))
BLOCK = re.compile(r"^```(?:bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(?:^|(?<=\s))# .*$", re.MULTILINE)


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_documents_that_readers_of_chinese_need_are_there():
    assert {"claims.md", "errors.md", "lessons.md", "note.md", "serve.md"} <= set(PAIRS)


@pytest.mark.parametrize("name", ["../README.md", *PAIRS])
def test_both_are_linked_and_have_the_same_code_and_as_many_headings(name):
    chinese_name = name.replace(".md", ".zh-CN.md")
    english, chinese = text(name), text(chinese_name)
    assert f"[中文]({chinese_name.removeprefix('../')})" in english
    assert f"[English]({name.removeprefix('../')})" in chinese
    assert [len(h) for h in re.findall(r"^##+", english, re.M)] == [len(h) for h in re.findall(r"^##+", chinese, re.M)]
    ours, theirs = ("".join(BLOCK.findall(page)) for page in (english, chinese))
    assert COMMENT.sub("#", ours) == COMMENT.sub("#", theirs)
    assert [comment for comment in COMMENT.findall(theirs) if not CHINESE.search(comment)] == []
    rows = [len(re.findall(r"^\|", page, re.M)) for page in (english, chinese)]
    assert rows[0] == rows[1]


def test_each_code_has_its_row_with_what_the_program_says_in_chinese():
    page = text("errors.zh-CN.md")
    assert page == errors_page.page(text("errors.md"), errors_page.SAID.read_text(encoding="utf-8")), "make messages"
    rows = re.findall(r"^\| (E\d+) \| (.*) \| (.*) \|$", page, re.M)
    assert [code for code, *_ in rows] == re.findall(r"^\| (E\d+) \|", text("errors.md"), re.M)
    said = [(code, what) for code, what, _ in rows if code not in FOREIGN and not re.search(r"[: ] ?\.\.\.$", what)]
    assert [code for code, what in said if not CHINESE.search(what)] == []


@pytest.mark.parametrize("broken", ["## 9: other\n", "## 2: usage\n| E999 | x | y | z |\n"])
def test_a_heading_or_a_code_that_nobody_has_said_in_chinese_is_found(broken):
    with pytest.raises(KeyError):
        errors_page.page(broken, "E200 unknown command 'x'\nfix")


def test_the_claims_are_the_same_rows_with_the_same_numbers_and_wholly_in_chinese():
    english, chinese = text("claims.md"), text("claims.zh-CN.md")
    assert chinese == in_chinese(english), "make figures"
    for ours, theirs in zip(english.split("\n\n"), chinese.split("\n\n"), strict=True):
        if not ours.startswith("|"):
            assert CHINESE.search(theirs) or re.match(r"\[English|!\[\w+\]", theirs), theirs
            continue
        for line, said in zip(ours.splitlines(), theirs.splitlines(), strict=True):
            found = [sorted(re.findall(r"[+-]?\d+\.\d+", row)) for row in (line, said)]
            assert found[0] == found[1] or "million" in line, said
            words = re.sub(r"`[^`]*`|（[^（）]*）|\([^()]*\)", "", said)
            assert not re.search(r"[a-z]{3,} [a-z]{2,}", words), said
