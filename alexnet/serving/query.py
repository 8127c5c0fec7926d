"""Refuses a query that would be misread without notice: what no route has, what is given twice, and blanks."""

from difflib import get_close_matches

from fastapi import Request

from alexnet.serving.problems import wrong_parameter

TOKEN = "token"  # belongs to `alexnet.serving.access`, on every path
NUMBERS = ("k", "views")
SIMILAR = 0.4  # `topk` is that near to `k`


def check_query(request: Request) -> None:
    """Refuses a parameter that the route does not have, one given twice, or blanks around a number.

    Raises:
        UsageError: E265.
    """
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    items = request.query_params.multi_items()
    for name, value in items:
        if name not in (*known, TOKEN):
            raise wrong_parameter(name, _unknown(name, known))
        if name in NUMBERS and value != value.strip():
            raise wrong_parameter(name, "there are blanks around its value")
        if sum(name == other for other, _ in items) > 1:
            raise wrong_parameter(name, "it is given more than once")


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return "there is no such parameter; this address takes none"
    near = get_close_matches(name.lower(), known, n=1, cutoff=SIMILAR)
    hint = f"did you mean {near[0]!r}?" if near else "there is nothing like it"
    return f"there is no such parameter; {hint} (of {', '.join(sorted(known))})"
