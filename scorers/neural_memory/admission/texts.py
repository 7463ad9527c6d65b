"""Which strings can an expression be? Just enough to see through names put together at run time."""

import ast
from collections.abc import Iterable
from typing import Any

from .names import words
from .program import NOTHING, Text, Value, Values

UNKNOWN = "\0"  # stands in a text for a part that is not known: "layer_\0"
HIDDEN = "\1"  # ... for a part that is computed as good code does not compute names
MAX_TEXTS, MAX_LENGTH = 24, 80

# Methods that are worked out on known strings, and those that only serve to hide one.
FOLDED = words("lower upper strip lstrip rstrip replace removeprefix removesuffix")
HIDERS = words("decode translate swapcase fromhex casefold title")
METHODS = FOLDED | HIDERS | {"join", "format", "split"}


def texts(values: Iterable[Value]) -> list[str]:
    return [v.text for v in values if isinstance(v, Text)]


def without_texts(values: Iterable[Value]) -> Values:
    return frozenset(v for v in values if not isinstance(v, Text))


def of_constant(text: str) -> Values:
    return frozenset({Text(text if len(text) <= MAX_LENGTH else UNKNOWN)})


def blur(options: Iterable[str]) -> str:
    return HIDDEN if any(HIDDEN in o for o in options) else UNKNOWN


def concatenate(parts: list[Values]) -> Values:
    """Every concatenation of one text from each part, if there are few and any is known."""
    if not any(texts(p) for p in parts):
        return NOTHING
    found = [""]
    for p in parts:
        options = texts(p) or [UNKNOWN]
        if len(found) * len(options) > MAX_TEXTS:
            options = [blur(options)]
        found = [a + b for a in found for b in options]
        if len(found[0]) > MAX_LENGTH:
            return frozenset({Text(blur(found))})
    return frozenset(Text(f) for f in found)


def template(text: str) -> str:
    """What `"layer_{}".format(i)` or `"layer_%d" % i` gives."""
    out, i = "", 0
    while i < len(text):
        if text[i] == "{" and "}" in text[i:]:
            i = text.index("}", i)
            out += UNKNOWN
        elif text[i] == "%" and i + 1 < len(text):
            out += HIDDEN if text[i + 1] == "c" else UNKNOWN
            i += 1
        else:
            out += text[i]
        i += 1
    return out


def templates(values: Values) -> Values:
    return frozenset(Text(template(t)) for t in texts(values))


def slices(values: Values, index: ast.Slice) -> Values:
    """`"lave"[::-1]` and the like, worked out where the bounds are literal."""
    try:
        bounds = [
            None if part is None else ast.literal_eval(part)
            for part in (index.lower, index.upper, index.step)
        ]
        return frozenset(Text(t[slice(*bounds)]) for t in texts(values))
    except (TypeError, ValueError):
        return frozenset({Text(UNKNOWN)})


def letters(values: Values, index: ast.expr) -> Values:
    """`"abc"[1]`; where the values are the items of a container, one of them is meant instead."""
    try:
        i = ast.literal_eval(index)
        return frozenset(Text(t[i]) for t in texts(values) if -len(t) <= i < len(t))
    except (TypeError, ValueError):
        return frozenset({Text(UNKNOWN)})


def join(glue: list[str], pieces: list[Values] | None) -> Values:
    """`glue.join(pieces)`; None where the pieces are not written out."""
    if pieces is None or len(glue) != 1:
        # `"".join(...)` hides a name, `"_".join(...)` composes one.
        return frozenset(Text(UNKNOWN if g else HIDDEN) for g in glue)
    between: Values = frozenset({Text(glue[0])})
    return concatenate([x for p in pieces for x in (between, p)][1:]) or of_constant("")


def method(name: str, values: Values, call: ast.Call) -> Values:
    """`"Text".lower()` and the like on known texts."""
    if name in HIDERS:
        return frozenset({Text(HIDDEN)})
    if name == "format":
        return templates(values)
    literal: list[Any] = [a.value for a in call.args if isinstance(a, ast.Constant)]
    if len(literal) != len(call.args) or call.keywords:
        return frozenset({Text(UNKNOWN)})
    try:
        results = [getattr(t, name)(*literal) for t in texts(values)]
    except (TypeError, ValueError):
        return NOTHING
    return frozenset(Text(t) for r in results for t in (r if isinstance(r, list) else [r]))
