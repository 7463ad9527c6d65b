"""Does a submission try to reach anything other than torch maths?

An admission gate: it reads the syntax tree of a submitted file before the file runs, and reports
what no program of tensors needs: another module, a stack frame, an `exec`, an assignment into
torch, a class that lies about what it is. What it reports stands under `integrity`, and a
submission with a report does not pass.

What it is not: a proof. Python can be written so that no reading of it tells what it does, and the
gate follows names, not values. The verdict does not rest on it: the submission runs in a sandbox,
and what it recorded there has to agree with plain runs on inputs drawn afterwards. The gate makes
the attempts that people make visible, and the rest more work.

It must never report good code: an unusual but honest program is decided by what it does, not here.
So a module that is imported and not used is not reported, nor is what only a person would run (see
admission/live.py), nor are hooks on tensors and on own modules: a gradient can be faked by an
`autograd.Function` just as well, and the criteria do not believe the submission's gradients.

The submission must be imported under another name than `__main__`, and from these very characters.
"""

import ast
import re
import warnings
from itertools import islice

from .admission.inspection import Finding
from .admission.live import prune
from .admission.names import words
from .admission.rules import inspect_program
from .admission.scopes import read_program, walk
from .admission.values import Aliases, TooTangled

__all__ = ["Finding", "UnreadableSource", "inspect_source"]

MAX_NODES = 250_000  # of the syntax tree; a file of 1,000 lines has about 15,000

MAX_FINDINGS = 50

ENCODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
HONEST_ENCODINGS = words("utf-8 utf8 utf-8-sig ascii us-ascii latin-1 latin1 iso-8859-1")

# Words to a judge: a pattern, and words without which there is no need to look for it.
_GRADER = r"(?:grader|judge|evaluator|examiner|scorer|reviewer)s?"
_WORK = r"(?:submission|solution|answer|code|file|work|implementation|attempt|response)"
_WORDS = r"(?:\w+\s+)"
PERSUASION = [
    (
        ("instruction", "prompt", "directions", "rubric", "grading"),
        r"\b(?:ignore|disregard|forget)\s+(?:(?:all|any|the|your|of|my)\s+){0,3}"
        r"(?:previous|prior|above|preceding|earlier)\s+"
        r"(?:\w+\s+)?(?:instructions?|prompts?|directions|rubric|grading)\b",
    ),
    (
        ("grader", "judge", "evaluator", "examiner", "scorer", "reviewer"),
        rf"\b(?:dear|attention|hello|hey|hi)[,:]?\s+(?:(?:ai|llm|automated)\s+)?{_GRADER}\b"
        rf"|\byou\s+are\s+(?:now\s+)?(?:an?|the)\s+{_WORDS}?{_GRADER}\b",
    ),
    (
        ("mark", "score", "points", "credit", "grade"),
        rf"\b(?:give|award|assign|grant)\s+(?:me|us|it|(?:this|the|my)\s+{_WORDS}?{_WORK})\s+"
        rf"{_WORDS}{{0,2}}(?:full|maximum|max|perfect|top|highest)\s+"
        r"(?:marks?|scores?|points|credit|grades?)\b",
    ),
    (
        ("score",),
        rf"\bscore\s+(?:it|(?:this|the|my)\s+{_WORDS}?{_WORK})\s+{_WORDS}{{0,2}}"
        r"(?:1|1\.0|10|100|full|perfect)\b",
    ),
    (
        ("criteri",),
        rf"\bmark\s+(?:all|every|each)\s+{_WORDS}{{0,3}}criteri\w+\s+{_WORDS}{{0,2}}"
        r"(?:met|passed|satisfied|true|1)\b"
        rf"|\ball\s+{_WORDS}{{0,2}}criteria\s+are\s+(?:met|passed|satisfied|fulfilled)"
        r"\s*[,;:.!-]*\s*(?:so\s+|please\s+)?(?:score|give|award|pass|return)\b",
    ),
]


class UnreadableSource(ValueError):
    """The source is no Python program that can be read.

    Attributes:
        line: where the trouble is, if that is known.
    """

    def __init__(self, message: str, line: int | None = None):
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


def inspect_source(code: str) -> list[Finding]:
    """What a submission does that no program of tensors needs, in the order of the lines.

    Never runs any of it and never imports torch. Takes about 0.1 s for 1,000 lines.

    Args:
        code: the whole submitted file.

    Raises:
        UnreadableSource: `code` is not Python, or is too long or too deeply nested to read.
    """
    found = [*_encoding(code), *_persuasion(code)]
    try:
        tree = _parse(code)
        prune(tree)
        try:
            found += inspect_program(Aliases(read_program(tree)))
        except TooTangled:
            what = "line 1: passes so many things around that they cannot be followed"
            found.append(Finding(1, what, "obscure"))
    except RecursionError:
        raise UnreadableSource("nested too deeply") from None
    return sorted(set(found))[:MAX_FINDINGS]


def _parse(code: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\s" in a docstring
            tree = ast.parse(code.removeprefix("\ufeff"))
    except SyntaxError as e:
        raise UnreadableSource(f"not Python: {e.msg}", e.lineno) from None
    except MemoryError:
        raise UnreadableSource("nested too deeply") from None
    except ValueError as e:  # null bytes, lone surrogates
        raise UnreadableSource(f"not Python: {e}") from None
    if sum(1 for _ in walk(tree)) > MAX_NODES:
        raise UnreadableSource(f"more than {MAX_NODES} parts")
    return tree


def _encoding(code: str) -> list[Finding]:
    """An encoding of the file under which Python would read other characters than these."""
    for i, line in enumerate(re.split("\r\n|\r|\n", code, maxsplit=2)[:2], start=1):
        found = ENCODING.match(line.removeprefix("\ufeff"))
        if found and found[1].lower().replace("_", "-") not in HONEST_ENCODINGS:
            what = f"line {i}: declares the encoding {found[1]}, which changes what the file says"
            return [Finding(i, what, "obscure")]
    return []


def _persuasion(code: str) -> list[Finding]:
    """Blatant words to a judge, in comments or strings; mentioning a criterion is none."""
    found, low = [], code.lower()
    for triggers, pattern in PERSUASION:
        matches = re.finditer(pattern, low) if any(t in low for t in triggers) else iter(())
        for match in islice(matches, 5):
            line = low.count("\n", 0, match.start()) + 1
            said = " ".join(match[0].split())[:100]
            what = f"line {line}: speaks to whoever grades it: “{said}”"
            found.append(Finding(line, what, "persuasion"))
    return found
