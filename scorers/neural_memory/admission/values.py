"""What can an expression of the submission stand for? A small alias analysis.

It follows modules, the classes and functions in them, own functions and short strings through
assignments, containers, arguments, returns and attributes, without regard to the order in which
the code runs: a name stands for everything that it is ever given. A container and what is in it
are not told apart, nor are two objects that have an attribute of the same name.
"""

import ast
from collections import deque
from collections.abc import Iterable
from functools import lru_cache

from . import texts as text_values
from .names import BUILTINS, is_open, may_be_exported, resolve, words
from .program import (
    EXCEPTION,
    FOREIGN_CLASS,
    NOTHING,
    OWN_CLASS,
    Cell,
    Definition,
    Function,
    Own,
    Program,
    Ref,
    Scope,
    Text,
    Values,
)
from .scopes import parameter_names
from .texts import texts, without_texts

MAX_WORK = 2_000_000  # expressions evaluated plus values found: about two seconds

# Calls that give back what they are given, or a part of it.
PASS_ON = words(
    "iter next list tuple dict set frozenset sorted reversed zip filter min max enumerate"
)
PASS_ON_MODULES = words("functools operator itertools copy collections weakref heapq")
APPLY = words("builtins.map itertools.starmap itertools.accumulate functools.reduce")
TAKERS = words("get setdefault pop popitem popleft values items keys copy __getitem__")
# Attributes that hold what the object was made from: an enum's value, a partial's function, the
# type of a dataclass field or of a parameter.
CARRIERS = words("value func default default_factory type annotation return_annotation")
TYPES = words("type annotation return_annotation")
GIVERS = words("append add insert extend update setdefault appendleft __setitem__")


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
        self._known: dict[ast.AST, Values] | None = None
        self._task = -1
        self._cases = {
            getattr(ast, n[1:]): getattr(self, n) for n in dir(self) if hasattr(ast, n[1:])
        }
        flows, calls, operations = program.flows, program.calls, program.operations
        first, second = len(flows), len(flows) + len(calls)
        self._pending = deque(range(second + len(operations)))
        waiting = self._waiting = set(self._pending)
        while self._pending:
            self._task = self._pending.popleft()
            waiting.discard(self._task)
            if self._task < first:
                cell, node, scope = flows[self._task]
                self._pour(cell, self.of(node, scope))
            elif self._task < second:
                self._pass_arguments(*calls[self._task - first])
            else:
                base, other, scope = operations[self._task - second]
                self._call_special(self.of(base, scope), self.of(other, scope))
        self._known = {}  # from here on nothing changes

    def _read(self, cell: Cell) -> Values:
        if self._known is None:
            cell.readers.add(self._task)
        return cell.values

    def _pour(self, cell: Cell, values: Values) -> None:
        """Adds values to a cell. Too many texts become an unknown one."""
        new = values - cell.values
        if not new:
            return
        added = texts(new)
        if added and len(texts(cell.values)) + len(added) > text_values.MAX_TEXTS:
            new = (without_texts(new) | {Text(text_values.blur(added))}) - cell.values
            if not new:
                return
        cell.values |= new
        for task in cell.readers - self._waiting:
            self._waiting.add(task)
            self._pending.append(task)

    # ---- names
    def lookup(self, name: str, scope: Scope, line: int) -> Values:
        """What a name that is read at `line` of `scope` may stand for."""
        start = scope.outer.get(name, scope)
        found: Values = NOTHING
        holder: Scope | None = start
        while holder is not None:
            if name in holder.cells and (holder.kind != "class" or holder is start):
                found |= self._read(holder.cells[name])
                if holder.kind in {"function", "comprehension"} or name not in BUILTINS:
                    return found
                # What a module or class binds later, or perhaps never, is the builtin till then.
                if 0 < holder.solid.get(name, 0) < line and name not in self.program.deleted:
                    return found
            holder = holder.parent
        if name in BUILTINS:
            return found | {Ref(f"builtins.{name}")}
        stars = [m for m in self.program.stars if may_be_exported(m, name)]
        return found | {Ref(f"{m}.{name}") for m in stars}

    def is_self(self, node: ast.expr, scope: Scope | None) -> bool:
        """Whether an expression is the `self` or `cls` of the method around it."""
        while isinstance(node, ast.Name) and scope is not None:
            if scope.myself == node.id:
                return True
            if node.id in scope.cells:
                return False
            scope = scope.parent
        return False

    # ---- expressions
    def of(self, node: ast.expr, scope: Scope) -> Values:
        """What an expression may stand for; nothing where it is the submission's own object."""
        case = self._cases.get(type(node))
        if case is None:
            return NOTHING
        if self._known is None:
            found: Values = case(node, scope)
            self._work += 1 + len(found)
            if self._work > MAX_WORK:
                raise TooTangled
            return found
        if node not in self._known:
            self._known[node] = case(node, scope)
        return self._known[node]

    def _Name(self, node: ast.Name, scope: Scope) -> Values:
        return self.lookup(node.id, scope, node.lineno)

    def _Attribute(self, node: ast.Attribute, scope: Scope) -> Values:
        return self.attribute(node.value, node.attr, scope)

    def _Constant(self, node: ast.Constant, scope: Scope) -> Values:
        return text_values.of_constant(node.value) if isinstance(node.value, str) else NOTHING

    def _Subscript(self, node: ast.Subscript, scope: Scope) -> Values:
        values = self.of(node.value, scope)
        if not texts(values):
            return values
        if isinstance(node.slice, ast.Slice):
            return without_texts(values) | text_values.slices(values, node.slice)
        return values | text_values.letters(values, node.slice)

    def _BinOp(self, node: ast.BinOp, scope: Scope) -> Values:
        a, b = self.of(node.left, scope), self.of(node.right, scope)
        if not a and not b:
            return NOTHING
        joined = text_values.concatenate([a, b]) if isinstance(node.op, ast.Add) else NOTHING
        filled = text_values.templates(a) if isinstance(node.op, ast.Mod) else NOTHING
        return without_texts(a | b) | joined | filled

    def _JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Values:
        return text_values.concatenate([self._piece(p, scope) for p in node.values])

    def _IfExp(self, node: ast.IfExp, scope: Scope) -> Values:
        return self.of(node.body, scope) | self.of(node.orelse, scope)

    def _BoolOp(self, node: ast.BoolOp, scope: Scope) -> Values:
        return self._all(node.values, scope)

    def _Tuple(self, node: ast.Tuple | ast.List | ast.Set, scope: Scope) -> Values:
        return self._all(node.elts, scope)

    _List = _Set = _Tuple

    def _Dict(self, node: ast.Dict, scope: Scope) -> Values:
        return self._all(node.values, scope)

    def _NamedExpr(self, node: ast.NamedExpr | ast.Starred | ast.Await, scope: Scope) -> Values:
        return self.of(node.value, scope)

    _Starred = _Await = _NamedExpr

    def _Yield(self, node: ast.Yield, scope: Scope) -> Values:
        return self._read(self.program.sent)

    def _ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, _: Scope) -> Values:
        return self.of(node.elt, self.program.comprehensions[node])

    _SetComp = _GeneratorExp = _ListComp

    def _DictComp(self, node: ast.DictComp, _: Scope) -> Values:
        return self.of(node.value, self.program.comprehensions[node])

    def _Lambda(self, node: ast.Lambda, _: Scope) -> Values:
        return frozenset({Own(node)})

    def attribute(self, base: ast.expr, attr: str, scope: Scope) -> Values:
        """What `base.attr` may stand for."""
        if attr == "__class__":
            return frozenset({OWN_CLASS if self.is_self(base, scope) else FOREIGN_CLASS})
        if isinstance(base, ast.Call) and getattr(base.func, "id", "") == "super":
            return self._inherited(attr, scope)
        values = self.of(base, scope)
        if EXCEPTION in values:  # which may carry anything
            return frozenset({FOREIGN_CLASS})
        if attr in CARRIERS and attr not in self.program.own_fields:
            held = frozenset(v for v in values if isinstance(v, Ref))
            return held | {FOREIGN_CLASS} if attr in TYPES else held
        if attr == "__name__":
            named = [v.node for v in values if isinstance(v, Own)]
            return frozenset(Text(n.name) for n in named if not isinstance(n, ast.Lambda))
        if not values:
            return self._read(self.program.field_cell(attr))
        refs = [v for v in values if isinstance(v, Ref)]
        found = NOTHING.union(*(_member(r.path, attr) for r in refs))
        if len(refs) == len(values):
            return found
        fields = self._read(self.program.field_cell(attr))
        classes = [v for v in values if isinstance(v, Own) and isinstance(v.node, ast.ClassDef)]
        if any(not c.made for c in classes):
            fields |= {Own(v.node, unbound=True) for v in fields if isinstance(v, Own)}
        return found | fields

    def _inherited(self, name: str, scope: Scope | None) -> Values:
        """`super().name`"""
        while scope is not None and scope.owner is None:
            scope = scope.parent
        if scope is None or scope.owner is None or scope.parent is None:
            return NOTHING
        bases = self._all(scope.owner.bases, scope.parent)
        classes = [b.node for b in bases if isinstance(b, Own) and isinstance(b.node, ast.ClassDef)]
        parts = [s for c in classes for s in c.body if isinstance(s, Definition)]
        return frozenset(Own(s) for s in parts if s.name == name)

    def _all(self, parts: Iterable[ast.expr | None], scope: Scope) -> Values:
        return NOTHING.union(*[self.of(p, scope) for p in parts if p is not None])

    def _piece(self, part: ast.expr, scope: Scope) -> Values:
        """A part of an f-string or of a join."""
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        found = self.of(inner, scope)
        return found - without_texts(found) or frozenset({Text(text_values.UNKNOWN)})

    # ---- calls
    def _Call(self, node: ast.Call, scope: Scope) -> Values:
        callees = self.of(node.func, scope)
        found: Values = NOTHING
        for f in callees:
            if isinstance(f, Own) and isinstance(f.node, ast.ClassDef):
                found |= {Own(f.node, made=True)}
            elif isinstance(f, Own) and not isinstance(f.node, ast.ClassDef):
                found |= self._read(self.program.returns[f.node])
            elif isinstance(f, Ref):
                found |= self._foreign_call(f.path, node, scope)
        if isinstance(node.func, ast.Attribute):
            base, name = node.func.value, node.func.attr
            if name in TAKERS and not any(isinstance(f, Ref) for f in callees):
                found |= without_texts(self._all([base, *_arguments(node)], scope))
            elif name in text_values.METHODS and not any(isinstance(f, Own) for f in callees):
                found |= self._text_call(name, self.of(base, scope), node, scope)
        return found

    def _foreign_call(self, path: str, node: ast.Call, scope: Scope) -> Values:
        root, _, name = path.rpartition(".")
        args = _arguments(node)
        if root == "torch" or not args:
            return NOTHING
        if path == "builtins.getattr" and len(node.args) > 1:
            names = texts(self.of(node.args[1], scope))
            got = [self.attribute(node.args[0], n, scope) for n in names if n.isidentifier()]
            return NOTHING.union(*got, self._all(node.args[2:], scope))
        if path == "builtins.type" and len(args) == 1:
            return frozenset({OWN_CLASS if self.is_self(args[0], scope) else FOREIGN_CLASS})
        if path == "builtins.chr" or (path == "builtins.str" and len(args) > 1):
            return frozenset({Text(text_values.HIDDEN)})
        if path == "builtins.str":
            return self._piece(args[0], scope)
        if path in APPLY:
            own = [f.node for f in self.of(args[0], scope) if isinstance(f, Own)]
            cells = [self.program.returns[f] for f in own if not isinstance(f, ast.ClassDef)]
            return NOTHING.union(*[self._read(c) for c in cells])
        if (root == "builtins" and name in PASS_ON) or root in PASS_ON_MODULES:
            return self._all(args, scope)
        return NOTHING

    def _text_call(self, name: str, base: Values, node: ast.Call, scope: Scope) -> Values:
        if not texts(base) and name not in text_values.HIDERS:
            return NOTHING
        if name == "join":
            parts = node.args[0] if node.args else None
            pieces = None
            if isinstance(parts, ast.List | ast.Tuple):
                pieces = [self._piece(p, scope) for p in parts.elts]
            return text_values.join(texts(base), pieces)
        return text_values.method(name, base, node)

    # ---- arguments
    def _pass_arguments(self, call: ast.Call, scope: Scope) -> None:
        """Lets the arguments of a call flow to where they go."""
        given = [self.of(a, scope) for a in call.args]
        named = [(k.arg, self.of(k.value, scope)) for k in call.keywords]
        everything = NOTHING.union(*given, *[v for _, v in named])
        if not everything:
            return
        starred = any(isinstance(a, ast.Starred) for a in call.args)
        callees = self.of(call.func, scope)
        for f in callees:
            if isinstance(f, Own) and isinstance(f.node, ast.ClassDef):
                for constructor in [] if f.made else self.program.constructors[f.node]:
                    self._bind(constructor, 1, given, named, starred)
                for key, v in named:  # a dataclass sets its fields
                    if key:
                        self._pour(self.program.field_cell(key), v)
            elif isinstance(f, Own) and not isinstance(f.node, ast.ClassDef):
                # A call fills in `self`, but `Class.method(x)` does not.
                static = self.program.parameters[f.node][0].myself is None
                method = f.node in self.program.methods and not static
                either = f.unbound or f.node in self.program.odd
                for skip in {int(method and not either), int(method)}:
                    self._bind(f.node, skip, given, named, starred)
            elif f == Ref("builtins.setattr") and len(given) == 3:
                for t in texts(given[1]):
                    self._pour(self.program.field_cell(t), given[2])
        self._call_special(callees, everything)
        if isinstance(call.func, ast.Attribute) and call.func.attr in GIVERS:
            self._give(call.func.value, without_texts(everything), scope)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in {"send", "asend"}:
            self._pour(self.program.sent, everything)
        elif call.args and any(isinstance(f, Ref) and _fills(f.path) for f in callees):
            self._give(call.args[0], without_texts(everything), scope)
        # `map(f, things)`: a function that is handed on may be called with what goes with it.
        # Not so `getattr(torch, name, f)`.
        fetches = Ref("builtins.getattr") in callees
        refs = frozenset(v for v in everything if isinstance(v, Ref) and not fetches)
        for handed in everything if refs else NOTHING:
            if isinstance(handed, Own) and not isinstance(handed.node, ast.ClassDef):
                inner, spec = self.program.parameters[handed.node]
                for name in parameter_names(spec):
                    if name != inner.myself:
                        self._pour(inner.cell(name), refs)

    def _call_special(self, base: Values, values: Values) -> None:
        """An instance that is called, or that an operator is applied to, gets the values."""
        made = [v.node for v in base if isinstance(v, Own) and v.made] if values else []
        refs = frozenset(v for v in values if isinstance(v, Ref) and not v.is_constant())
        for f in [f for c in made if isinstance(c, ast.ClassDef) for f in self._special(c)]:
            inner, spec = self.program.parameters[f]
            for name in parameter_names(spec)[1:] if refs else []:
                self._pour(inner.cell(name), refs)

    def _special(self, node: ast.ClassDef) -> list[Function]:
        """The special methods of a class and of the own classes below it."""
        found: list[Function] = []
        stack, seen = [node], {node}
        while stack:
            c = stack.pop()
            found += self.program.special[c]
            bases = self._all(c.bases, self.program.homes[c])
            own = [v.node for v in bases if isinstance(v, Own) and isinstance(v.node, ast.ClassDef)]
            stack += [b for b in own if b not in seen]
            seen.update(own)
        return found

    def _bind(
        self,
        function: Function,
        skip: int,
        given: list[Values],
        named: list[tuple[str | None, Values]],
        starred: bool,
    ) -> None:
        """Binds arguments to the parameters after the first `skip`."""
        inner, spec = self.program.parameters[function]
        order = [a.arg for a in [*spec.posonlyargs, *spec.args]][skip:]
        names = [n for n in parameter_names(spec) if n != inner.myself or not skip]
        rest = [spec.vararg.arg] if spec.vararg else []
        extra = [spec.kwarg.arg] if spec.kwarg else []
        for i, v in enumerate(given):
            # What stands behind a star may be any argument from there on.
            targets = [*order[i:], *rest] if starred else order[i : i + 1] or rest
            for name in targets if v else []:
                self._pour(inner.cell(name), v)
        for key, v in named:
            targets = names if key is None else [key] if key in names else extra
            for name in targets if v else []:
                self._pour(inner.cell(name), v)

    def _give(self, container: ast.expr, values: Values, scope: Scope) -> None:
        """`container.append(value)` and the like."""
        if isinstance(container, ast.Name):
            cell = scope.find(container.id)
            if cell is not None:
                self._pour(cell, values)
        elif isinstance(container, ast.Attribute):
            self._pour(self.program.field_cell(container.attr), values)


def _arguments(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(k.value for k in node.keywords)]


def _fills(path: str) -> bool:
    """Whether a function puts its other arguments into the first: `heapq.heappush`."""
    return path.startswith(("heapq.", "bisect.insort", "operator.setitem"))


@lru_cache(maxsize=4096)
def _member(path: str, attr: str) -> Values:
    """`path.attr` of a module; the attributes of classes and functions are not followed."""
    return frozenset({Ref(resolve(f"{path}.{attr}"))}) if is_open(path) else NOTHING
