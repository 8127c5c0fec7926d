"""`--help` in the language of the terminal."""

from typing import Any

from cyclopts.help import DefaultFormatter, HelpPanel, InlineText

from alexnet.language.help import translated_help
from alexnet.language.speak import said, spoken
from alexnet.language.words import ENGLISH


class SpokenHelp(DefaultFormatter):
    """The usual form of the help; its words are said in the language of the terminal."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        """One panel: its title, and what each entry does."""
        entries = [entry.copy(description=_said(entry.description)) for entry in panel.entries]
        title = said(panel.title) if isinstance(panel.title, str) else panel.title
        super().__call__(console, options, panel.copy(title=title, entries=entries))

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        """How a verb is typed, after the word that says so."""
        from rich.text import Text

        if spoken() == ENGLISH or not usage:
            super().render_usage(console, options, usage)
        else:
            console.print(Text(f"{said('Usage:')}{str(usage).removeprefix('Usage:').strip()}", style="bold"))

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        """What a verb does, and how it is typed."""
        super().render_description(console, options, _said(description))


def _said(description: Any) -> Any:
    """A description in the language of the terminal."""
    from rich.text import Text

    if isinstance(description, Text):
        return Text(translated_help(description.plain, said))
    inner = getattr(description, "primary_renderable", None)
    if isinstance(inner, Text):
        told = _Spoken(_said(inner), force_empty_end=description.force_empty_end)
        for text in description.texts:
            told.append(text)
        return told
    return description


class _Spoken(InlineText):
    """A description beside which stands, in the language of the terminal, what the library adds in brackets."""

    def append(self, text: Any) -> None:
        """Adds, for example, `[default: 3]`."""
        from rich.text import Text

        super().append(Text(said(text.plain.strip()), style=text.style))
