"""`--help` in the language of the terminal."""

from typing import Any

from cyclopts.help import DefaultFormatter, HelpPanel

from alexnet.language.help import translated_help
from alexnet.language.speak import said


class SpokenHelp(DefaultFormatter):
    """The usual form of the help; its words are said in the language of the terminal."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        """One panel: its title, and what each entry does."""
        entries = [entry.copy(description=_said(entry.description)) for entry in panel.entries]
        title = said(panel.title) if isinstance(panel.title, str) else panel.title
        super().__call__(console, options, panel.copy(title=title, entries=entries))

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        """What a verb does, and how it is typed."""
        super().render_description(console, options, _said(description))


def _said(description: Any) -> Any:
    """A description in the language of the terminal; what the library adds in brackets stays beside it."""
    from rich.text import Text

    if isinstance(description, Text):
        return Text(translated_help(description.plain, said))
    inner = getattr(description, "primary_renderable", None)
    if isinstance(inner, Text):
        description.primary_renderable = _said(inner)
        description.texts = [Text(said(text.plain.strip()), style=text.style) for text in description.texts]
    return description
