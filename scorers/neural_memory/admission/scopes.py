"""Which names, scopes and flows of values does a submission have? One walk over its tree."""

import ast
from collections.abc import Iterable, Iterator
from itertools import pairwise

from .names import resolve, words
from .program import (
    EXCEPTION,
    Cell,
    Definition,
    Function,
    Own,
    Program,
    Ref,
    Scope,
    Value,
)

CONSTRUCTORS = frozenset({"__init__", "__new__"})
USUAL_DECORATORS = words(
    "staticmethod classmethod property cached_property setter getter abstractmethod no_grad "
    "inference_mode enable_grad autocast compile disable export ignore unused script_method "
    "lru_cache cache override final overload typechecked jaxtyped once_differentiable "
    "contextmanager"
)
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

_UNINTERESTING = frozenset({"ctx", "op", "ops", "type_comment", "type_ignores", "kind"})


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a node, without contexts and operators."""
    for name in node._fields:
        if name in _UNINTERESTING:
            continue
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    yield item


def walk(root: ast.AST) -> Iterator[ast.AST]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))


def read_program(tree: ast.Module) -> Program:
    program = Program(Scope("module"))
    _Reader(program).body(tree.body, program.module)
    return program


def parameter_names(spec: ast.arguments) -> list[str]:
    extra = [a for a in (spec.vararg, spec.kwarg) if a is not None]
    return [a.arg for a in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *extra]]


class _Reader:
    def __init__(self, program: Program):
        self.p = program
        self.handlers = {n[1:]: getattr(self, n) for n in dir(self) if hasattr(ast, n[1:])}

    def body(self, body: Iterable[ast.stmt], scope: Scope) -> None:
        for s in body:
            if scope.kind in {"module", "class"}:
                _note_solid(s, scope)
            self.visit(s, scope)

    def visit(self, node: ast.AST, scope: Scope) -> None:
        self.p.nodes.append((node, scope))
        handler = self.handlers.get(type(node).__name__)
        if handler is not None:
            handler(node, scope)
        else:
            self._below(node, scope)

    def _below(self, node: ast.AST, scope: Scope) -> None:
        for child in children(node):
            self.visit(child, scope)

    # ---- flows
    def _flow(
        self, target: ast.expr, value: ast.expr, scope: Scope, home: Scope | None = None
    ) -> None:
        """`target = value`, which may be tuples; `home` binds the names, if not `scope`."""
        home = home or scope
        match target:
            case ast.Name(id=name):
                home.rebind(name)
                self._pour(home.cell(name), value, scope)
                if home.kind == "class":
                    self.p.class_fields.add(name)
                    self._set_field(name, value, scope)
            case ast.Attribute(value=base, attr=attr):
                self._set_field(attr, value, scope)
                self.p.operations.append((base, value, scope))  # perhaps a setter
            case ast.Subscript(value=ast.Name(id=name)):
                cell = home.find(name)
                if cell is not None:
                    self._pour(cell, value, scope)
            case ast.Subscript(value=inner) | ast.Starred(value=inner):
                self._flow(inner, value, scope, home)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
                starred = any(isinstance(t, ast.Starred) for t in [*targets, *parts])
                if starred or len(parts) != len(targets):
                    parts = [value] * len(targets)
                for t, part in zip(targets, parts, strict=True):
                    self._flow(t, part, scope, home)

    def _set_field(self, name: str, value: ast.expr, scope: Scope) -> None:
        self.p.own_fields.add(name)
        self._pour(self.p.field_cell(name), value, scope)

    def _pour(self, cell: Cell, value: ast.expr, scope: Scope) -> None:
        if isinstance(value, ast.Constant) and not isinstance(value.value, str):
            return
        if not isinstance(value, ast.Compare | ast.UnaryOp):
            self.p.flows.append((cell, value, scope))

    def _bind(self, name: str, value: Value, scope: Scope) -> None:
        scope.rebind(name)
        cells = [scope.cell(name)]
        if scope.kind == "class":
            self.p.own_fields.add(name)
            self.p.class_fields.add(name)
            cells.append(self.p.field_cell(name))
        for cell in cells:
            cell.values |= {value}

    def _loop(self, target: ast.expr, things: ast.expr, scope: Scope, home: Scope) -> None:
        """`for a, b in ((x, y), ...)`: each name gets its column, where the columns are written."""
        rows = things.elts if isinstance(things, ast.Tuple | ast.List) else []
        if rows and all(isinstance(r, ast.Tuple | ast.List) for r in rows):
            for row in rows:
                self._flow(target, row, scope, home)
        else:
            self._flow(target, things, scope, home)

    # ---- statements
    def _Assign(self, node: ast.Assign, scope: Scope) -> None:
        for t in node.targets:
            self._flow(t, node.value, scope)
        self._below(node, scope)

    def _AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if isinstance(node.target, ast.Name) and scope.kind == "class":
            self.p.own_fields.add(node.target.id)
        if node.value is not None:
            self._flow(node.target, node.value, scope)
        self._below(node, scope)

    def _AugAssign(self, node: ast.AugAssign, scope: Scope) -> None:
        self._flow(node.target, node.value, scope)
        self._below(node, scope)

    def _NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> None:
        home = scope
        while home.kind == "comprehension" and home.parent is not None:
            home = home.parent
        home.rebind(node.target.id)
        self._pour(home.cell(node.target.id), node.value, scope)
        self._below(node, scope)

    def _For(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        self._loop(node.target, node.iter, scope, scope)
        self._below(node, scope)

    _AsyncFor = _For

    def _withitem(self, node: ast.withitem, scope: Scope) -> None:
        if node.optional_vars is not None:
            self._flow(node.optional_vars, node.context_expr, scope)
        self._below(node, scope)

    def _ExceptHandler(self, node: ast.ExceptHandler, scope: Scope) -> None:
        if node.name:
            self._bind(node.name, EXCEPTION, scope)
            self.p.deleted.add(node.name)
        self._below(node, scope)

    def _Delete(self, node: ast.Delete, scope: Scope) -> None:
        self.p.deleted |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        self._below(node, scope)

    def _Global(self, node: ast.Global, scope: Scope) -> None:
        scope.outer.update(dict.fromkeys(node.names, self.p.module))

    def _Match(self, node: ast.Match, scope: Scope) -> None:
        for case in node.cases:
            for part in walk(case.pattern):
                for name in (getattr(part, "name", None), getattr(part, "rest", None)):
                    if isinstance(name, str):
                        scope.rebind(name)
                        self._pour(scope.cell(name), node.subject, scope)
        self._below(node, scope)

    def _Import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            self._bind(name, Ref(resolve(alias.name) if alias.asname else name), scope)
        self._below(node, scope)

    def _ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self.p.stars.append(module)
            else:
                path = resolve(f"{module}.{alias.name}")
                self._bind(alias.asname or alias.name, Ref(path), scope)
        self._below(node, scope)

    def _Call(self, node: ast.Call, scope: Scope) -> None:
        if node.args or node.keywords:
            self.p.calls.append((node, scope))
        self._below(node, scope)

    def _BinOp(self, node: ast.BinOp, scope: Scope) -> None:
        self.p.operations += [(node.left, node.right, scope), (node.right, node.left, scope)]
        self._below(node, scope)

    def _Compare(self, node: ast.Compare, scope: Scope) -> None:
        parts = [node.left, *node.comparators]
        for a, b in pairwise(parts):
            self.p.operations += [(a, b, scope), (b, a, scope)]
        self._below(node, scope)

    def _Subscript(self, node: ast.Subscript, scope: Scope) -> None:
        self.p.operations.append((node.value, node.slice, scope))
        self._below(node, scope)

    # ---- scopes
    def _ClassDef(self, node: ast.ClassDef, scope: Scope) -> None:
        self._bind(node.name, Own(node), scope)
        for part in [*node.decorator_list, *node.bases, *node.keywords]:
            self.visit(part, scope)
        functions = [s for s in node.body if isinstance(s, Definition)]
        self.p.methods.update(functions)
        self.p.homes[node] = scope
        self.p.special[node] = [f for f in functions if _is_special(f)]
        self.p.odd.update(f for f in functions if not all(map(_is_usual, f.decorator_list)))
        self.p.constructors[node] = [s for s in functions if s.name in CONSTRUCTORS]
        self.body(node.body, Scope("class", scope, owner=node))

    def _FunctionDef(self, node: Definition, scope: Scope) -> None:
        self._bind(node.name, Own(node), scope)
        for part in node.decorator_list:
            self.visit(part, scope)
        inner = self._function_scope(node, scope)
        if scope.kind == "class":
            args = [*node.args.posonlyargs, *node.args.args]
            static = any(getattr(d, "id", "") == "staticmethod" for d in node.decorator_list)
            inner.myself = args[0].arg if args and not static else None
            if node.name in {"__exit__", "__aexit__"}:  # is given the exception and its traceback
                for name in parameter_names(node.args)[1:]:
                    inner.cell(name).values |= {EXCEPTION}
        if node.returns is not None:
            self.visit(node.returns, scope)
        self._declare(node, inner)
        self.body(node.body, inner)

    _AsyncFunctionDef = _FunctionDef

    def _Lambda(self, node: ast.Lambda, scope: Scope) -> None:
        inner = self._function_scope(node, scope)
        self._pour(self.p.returns[node], node.body, inner)
        self.visit(node.body, inner)

    def _function_scope(self, node: Function, scope: Scope) -> Scope:
        inner, spec = Scope("function", scope), node.args
        self.p.parameters[node] = (inner, spec)
        self.p.returns[node] = Cell()
        for name in parameter_names(spec):
            inner.cell(name)
        positional = [*spec.posonlyargs, *spec.args]
        for arg, default in zip(reversed(positional), reversed(spec.defaults), strict=False):
            self._pour(inner.cell(arg.arg), default, scope)
        for arg, keyword_default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            if keyword_default is not None:
                self._pour(inner.cell(arg.arg), keyword_default, scope)
        self.visit(spec, scope)
        return inner

    def _declare(self, node: Definition, inner: Scope) -> None:
        """Finds the local names of a function before any of them is read, and what it returns."""
        stored: list[str] = []
        stack: list[ast.AST] = list(node.body)
        while stack:
            n = stack.pop()
            if isinstance(n, ast.Name):
                if isinstance(n.ctx, ast.Store):
                    stored.append(n.id)
                continue
            if isinstance(n, Definition | ast.ClassDef):
                stored.append(n.name)
                continue
            if isinstance(n, Comprehension | ast.Lambda | ast.Constant):
                continue
            if isinstance(n, ast.Global):
                inner.outer.update(dict.fromkeys(n.names, self.p.module))
            elif isinstance(n, ast.Nonlocal):
                for name in n.names:
                    home = inner.parent
                    while home and not (home.kind == "function" and name in home.cells):
                        home = home.parent
                    inner.outer[name] = home or self.p.module
            elif isinstance(n, ast.Return | ast.Yield | ast.YieldFrom) and n.value is not None:
                self._pour(self.p.returns[node], n.value, inner)
            stack.extend(children(n))
        for name in stored:
            inner.cell(name)

    def _GeneratorExp(self, node: Comprehension, scope: Scope) -> None:
        inner = Scope("comprehension", scope, outer=scope.outer)
        self.p.comprehensions[node] = inner
        for i, g in enumerate(node.generators):
            around = inner if i else scope
            self._loop(g.target, g.iter, around, inner)
            self.visit(g.iter, around)
            for part in [g.target, *g.ifs]:
                self.visit(part, inner)
        for part in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.visit(part, inner)

    _ListComp = _SetComp = _DictComp = _GeneratorExp


def _last_name(node: ast.expr) -> str:
    while isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_special(f: Definition) -> bool:
    """Whether a method is called without being named."""
    setter = any(_last_name(d) == "setter" for d in f.decorator_list)
    return setter or f.name == "forward" or (f.name[:2] == "__" and f.name not in CONSTRUCTORS)


def _is_usual(decorator: ast.expr) -> bool:
    """Whether a decorator leaves `self` what it is."""
    return _last_name(decorator) in USUAL_DECORATORS


def _note_solid(s: ast.stmt, scope: Scope) -> None:
    """Notes names that a top-level statement binds whatever happens."""
    names: list[str] = []
    match s:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            names = [name]
        case ast.Assign(targets=targets):
            names = [t.id for t in targets if isinstance(t, ast.Name)]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            names = [a.asname or a.name for a in aliases]
    for name in names:
        scope.solid.setdefault(name, s.end_lineno or s.lineno)
