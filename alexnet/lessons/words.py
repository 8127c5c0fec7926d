"""What the lessons say around their prose, in both languages, and which language is meant."""

import locale
import os
from collections.abc import Mapping

from alexnet.errors import UsageError

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        # the reader's copy, the notebooks and the site
        "predict": "Predict.",
        "answer": "Answer.",
        "your guess": "Write down your guess before you run the next cell.",
        "how": "This file is yours: change it, and run it cell by cell or as a whole.\n"
        "The exercises stand in cells of their own; replace what they begin with, then type\n"
        "`alexnet learn check {number}`.",
        "preamble": "What the cells take as given.",
        "small": "True: a quick look instead of the whole training",
        "show answer": "Guessed? Show the answer",
        "hint": "Hint",
        "worked": "A worked solution",
        "lessons": "AlexNet, by running it",
        "about": "Lessons that run on your own machine. Every number here was computed by the code beside it.",
        "here": "English",
        "elsewhere": "中文",
        "output": "Output",
        "begin": "To do it yourself, type this in a terminal:",
        "back": "All lessons",
        "next": "Next",
        # alexnet learn
        "column lesson": "lesson",
        "column exercises": "exercises solved",
        "of": "{solved} of {count}",
        "open": "Open one:  alexnet learn {number}",
        "written": "Lesson {number}: {title}",
        "there": "Lesson {number}: {title} (your copy is still there, and stays as it is)",
        "file": "Yours:  {path}",
        "step edit": "1. Open it in any editor, and read. Guess before you run.",
        "step run": "2. Run it:  python {path}",
        "step notebook": "2. Run it:  jupyter lab {path}  (or open it in VS Code)",
        "step check": "3. Change the exercises at its end, then:  {command}",
        "step answer": "Stuck?  alexnet learn {number} --answer  shows a worked solution.",
        "checking": "Lesson {number}: {title}",
        # what a check says
        "right": "right",
        "nearly": "nearly right",
        "wrong": "not yet",
        "missing": "no answer yet",
        "error": "does not run",
        "slow": "takes too long",
        "ended": "ended Python",
        "absent": "is gone",
        "why missing": "{reason} has no value yet: replace ... by your answer.",
        "why error": "Line {line}: {reason}.",
        "why NameError": "An exercise sees these cells: {needs}. Other names must be defined in its own.",
        "why slow": "It was stopped after {seconds:.0f} seconds. Is there a loop that never ends, or too much work?",
        "why ended": "The cell ended the whole program (exit, or a crash). Let it end by itself.",
        "why absent": "The line `# %% [exercise {exercise}]` is not in your file. Put it back, with your answer below.",
        "all right": "All {count} exercises are right. Next:  {next}",
        "last": "That was the last lesson.",
        "some right": "{solved} of {count} are right. Worked solutions:  alexnet learn {number} --answer",
        "not kept": "note: {path} cannot be written, so your progress is not kept",
    },
    "zh": {
        "predict": "先猜一猜。",
        "answer": "答案。",
        "your guess": "运行下一个单元之前，先写下你的猜测。",
        "how": "这个文件是你的：可以随意改动，逐个单元运行或整体运行。\n"
        "练习各有自己的单元；把其中的 `...` 换成你的答案，然后输入\n"
        "`alexnet learn check {number}`。",
        "preamble": "各单元要用到的词语和设置。",
        "small": "改为 True：只快速看一遍，不做完整训练",
        "show answer": "猜好了吗？显示答案",
        "hint": "提示",
        "worked": "参考解答",
        "lessons": "动手运行 AlexNet",
        "about": "在你自己的机器上运行的课程。页面上的每个数字都由旁边的代码算出。",
        "here": "中文",
        "elsewhere": "English",
        "output": "输出",
        "begin": "想自己动手，请在终端输入：",
        "back": "全部课程",
        "next": "下一课",
        "column lesson": "课程",
        "column exercises": "已完成的练习",
        "of": "{solved} / {count}",
        "open": "打开一课：  alexnet learn {number}",
        "written": "第 {number} 课：{title}",
        "there": "第 {number} 课：{title}（你的文件还在，未作改动）",
        "file": "你的文件：  {path}",
        "step edit": "1. 用任意编辑器打开阅读。先猜，再运行。",
        "step run": "2. 运行：  python {path}",
        "step notebook": "2. 运行：  jupyter lab {path}  （或用 VS Code 打开）",
        "step check": "3. 做文件末尾的练习，然后输入：  {command}",
        "step answer": "卡住了？  alexnet learn {number} --answer  显示参考解答。",
        "checking": "第 {number} 课：{title}",
        "right": "正确",
        "nearly": "差一点",
        "wrong": "还不对",
        "missing": "尚未作答",
        "error": "无法运行",
        "slow": "用时过长",
        "ended": "结束了 Python",
        "absent": "找不到",
        "why missing": "{reason} 还没有值：请把 ... 换成你的答案。",
        "why error": "第 {line} 行：{reason}。",
        "why NameError": "练习只能看到本课的这些单元：{needs}。其他名称要在练习自己的单元里定义。",
        "why slow": "运行 {seconds:.0f} 秒后被停止。是否有不会结束的循环，或计算量过大？",
        "why ended": "这个单元结束了整个程序（exit 或崩溃）。请让它自然结束。",
        "why absent": "文件里没有 `# %% [exercise {exercise}]` 这一行。请把它放回去，答案写在它下面。",
        "all right": "{count} 道练习全部正确。下一步：  {next}",
        "last": "这是最后一课。",
        "some right": "{count} 道练习中有 {solved} 道正确。参考解答：  alexnet learn {number} --answer",
        "not kept": "注意：无法写入 {path}，学习进度不会保存",
    },
}


def words_of(language: str) -> Mapping[str, str]:
    """The words of a language."""
    return WORDS[language]


def choose_language(named: str | None = None) -> str:
    """The language that is named, else that of ALEXNET_LANG, else Chinese where the locale is, else English.

    Raises:
        UsageError: the one that is named is neither en nor zh.
    """
    if named is not None:
        short = named.lower().replace("_", "-").partition("-")[0]
        if short not in WORDS:
            raise UsageError(f"there are no lessons in {named!r}", fix="Choose --lang en or --lang zh.", code="E2055")
        return short
    said = os.environ.get("ALEXNET_LANG") or next(
        (value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))),
        locale.getlocale()[0] or "",
    )
    return "zh" if said.lower().startswith(("zh", "chinese")) else "en"
