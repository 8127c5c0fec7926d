"""Writes docs/errors.zh-CN.md: `python -m harness.errors_page`, which `make messages` runs too.

The codes and their order are those of docs/errors.md; what stands beside a code is a message as the program says it
(tests/project/errors.txt has them all) in the words of the Chinese catalogue. So there is no second list to keep.
"""

import re

from alexnet.language.words import words_of
from harness import ROOT

ENGLISH = ROOT / "docs/errors.md"
CHINESE = ROOT / "docs/errors.zh-CN.md"
SAID = ROOT / "tests/project/errors.txt"

HEAD = """# 错误与退出码

[English](errors.md)

能够改正的错误，只用一条消息回答，没有 traceback：一个代码，什么错了、在哪里，下一行是该怎么办。

```
alexnet: E211 配方中没有字段 'epoch'；是否指 'epochs'？
字段：model, augment, optim, ...
```

代码的第一位数字就是命令行的退出码。在 Python 里，同样的错误是 `alexnet.errors` 的异常，
带有 `code`、`what`、`fix` 和 `exit_code`。一个代码只表示一种错误；代码的含义不变，文字可以改。
三位数字用完之后用四位。`tests/project/test_errors.py` 会逐一触发它们，比较整条消息。

本页由 `make messages` 写成：每个代码给出程序说的一个例子（文件名和数值只是举例），以及该怎么办。
常见原因见[英文页](errors.md)。

| 退出码 | 含义 | 类 |
|---|---|---|
| 0 | 完成 | |
| 2 | 用法：选项、字段、值或运行目录不对 | `UsageError` |
| 3 | 数据：图像、文件夹或权重文件不能照原样使用 | `DataError` |
| 4 | 发散：数值不是有限数，网络无法训练，结果不是应有的 | `DivergedError` |
| 5 | 资源：磁盘空间或内存不足，文件系统拒绝，下载失败 | `ResourceError` |
| 6 | 文件损坏或不可信 | `UntrustedFileError` |
| 130、143 | 被 Ctrl-C 或 SIGTERM 停止；运行已保存进度 | |
"""
COLUMNS = "| 代码 | 程序说的话（举例） | 该怎么办 |\n|---|---|---|"
HEADINGS = {
    "2: usage": "2：用法",
    "The command line": "命令行",
    "Recipes and their fields": "配方及其字段",
    "Preparing, training and evaluating": "准备、训练与评估",
    "Files of weights, packages": "权重文件、软件包",
    "Runs": "运行",
    "Asking a service": "向服务发请求",
    "Several processes": "多个进程",
    "Prepared datasets at an address": "网址上的已准备数据集",
    "The doctor, and images left out": "doctor 与排除的图像",
    "Decay by layer": "逐层的权重衰减",
    "The page of alexnet explore": "alexnet explore 的页面",
    "Ideas on the page of alexnet explore": "alexnet explore 页面上的想法",
    "Ablations, comparisons, ensembles": "消融、比较、集成",
    "Dividing layers among processes": "把层分给多个进程",
    "Time and search": "时间与搜索",
    "Paths and the home folder": "路径与主目录",
    "Lessons": "课程",
    "3: data": "3：数据",
    "One image": "单张图像",
    "Folders of images": "图像文件夹",
    "Splits, classes, records of a run": "划分、类别、运行的记录",
    "Prepared folders": "已准备的文件夹",
    "Files of weights": "权重文件",
    "The images of a run": "运行的图像",
    "What is sent to a service": "发给服务的内容",
    "What folders and tables of labels mean": "文件夹与标签表的含义",
    "Lists of images to leave out": "要排除的图像清单",
    "Images on the page of alexnet explore": "alexnet explore 页面上的图像",
    "How sure answers are": "回答有多确定",
    "Similar images": "相似的图像",
    "Runs on the page of alexnet explore": "alexnet explore 页面上的运行",
    "4: diverged": "4：发散",
    "5: resources": "5：资源",
    "6: damaged and untrusted files": "6：损坏和不可信的文件",
}


def examples(text: str) -> dict[str, str]:
    """The first message of each code: what is wrong on its first line, below it what to do."""
    found: dict[str, str] = {}
    for message in text.rstrip("\n").split("\n\n"):
        code, _, rest = message.partition(" ")
        found.setdefault(code, rest)
    return found


def page(english: str, said: str) -> str:
    """The Chinese page, from the English one and the messages.

    Raises:
        KeyError: a heading of the English page has no Chinese one here, or a code has no message.
    """
    say, messages = words_of("zh"), examples(said)
    lines = [HEAD.rstrip("\n")]
    for line in english.splitlines():
        if heading := re.match(r"(##+) (.+)", line):
            lines += ["", f"{heading[1]} {HEADINGS[heading[2]]}"]
        elif line.startswith("| code |"):
            lines += ["", COLUMNS]
        elif row := re.match(r"\| (E\d{3,4}) \|", line):
            what, _, fix = messages[row[1]].partition("\n")
            lines.append(f"| {row[1]} | {_cell(say(what))} | {_cell(say(fix))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    text = text.replace("..。", "……")  # a list that the examples leave out
    return "<br>".join(text.replace("|", "\\|").replace("<", "&lt;").splitlines())


if __name__ == "__main__":
    CHINESE.write_text(page(ENGLISH.read_text(encoding="utf-8"), SAID.read_text(encoding="utf-8")), encoding="utf-8")
