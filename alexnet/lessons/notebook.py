"""A lesson that has run, as a notebook with its outputs, for people who read before they run."""

from typing import Any

from alexnet.lessons.execute import Executed, Output
from alexnet.lessons.prose import filled, unwrap
from alexnet.lessons.words import words_of
from alexnet.lessons.working_copy import code_cell, markdown_cell, notebook, preamble


def executed_notebook(executed: Executed, language: str) -> dict[str, Any]:
    """The notebook of a lesson in one language: every number in its prose, every output and figure in place."""
    lesson, words = executed.lesson, words_of(language)
    prose = lesson.prose[language]
    cells: list[dict[str, Any]] = []

    def say(text: str, values: Any = executed.values) -> None:
        cells.append(markdown_cell(len(cells), unwrap(filled(text, values))))

    count = 0
    for block in prose.blocks:
        if block.kind == "text":
            say(block.text)
            if len(cells) == 1:
                cells.append(code_cell(1, preamble(lesson, language).rstrip("\n"), count=(count := 1)))
        elif block.kind == "cell":
            count += 1
            outputs = _outputs(executed.outputs[language][block.name])
            cells.append(code_cell(len(cells), lesson.cells[block.name].code.rstrip("\n"), outputs, count))
            if block.text:
                say(f"`{block.name}`: *{block.text}*")
        elif block.kind == "predict":
            say(f"**{words['predict']}** {block.text}\n\n> {words['your_guess']}")
        elif block.kind == "answer":
            say(f"**{words['answer']}** {block.text}")
        elif block.kind == "exercise":
            say(block.text)
            say(f"<details><summary>{words['hint']}</summary>\n\n{prose.of('hint', block.name)}\n\n</details>")
            code = lesson.exercises[block.name].start.code.rstrip("\n")
            cells.append(code_cell(len(cells), f"# %% [exercise {block.name}]\n{code}"))
    return notebook(cells, language)


def _outputs(output: Output) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if output.text:
        outputs.append({"output_type": "stream", "name": "stdout", "text": output.text.splitlines(keepends=True)})
    for figure in output.figures:
        data = {"image/svg+xml": figure.splitlines(keepends=True)}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    return outputs
