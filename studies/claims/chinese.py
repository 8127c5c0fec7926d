"""The page of the claims in Chinese: the same rows, every cell and paragraph said by a catalogue (`zh.po` beside this).

A message is a cell without its numbers, `{0} of {1}`: the numbers are those of the English page, and no second copy.
"""

import re
from pathlib import Path

from alexnet.language.words import Words, read_catalogue
from studies.claims.leading import LINES

CATALOGUE = Path(__file__).with_name("zh.po")
_CODE = re.compile(r"^`[^`]*`$")
_IMAGE = re.compile(r"^!\[(.*)\]\((.*)\)$")


def words() -> Words:
    """Says what stands in the page: of its own catalogue, of the lines of the ingredients, of the package."""
    import polib

    own = {entry.msgid: entry.msgstr for entry in polib.pofile(str(CATALOGUE)).translated_entries()}
    lines = {line.ingredient: line.chinese[0] for line in LINES}
    lines |= {f"{line.change} ({line.arm})": f"{line.chinese[1]}（{line.arm}）" for line in LINES}
    return Words("zh", read_catalogue("zh") | lines | own)


def in_chinese(page: str) -> str:
    """The page (docs/claims.md) in Chinese."""
    say = words()
    return "\n\n".join(_block(block, say) for block in page.split("\n\n"))


def _block(block: str, say: Words) -> str:
    if block.startswith("|"):
        return "\n".join(_row(line, say) for line in block.split("\n"))
    if image := _IMAGE.match(block.strip()):
        return f"![{say(image[1])}]({image[2]})" + "\n" * block.endswith("\n")
    marks, _, text = block.rpartition("# ")
    if block.startswith("#"):
        return f"{marks}# {say(text)}"
    return say(" ".join(block.split("\n")))


def _row(line: str, say: Words) -> str:
    cells = line.strip("| ").split(" | ")
    return "| " + " | ".join(cell if _CODE.match(cell) else say(cell) for cell in cells) + " |"
