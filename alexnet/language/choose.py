"""Which language is meant: the one that is named, that of ALEXNET_LANG, or that of the locale."""

import locale
import os

from alexnet.errors import UsageError

LANGUAGES = ("en", "zh")


def choose_language(named: str | None = None) -> str:
    """The language that is named, else that of ALEXNET_LANG, else Chinese where the locale is, else English.

    Args:
        named: en, zh, or a locale of either (zh_CN, zh-Hans).

    Raises:
        UsageError: the one that is named is neither en nor zh.
    """
    if named is not None:
        short = named.lower().replace("_", "-").partition("-")[0]
        if short not in LANGUAGES:
            raise UsageError(f"there is no language {named!r} here", fix="Choose --lang en or --lang zh.", code="E2055")
        return short
    said = os.environ.get("ALEXNET_LANG") or next(
        (value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))),
        locale.getlocale()[0] or "",
    )
    return "zh" if said.lower().startswith(("zh", "chinese")) else "en"
