"""Which calls may a submission make? The part of the rules that looks at arguments."""

import ast
import re

from .inspection import (
    TELLING_WORDS,
    Inspection,
    refs,
)
from .names import (
    DEFINABLE,
    READABLE,
    is_dunder,
    is_module,
    may_be_refused,
    refuse,
    refuse_attribute,
    words,
)
from .program import (
    EXCEPTION,
    NOTHING,
    Ref,
    Scope,
    Values,
)
from .texts import HIDDEN, UNKNOWN, texts

# Functions that change what they are given, or fetch from it by name: to be called, not handed on.
POWERFUL = words(
    "builtins.getattr builtins.setattr builtins.delattr builtins.vars builtins.locals "
    "functools.update_wrapper functools.wraps functools.total_ordering dataclasses.dataclass "
    "operator.attrgetter operator.methodcaller"
)
# Decorators that write into the class that they decorate, called as `f(nn.Linear)`, or hold it.
EDITORS = words(
    "functools.total_ordering functools.update_wrapper dataclasses.dataclass enum.unique "
    "enum.verify typing.final typing.runtime_checkable typing.no_type_check weakref.ref "
    "typing_extensions.final typing_extensions.runtime_checkable "
    "torch.jit.interface torch.jit.script torch.jit.ignore torch.jit.unused torch.jit.export"
)
# ... and as `f()(nn.Linear)`.
FACTORIES = EDITORS | words(
    "functools.wraps torch.no_grad torch.enable_grad torch.inference_mode torch.set_grad_enabled"
)
BY_NAME = words("builtins.getattr builtins.setattr builtins.delattr")


def inspect_call(i: Inspection, node: ast.Call, scope: Scope) -> None:
    """Reports what is wrong with a call."""
    i.called.add(node.func)
    for k in node.keywords:
        if is_dunder(k.arg or "") and k.arg not in DEFINABLE | READABLE:
            i.report(node, "disguise", f"sets `{k.arg}`")
        elif k.arg in TELLING_WORDS:
            i.report(node, "obscure", f"passes an argument called `{k.arg}`")
    match node.func:
        case ast.Call(func=factory):  # `torch.no_grad()(nn.Linear)`
            if any(r.path in FACTORIES for r in refs(i.aliases.of(factory, scope))):
                _edited(i, node, node.args, scope)
        case ast.Attribute(attr="__setattr__" | "__delattr__") if len(node.args) > 1:
            _by_name(i, node, "setattr", scope)  # `object.__setattr__(x, name, value)`
    for ref in refs(i.aliases.of(node.func, scope)):
        _foreign_call(i, node, ref.path, scope)


def _foreign_call(i: Inspection, node: ast.Call, path: str, scope: Scope) -> None:
    name = path.rpartition(".")[2]
    args = [*node.args, *(k.value for k in node.keywords)]
    if path in BY_NAME:
        i.named.update(args[:1])
        _by_name(i, node, name, scope)
    elif path == "builtins.hasattr":
        i.named.update(args[:1])
    elif path == "operator.attrgetter":
        _getter(i, node, node.args, scope)
    elif path == "operator.methodcaller":
        _getter(i, node, node.args[:1], scope)
    elif path == "functools.reduce" and len(node.args) == 3:
        _reduce(i, node, scope)
    elif path == "builtins.type" and len(args) > 1:
        i.report(node, "obscure", "makes a class by calling `type`")
    elif path == "builtins.locals" and not scope.runs_in_function():
        i.report(node, "reach", "uses `locals()` of the whole file")
    elif path == "builtins.vars" and not args:
        i.report(node, "reach", "uses `vars()` without an object")
    elif path == "builtins.vars":
        for ref in refs(i.aliases.of(args[0], scope)):
            i.report(node, "reach", f"uses `vars({ref.path})`")
    elif path == "logging.basicConfig" and any(k.arg == "filename" for k in node.keywords):
        i.report(node, "reach", "writes a log file")
    elif (path == "functools.wraps" and len(args) > 1) or (
        path == "functools.update_wrapper" and len(args) > 2
    ):
        i.report(node, "obscure", f"chooses what `{name}` writes")
    if path in EDITORS:
        _edited(i, node, args[:1] if name == "update_wrapper" else args, scope)


def _edited(i: Inspection, node: ast.Call, args: list[ast.expr], scope: Scope) -> None:
    for ref in [r for a in args for r in refs(i.aliases.of(a, scope))]:
        if ref.path.rpartition(".")[2][:1].isupper():
            i.report(node, "patch", f"has `{ref.path}` changed by a decorator")


# ---- attributes by name
def _by_name(i: Inspection, node: ast.Call, function: str, scope: Scope) -> None:
    """`getattr(x, name)`, `setattr(x, name, value)`, `delattr(x, name)`"""
    if len(node.args) < 2 or any(isinstance(a, ast.Starred) for a in node.args[:2]):
        i.report(node, "obscure", f"calls `{function}` so that its name cannot be read")
        return
    base = i.aliases.of(node.args[0], scope)
    names = texts(i.aliases.of(node.args[1], scope))
    if function == "getattr":
        for name in names or [UNKNOWN]:
            _fetch(i, node, name, base)
        return
    value = i.aliases.of(node.args[2], scope) if len(node.args) > 2 else NOTHING
    for name in names or [UNKNOWN]:
        if HIDDEN in name:
            i.report(node, "obscure", f"calls `{function}` with a name that it hides")
        if UNKNOWN in name or HIDDEN in name:
            i.store(node, "?", base, value)
        elif name.isidentifier():
            i.store(node, name, base, value)


def _fetch(i: Inspection, node: ast.Call, name: str, base: Values) -> None:
    """Judges that an attribute is read by its name; `name` may have unknown parts."""
    found = refs(base)
    if HIDDEN in name:
        i.report(node, "obscure", "fetches an attribute whose name it hides")
    elif UNKNOWN in name:
        pattern = re.compile(re.escape(name).replace(re.escape(UNKNOWN), ".*"), re.DOTALL)
        for ref in [r for r in found if is_module(r.path) or r == EXCEPTION][:1]:
            if may_be_refused(ref.path, pattern):
                what = f"takes something from `{ref.path}` by a name that cannot be read"
                i.report(node, "obscure", what)
    elif name.isidentifier():
        reasons = [refuse_attribute(name), *(refuse(f"{r.path}.{name}") for r in found)]
        if i.is_trouble(name) and not found:
            reasons.append(f"reads `.{name}`, a way out of the model")
        for reason in [r for r in reasons if r][:1]:
            i.report(node, "reach", reason)


def _getter(i: Inspection, node: ast.Call, args: list[ast.expr], scope: Scope) -> None:
    """`operator.attrgetter("a.b")`"""
    for arg in args:
        names = texts(i.aliases.of(arg, scope))
        if not names or any(UNKNOWN in n for n in names):
            i.report(node, "obscure", "fetches an attribute whose name cannot be read")
        for part in [p for n in names for p in n.split(".")]:
            _fetch(i, node, part, NOTHING)


def _reduce(i: Inspection, node: ast.Call, scope: Scope) -> None:
    """`reduce(getattr, path.split("."), model)`, which good code does to its own objects."""
    function, names, base = node.args
    own = not refs(i.aliases.of(base, scope))
    if own and Ref("builtins.getattr") in i.aliases.of(function, scope):
        i.called.add(function)
        for name in texts(i.aliases.of(names, scope)):
            _fetch(i, node, name, NOTHING)
