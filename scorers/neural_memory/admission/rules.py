"""What may stand in a submission? The rules of the admission gate, one method a kind of node."""

import ast

from .calls import POWERFUL, inspect_call
from .inspection import (
    TELLING_WORDS,
    Finding,
    Inspection,
    format_names,
    is_telling,
    refs,
)
from .names import (
    ASSIGNABLE,
    DEFINABLE,
    KNOWN,
    LISTINGS,
    MODULES,
    SPELLABLE,
    STDLIB,
    is_dunder,
    is_module,
    is_open,
    refuse,
    refuse_attribute,
    resolve,
    words,
)
from .program import (
    NOTHING,
    Definition,
    Own,
    Ref,
    Scope,
)
from .scopes import walk
from .texts import texts
from .values import Aliases

TENSORS = words("Tensor Parameter Buffer UninitializedParameter UninitializedBuffer")
METACLASSES = words("builtins.type abc.ABCMeta enum.EnumMeta enum.EnumType")
# In an nn.Module these too may not be its own.
MODULE_HOOKS = LISTINGS | {"__setattr__", "__delattr__", "__dir__"}
RUNS = ast.Call | ast.NamedExpr | ast.Lambda | ast.comprehension


def inspect_program(aliases: Aliases) -> list[Finding]:
    """Applies every rule to every node that runs."""
    inspection = Inspection(aliases)
    rules = _Rules(inspection)
    by_type = {getattr(ast, n[1:]): getattr(rules, n) for n in dir(rules) if hasattr(ast, n[1:])}
    for node, scope in aliases.program.nodes:
        rule = by_type.get(type(node))
        if rule is not None:
            rule(node, scope)
    return inspection.findings


