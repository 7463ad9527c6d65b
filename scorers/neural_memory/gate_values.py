"""What can an expression of the submission stand for? A small alias analysis.

It follows modules, the classes and functions in them, own functions and short strings through
assignments, containers, arguments, returns and attributes, without regard to the order in which
the code runs: a name stands for everything that it is ever given. A container and what is in it
are not told apart, nor are two objects that have an attribute of the same name.
"""

import ast
from collections.abc import Iterable
from functools import lru_cache

from researcher_evals.scorers.neural_memory import gate_texts
from researcher_evals.scorers.neural_memory.gate_names import BUILTINS, members, resolve
from researcher_evals.scorers.neural_memory.gate_scopes import (
    FOREIGN_CLASS,
    NOTHING,
    Function,
    Own,
    Program,
    Ref,
    Scope,
    Text,
    Value,
    Values,
    parameter_names,
)
from researcher_evals.scorers.neural_memory.gate_texts import texts, without_texts

MAX_WORK = 1_000_000  # evaluated expressions, about two seconds
MAX_MEMBERS = 2  # of a module: `Module.forward`

# Calls that give back what they are given, or a part of it.
PASS_ON = frozenset(
    "iter next list tuple dict set frozenset sorted reversed zip filter min max enumerate".split()
)
APPLY = frozenset("builtins.map itertools.starmap itertools.accumulate functools.reduce".split())
PASS_ON_MODULES = frozenset("functools operator itertools copy collections weakref".split())
TAKERS = frozenset("get setdefault pop popitem popleft values items keys copy __getitem__".split())
GIVERS = frozenset("append add insert extend update setdefault appendleft __setitem__".split())


class TooTangled(Exception):
    """The aliases of the submission take too long to follow."""


