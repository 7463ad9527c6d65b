"""What the rules of the admission gate share: the reports, and where what may stand."""

import ast
import re
from dataclasses import dataclass, field
from typing import Literal

from .names import (
    ASSIGNABLE,
    CALLED_BY_OTHERS,
    DEFINABLE,
    ENTRIES,
    KNOWN,
    LISTINGS,
    READABLE,
    SETTINGS,
    TROUBLE,
    is_dunder,
)
from .program import EXCEPTION, OWN_CLASS, Own, Ref, Values
from .values import Aliases

Kind = Literal["reach", "patch", "disguise", "obscure", "persuasion"]

MAX_WHAT = 300  # characters of a report

# Names that tell nothing when they stand alone as a string, and some that do.
HARMLESS_WORDS = READABLE | DEFINABLE | ASSIGNABLE | {"__main__", "__future__", "__debug__"}
TELLING_WORDS = ENTRIES | {"eval_str"}
FORMAT_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that a submission should not do.

    Attributes:
        line: where, counted from 1.
        what: a sentence for the person who reads the log.
        kind: "reach" (uses something outside torch maths), "patch" (changes what is not its own),
            "disguise" (misreports what it is), "obscure" (hides what it does) or "persuasion"
            (speaks to whoever grades it).
    """

    line: int
    what: str
    kind: Kind


@dataclass(eq=False)
class Inspection:
    """One file under inspection.

    Attributes:
        aliases: what its expressions may stand for.
        findings: the reports so far.
        bases: x in `x.attr`, which is judged as a whole.
        named: where a module may stand by itself: `nn = torch.nn`, `np is None`.
        called: where a powerful function may stand.
        typed: what stands in an annotation.
    """

    aliases: Aliases
    findings: list[Finding] = field(default_factory=list)
    bases: set[ast.AST] = field(default_factory=set)
    named: set[ast.AST] = field(default_factory=set)
    called: set[ast.AST] = field(default_factory=set)
    typed: set[ast.AST] = field(default_factory=set)

    def report(self, node: ast.AST, kind: Kind, what: str) -> None:
        line = getattr(node, "lineno", 1)
        self.findings.append(Finding(line, f"line {line}: {what[:MAX_WHAT]}", kind))

    def is_trouble(self, attr: str) -> bool:
        """Whether an attribute of this name leads to a module, unless it is the file's own."""
        return attr in TROUBLE and attr not in self.aliases.program.own_fields

    def store(self, node: ast.AST, attr: str, base: Values, value: Values) -> None:
        """Judges `base.attr = value`, `del base.attr` or `setattr(base, "attr", value)`."""
        for ref in refs(base):
            path = f"{ref.path}.{attr}"
            if ref == OWN_CLASS:
                # `Class.method(x)` makes `type(self)` the class of x.
                own = attr in self.aliases.program.class_fields and attr not in CALLED_BY_OTHERS
                if not own or is_dunder(attr):
                    self.report(node, "patch", f"changes `.{attr}` of its class")
            elif ref.path.startswith("<type>"):
                self.report(node, "patch", f"changes `.{attr}` of the class of some object")
            elif not (path in SETTINGS or ref == EXCEPTION or ref.is_constant()):
                self.report(node, "patch", f"changes `{path}`, which is not its own")
        if attr == "__class__":
            self.report(node, "disguise", "changes the class of an object")
        elif is_dunder(attr) and attr not in DEFINABLE | READABLE:
            self.report(node, "disguise", f"sets `{attr}`")
        elif attr in LISTINGS and any(isinstance(v, Own) and not v.made for v in value):
            self.report(node, "disguise", f"replaces `{attr}` of an object")


def refs(values: Values) -> list[Ref]:
    return sorted((v for v in values if isinstance(v, Ref)), key=lambda r: r.path)


def format_names(text: str) -> list[str]:
    """The names in the fields of a format string: `"{0.__class__.__base__}"`."""
    return re.findall(r"\w+", " ".join(FORMAT_FIELD.findall(text))) if "{" in text else []


def is_telling(text: str) -> bool:
    """Whether a string is the name of something that good code never spells."""
    known = is_dunder(text) and text in KNOWN and text not in HARMLESS_WORDS
    return known or text in TELLING_WORDS