class _Rules:
    def __init__(self, inspection: Inspection):
        self.i = inspection
        self.of = inspection.aliases.of
        self.report = inspection.report
        self.torch_modules: dict[ast.ClassDef, bool] = {}

    # ---- reading
    def _Name(self, node: ast.Name, scope: Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            if is_dunder(node.id) or scope.kind == "class":
                self._defines(node, node.id, scope)
        elif is_dunder(node.id) and node.id not in SPELLABLE:
            if scope.find(node.id) is None:
                self.report(node, "reach", f"uses `{node.id}`, a way to the interpreter's insides")
        elif node not in self.i.bases:
            self._judge(node, refs(self.of(node, scope)))

    def _Attribute(self, node: ast.Attribute, scope: Scope) -> None:
        self.i.bases.add(node.value)
        base = self.of(node.value, scope)
        if not isinstance(node.ctx, ast.Load):
            self.i.store(node, node.attr, base, NOTHING)
            return
        if not isinstance(node.value, ast.Name | ast.Attribute):
            for ref in refs(base):  # `getattr(torch, "os").system`
                if reason := refuse(ref.path):
                    self.report(node, "reach", reason)
        # What is read from a refused member of a module is not reported again.
        again = isinstance(node.value, ast.Attribute)
        judged = [r.path for r in refs(base) if is_open(r.path) or not (again and refuse(r.path))]
        paths = {resolve(f"{path}.{node.attr}") for path in judged}
        if reason := refuse_attribute(node.attr):
            self.report(node, "reach", reason)
        elif self.i.is_trouble(node.attr) and not refs(base):
            self.report(node, "reach", f"reads `.{node.attr}`, a way out of the model")
        elif node not in self.i.bases or not all(is_open(p) for p in paths):
            found = refs(self.of(node, scope) | {Ref(p) for p in paths})
            self._judge(node, found)

    def _judge(self, node: ast.expr, found: list[Ref]) -> None:
        """A module, class or function that is not the submission's own, used as a value."""
        for path in [r.path for r in found]:
            if node in self.i.typed and (is_module(path) or _is_class_of_stdlib(path)):
                continue
            if reason := refuse(path):
                self.report(node, "reach", reason)
            elif is_module(path) and node not in self.i.named:
                self.report(node, "obscure", f"passes the module `{path}` around as a value")
            elif path in POWERFUL and node not in self.i.called:
                name = path.rpartition(".")[2]
                self.report(node, "obscure", f"hands `{name}` on instead of calling it")

    def _MatchClass(self, node: ast.MatchClass, scope: Scope) -> None:
        for attr in node.kwd_attrs:
            if reason := refuse_attribute(attr):
                self.report(node, "reach", reason)
            elif self.i.is_trouble(attr):
                self.report(node, "reach", f"reads `.{attr}`, a way out of the model")

    def _Call(self, node: ast.Call, scope: Scope) -> None:
        inspect_call(self.i, node, scope)

    # ---- strings
    def _Constant(self, node: ast.Constant, scope: Scope) -> None:
        if isinstance(node.value, str):
            if is_telling(node.value):
                self.report(node, "obscure", f"spells out `{node.value}` in a string")
            for name in filter(is_telling, format_names(node.value)):
                self.report(node, "obscure", f"reads `{name}` by a format string")

    def _BinOp(self, node: ast.BinOp | ast.JoinedStr, scope: Scope) -> None:
        for text in texts(self.of(node, scope)):
            for name in filter(is_telling, [text, *format_names(text)]):
                self.report(node, "obscure", f"puts `{name}` together from parts")

    _JoinedStr = _BinOp

    # ---- writing
    def _Subscript(self, node: ast.Subscript, scope: Scope) -> None:
        """`sys.modules["x"] = ...`"""
        root: ast.expr = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(node.ctx, ast.Load) or root is node.value or not isinstance(root, ast.Name):
            return
        if any(is_module(r.path) for r in refs(self.of(root, scope))):
            found = refs(self.of(node.value, scope))
            if [r.path for r in found] == ["os.environ"]:  # a seed for hashing: no harm
                self.i.bases.add(node.value)
                return
            for ref in found:
                self.report(node, "patch", f"changes an item of `{ref.path}`")

    def _Assign(self, node: ast.Assign, scope: Scope) -> None:
        for target in node.targets:
            self._assigns(target, node.value, scope)

    def _AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if scope.kind != "class":  # where a dataclass keeps it
            self._annotates(node.annotation)
        if node.value is not None:
            self._assigns(node.target, node.value, scope)

    def _assigns(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        match target, value:
            case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
                for t, v in zip(targets, values, strict=True):
                    self._assigns(t, v, scope)
            case ast.Name(), _ if scope.kind != "class":
                self._aliases(value)
            case ast.Attribute(attr=attr), _ if attr in LISTINGS:  # `self.parameters = lambda: []`
                self.i.store(target, attr, NOTHING, self.of(value, scope))

    def _aliases(self, value: ast.expr) -> None:
        """A module may be given another name, `nn = torch.nn`, which is followed."""
        match value:
            case ast.Name() | ast.Attribute():
                self.i.named.add(value)
                self.i.called.add(value)
            case ast.IfExp(body=a, orelse=b):
                self._aliases(a)
                self._aliases(b)
            case ast.BoolOp(values=values):
                for v in values:
                    self._aliases(v)

    # ---- definitions
    def _defines(self, node: ast.AST, name: str, scope: Scope) -> None:
        """A function or variable called `name` is defined in `scope`."""
        if name in TELLING_WORDS:  # its name could be read as a string
            self.report(node, "obscure", f"calls something of its own `{name}`")
        if scope.owner is not None:
            if is_dunder(name) and name not in DEFINABLE | ASSIGNABLE:
                self.report(node, "disguise", f"defines `{name}`, which Python or PyTorch consults")
            elif name in MODULE_HOOKS and self._is_torch_module(scope.owner, scope):
                self.report(node, "disguise", f"defines its own `{name}` in an nn.Module")
        elif is_dunder(name) and name in KNOWN - ASSIGNABLE and not scope.runs_in_function():
            self.report(node, "disguise", f"defines `{name}`, which Python consults")

    def _is_torch_module(self, node: ast.ClassDef, scope: Scope) -> bool:
        if node not in self.torch_modules:
            self.torch_modules[node] = False  # till we know better: classes may form a ring
            values = [v for b in node.bases for v in self.of(b, scope.parent or scope)]
            self.torch_modules[node] = any(
                v.path.startswith("torch.nn.")
                if isinstance(v, Ref)
                else isinstance(v, Own)
                and isinstance(v.node, ast.ClassDef)
                and self._is_torch_module(v.node, scope)
                for v in values
            )
        return self.torch_modules[node]

    def _FunctionDef(self, node: Definition, scope: Scope) -> None:
        self.i.called.update(node.decorator_list)
        if node.returns is not None:
            self._annotates(node.returns)
        self._defines(node, node.name, scope)

    _AsyncFunctionDef = _FunctionDef

    def _arg(self, node: ast.arg, scope: Scope) -> None:
        if node.arg in TELLING_WORDS:
            self.report(node, "obscure", f"calls something of its own `{node.arg}`")
        if node.annotation is not None:
            self._annotates(node.annotation)

    def _annotates(self, node: ast.expr) -> None:
        """An annotation only names types, if nothing in it runs."""
        nodes = list(walk(node))
        if not any(isinstance(n, RUNS) for n in nodes):
            self.i.typed.update(nodes)

    def _ClassDef(self, node: ast.ClassDef, scope: Scope) -> None:
        self.i.called.update(node.decorator_list)
        for path in [r.path for b in node.bases for r in refs(self.of(b, scope))]:
            if path in METACLASSES:
                self.report(node, "disguise", f"defines the metaclass `{node.name}`")
            elif path.rpartition(".")[2] in TENSORS:
                self.report(node, "disguise", f"defines `{node.name}`, a tensor of its own kind")
        for k in node.keywords:
            abstract = Ref("abc.ABCMeta") in self.of(k.value, scope)
            if k.arg is None or (k.arg == "metaclass" and not abstract):
                self.report(node, "disguise", f"gives `{node.name}` a metaclass")

    def _alias(self, node: ast.alias, scope: Scope) -> None:
        if node.asname and is_dunder(node.asname) and node.asname not in ASSIGNABLE:
            self.report(node, "disguise", f"imports something as `{node.asname}`")

    def _ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> None:
        if any(a.name == "*" for a in node.names) and (node.level or node.module not in MODULES):
            self.report(node, "reach", f"imports everything from `{node.module or '.'}`")

    # ---- conditions, in which a module may be asked whether it is there
    def _Compare(self, node: ast.Compare, scope: Scope) -> None:
        if all(isinstance(c, ast.Constant) for c in node.comparators):
            self.i.named.add(node.left)

    def _If(self, node: ast.If | ast.IfExp | ast.While | ast.Assert, scope: Scope) -> None:
        self.i.named.add(node.test)

    _IfExp = _While = _Assert = _If

    def _UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> None:
        self.i.named.add(node.operand)

    def _BoolOp(self, node: ast.BoolOp, scope: Scope) -> None:
        if node in self.i.named:
            self.i.named.update(node.values)


def _is_class_of_stdlib(path: str) -> bool:
    root, _, name = path.rpartition(".")
    return root.split(".")[0] in STDLIB and name[:1].isupper()