class Aliases:
    """The alias analysis of one program, settled when it is made.

    Raises:
        TooTangled: after MAX_WORK evaluations.
    """

    def __init__(self, program: Program):
        self.program = program
        self._work = 0
        self._known: dict[ast.AST, Values] = {}
        changed = True
        while changed:
            self._known.clear()
            changed = False
            for cell, node, scope in program.flows:
                changed |= _pour(cell, self.of(node, scope))
            for call, scope in program.calls:
                changed |= self._pass_arguments(call, scope)

    def lookup(self, name: str, scope: Scope, line: int) -> Values:
        """What a name that is read at `line` of `scope` may stand for."""
        start = scope = scope.outer.get(name, scope)
        found: Values = NOTHING
        holder: Scope | None = start
        while holder is not None:
            if name in holder.cells and (holder.kind != "class" or holder is start):
                found |= frozenset(holder.cells[name])
                if holder.kind in {"function", "comprehension"} or name not in BUILTINS:
                    return found
                # What a module or class binds later, or perhaps never, is the builtin till then.
                if 0 < holder.solid.get(name, 0) < line and name not in self.program.deleted:
                    return found
            holder = holder.parent
        if name in BUILTINS:
            return found | {Ref(f"builtins.{name}")}
        return found | {Ref(f"{m}.{name}") for m in self.program.stars}

    def is_self(self, node: ast.expr, scope: Scope | None) -> bool:
        """Whether an expression is the `self` or `cls` of the method around it."""
        while isinstance(node, ast.Name) and scope is not None:
            if scope.myself == node.id:
                return True
            if node.id in scope.cells:
                return False
            scope = scope.parent
        return False

    def of(self, node: ast.expr, scope: Scope) -> Values:
        """What an expression may stand for; nothing where it is the submission's own object."""
        if node in self._known:
            return self._known[node]
        self._work += 1
        if self._work > MAX_WORK:
            raise TooTangled
        found = self._known[node] = self._of(node, scope)
        return found

    def _of(self, node: ast.expr, scope: Scope) -> Values:
        match node:
            case ast.Name(id=name):
                return self.lookup(name, scope, node.lineno)
            case ast.Attribute(value=base, attr=attr):
                return self.attribute(base, attr, scope)
            case ast.Call():
                return self._call(node, scope)
            case ast.Constant(value=str(text)):
                return gate_texts.of_constant(text)
            case ast.Subscript(value=base, slice=index):
                values = self.of(base, scope)
                if isinstance(index, ast.Slice) and texts(values):
                    return without_texts(values) | gate_texts.slices(values, index)
                return values
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self.of(left, scope), self.of(right, scope)
                joined = gate_texts.concatenate([a, b]) if isinstance(op, ast.Add) else NOTHING
                filled = gate_texts.templates(a) if isinstance(op, ast.Mod) else NOTHING
                return without_texts(a | b) | joined | filled
            case ast.JoinedStr(values=parts):
                return gate_texts.concatenate([self._piece(p, scope) for p in parts])
            case ast.IfExp(body=first, orelse=second):
                return self._all([first, second], scope)
            case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                return self._all(parts, scope)
            case ast.Dict(values=parts) | ast.Set(elts=parts):
                return self._all(parts, scope)
            case ast.NamedExpr() | ast.Starred() | ast.Await():
                return self.of(node.value, scope)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                return self.of(node.elt, self.program.comprehensions[node])
            case ast.DictComp():
                return self.of(node.value, self.program.comprehensions[node])
            case ast.Lambda():
                return frozenset({Own(node)})
        return NOTHING

    def attribute(self, base: ast.expr, attr: str, scope: Scope) -> Values:
        """What `base.attr` may stand for."""
        if attr == "__class__":
            return NOTHING if self.is_self(base, scope) else frozenset({FOREIGN_CLASS})
        values = self.of(base, scope)
        refs = [v for v in values if isinstance(v, Ref)]
        found = NOTHING.union(*(_member(r.path, attr) for r in refs))
        if refs and len(refs) == len(values):
            return found
        return found | frozenset(self.program.fields.get(attr, ()))

    def _all(self, parts: Iterable[ast.expr | None], scope: Scope) -> Values:
        return NOTHING.union(*(self.of(p, scope) for p in parts if p is not None))

    def _piece(self, part: ast.expr, scope: Scope) -> Values:
        """A part of an f-string or of a join."""
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        found = self.of(inner, scope)
        return found - without_texts(found) or frozenset({Text(gate_texts.UNKNOWN)})

    # ---- calls
    def _call(self, node: ast.Call, scope: Scope) -> Values:
        args = [*node.args, *(k.value for k in node.keywords)]
        callees = self.of(node.func, scope)
        found: Values = NOTHING
        for f in callees:
            if isinstance(f, Own) and not isinstance(f.node, ast.ClassDef):
                found |= self.program.returns[f.node]
            elif isinstance(f, Ref):
                found |= self._foreign_call(f.path, node, args, scope)
        if isinstance(node.func, ast.Attribute):
            base, name = node.func.value, node.func.attr
            if name in TAKERS:
                found |= without_texts(self._all([base, *args], scope))
            elif name in gate_texts.METHODS and not any(isinstance(f, Own) for f in callees):
                found |= self._text_call(name, self.of(base, scope), node, scope)
        return found

    def _foreign_call(
        self, path: str, node: ast.Call, args: list[ast.expr], scope: Scope
    ) -> Values:
        root, _, name = path.rpartition(".")
        if path == "builtins.getattr" and len(node.args) > 1:
            names = texts(self.of(node.args[1], scope))
            got = [self.attribute(node.args[0], n, scope) for n in names if n.isidentifier()]
            return NOTHING.union(*got, self._all(node.args[2:], scope))
        if path == "builtins.type" and len(args) == 1:
            return NOTHING if self.is_self(args[0], scope) else frozenset({FOREIGN_CLASS})
        if path == "builtins.chr" or (path == "builtins.str" and len(args) > 1):
            return frozenset({Text(gate_texts.HIDDEN)})
        if path == "builtins.str" and args:
            return self._piece(args[0], scope)
        if path in APPLY and args:
            own = [f.node for f in self.of(args[0], scope) if isinstance(f, Own)]
            results = [self.program.returns[f] for f in own if not isinstance(f, ast.ClassDef)]
            return NOTHING.union(*results)
        if (root == "builtins" and name in PASS_ON) or root in PASS_ON_MODULES:
            return self._all(args, scope)
        return NOTHING

    def _text_call(self, name: str, base: Values, node: ast.Call, scope: Scope) -> Values:
        if not texts(base) and name not in gate_texts.HIDERS:
            return NOTHING
        if name == "join":
            parts = node.args[0] if node.args else None
            written = isinstance(parts, ast.List | ast.Tuple)
            pieces = [self._piece(p, scope) for p in parts.elts] if written else None  # type: ignore[union-attr]
            return gate_texts.join(texts(base), pieces)
        return gate_texts.method(name, base, node)

    # ---- arguments
    def _pass_arguments(self, call: ast.Call, scope: Scope) -> bool:
        """Lets the arguments of a call flow to where they go; says whether anything was new."""
        given = [self.of(a, scope) for a in call.args]
        named = [(k.arg, self.of(k.value, scope)) for k in call.keywords]
        everything = NOTHING.union(*given, *(v for _, v in named))
        if not everything:
            return False
        changed = False
        starred = any(isinstance(a, ast.Starred) for a in call.args)
        for f in self.of(call.func, scope):
            if isinstance(f, Own) and isinstance(f.node, ast.ClassDef):
                for constructor in self.program.constructors[f.node]:
                    changed |= self._bind(constructor, 1, given, named, starred)
                for key, v in named:  # a dataclass sets its fields
                    changed |= _pour(self.program.field_cell(key), v) if key else False
            elif isinstance(f, Own):
                changed |= self._bind(f.node, 0, given, named, starred)
                if isinstance(call.func, ast.Attribute) and f.node in self.program.methods:
                    changed |= self._bind(f.node, 1, given, named, starred)
            elif f == Ref("builtins.setattr") and len(given) == 3:
                for t in texts(given[1]):
                    changed |= _pour(self.program.field_cell(t), given[2])
        if isinstance(call.func, ast.Attribute) and call.func.attr in GIVERS:
            changed |= self._give(call.func.value, without_texts(everything), scope)
        # `map(f, things)`: a function that is handed on may be called with what goes with it.
        for v in everything:
            if isinstance(v, Own) and not isinstance(v.node, ast.ClassDef):
                inner, spec = self.program.parameters[v.node]
                rest = without_texts(everything - {v})
                for name in parameter_names(spec) if rest else []:
                    changed |= _pour(inner.cell(name), rest)
        return changed

    def _bind(
        self,
        function: Function,
        skip: int,
        given: list[Values],
        named: list[tuple[str | None, Values]],
        starred: bool,
    ) -> bool:
        """Binds arguments to the parameters after the first `skip`."""
        inner, spec = self.program.parameters[function]
        order = [a.arg for a in [*spec.posonlyargs, *spec.args]][skip:]
        names = parameter_names(spec)
        changed = False
        rest = [spec.vararg.arg] if spec.vararg else []
        for i, v in enumerate(given):
            # What stands behind a star may be any argument from there on.
            targets = [*order[i:], *rest] if starred else order[i : i + 1] or rest
            for name in targets if v else []:
                changed |= _pour(inner.cell(name), v)
        for key, v in named:
            extra = spec.kwarg.arg if spec.kwarg else None
            for name in names if key is None else [key if key in names else extra]:
                if v and name:
                    changed |= _pour(inner.cell(name), v)
        return changed

    def _give(self, container: ast.expr, values: Values, scope: Scope) -> bool:
        """`container.append(value)` and the like."""
        match container:
            case ast.Name(id=name):
                cell = scope.find(name)
                return cell is not None and _pour(cell, values)
            case ast.Attribute(attr=attr):
                return _pour(self.program.field_cell(attr), values)
        return False


@lru_cache(maxsize=4096)
def _member(path: str, attr: str) -> Values:
    """`path.attr`, or nothing where that is deep inside a class."""
    longer = resolve(f"{path}.{attr}")
    return frozenset({Ref(longer)}) if members(longer) <= MAX_MEMBERS else NOTHING


def _pour(cell: set[Value], values: Iterable[Value]) -> bool:
    """Adds values to a cell; says whether any was new. Too many texts become an unknown one."""
    new = {v for v in values if v not in cell}
    added = texts(new)
    if added and len(texts(cell)) + len(added) > gate_texts.MAX_TEXTS:
        new = set(without_texts(new)) | {Text(gate_texts.blur(added))}
        new -= cell
    cell |= new
    return bool(new)
