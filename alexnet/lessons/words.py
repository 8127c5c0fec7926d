"""What the lessons say around their prose: in English here, in Chinese in the catalogue of all messages."""

from collections.abc import Mapping
from functools import cache

from alexnet.language import words

NAMES: Mapping[str, str] = {"en": "English", "zh": "中文"}  # of the languages, each in its own

WORDS: Mapping[str, str] = {
    # the reader's copy, the notebooks and the site
    "predict": "Predict.",
    "answer": "Answer.",
    "your_guess": "Write down your guess before you run the next cell.",
    "how": "This file is yours: change it, and run it cell by cell or as a whole.\n"
    "The exercises stand in cells of their own; replace what they begin with, then type\n"
    "`alexnet learn check {number}`.",
    "preamble": "What the cells take as given.",
    "small": "True: a quick look instead of the whole training",
    "show_answer": "Guessed? Show the answer",
    "hint": "Hint",
    "hint_is": "Hint: {text}",
    "worked": "A worked solution",
    "lessons": "AlexNet, by running it",
    "about": "Lessons that run on your own machine. Every number here was computed by the code beside it.",
    "output": "Output",
    "not_run": "This lesson has not run here yet: outputs, figures and numbers (…) are missing. This command runs "
    "it, in a few minutes; then load the page again:",
    "quick_look": "A quick look, with less training: numbers and figures are other ones than those of the whole "
    "lesson, and may not fit its text. This command runs the whole, in a few minutes:",
    "begin": "To do it yourself, type this in a terminal:",
    "back": "All lessons",
    "next": "Next lesson: {title}",
    "slides": "Slides",
    "previous": "Previous slide",
    "turn": "Next slide",
    # alexnet learn
    "column_lesson": "lesson",
    "column_exercises": "exercises solved",
    "of": "{solved} of {count}",
    "open": "Open one:  alexnet learn {number}",
    "written": "Lesson {number}: {title}",
    "there": "Lesson {number}: {title} (your copy is still there, and stays as it is)",
    "file": "Yours:  {path}",
    "step_edit": "1. Open it in any editor, and read. Guess before you run.",
    "step_run": "2. Run it:  python {path}",
    "step_notebook": "2. Run it:  jupyter lab {path}  (or open it in VS Code)",
    "step_check": "3. Change the exercises at its end, then:  {command}",
    "step_answer": "Stuck?  alexnet learn {number} --answer  shows a worked solution.",
    "checking": "Lesson {number}: {title}",
    # what a check says
    "judged": "{title}: {status}",
    "right": "right",
    "nearly": "nearly right",
    "wrong": "not yet",
    "missing": "no answer yet",
    "error": "does not run",
    "slow": "takes too long",
    "ended": "ended Python",
    "absent": "is gone",
    "why_missing": "{reason} has no value yet: replace ... by your answer.",
    "why_error": "Line {line}: {reason}.",
    "why_NameError": "An exercise sees these cells: {needs}. Other names must be defined in its own.",
    "why_slow": "It was stopped after {seconds:.0f} seconds. Is there a loop that never ends, or too much work?",
    "why_ended": "The cell ended the whole program (exit, or a crash). Let it end by itself.",
    "why_absent": "The line `# %% [exercise {exercise}]` is not in your file. Put it back, with your answer below.",
    "all_right": "All {count} exercises are right. Next:  {next}",
    "last": "That was the last lesson.",
    "some_right": "{solved} of {count} are right. Worked solutions:  alexnet learn {number} --answer",
    "not_kept": "note: {path} cannot be written, so your progress is not kept",
}


@cache
def words_of(language: str) -> Mapping[str, str]:
    """The words in a language, by their names here."""
    say = words.words_of(language)
    return {name: say(text) for name, text in WORDS.items()}
