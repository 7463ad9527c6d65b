"""Which parts of a submission run when it is graded?

The grader imports the file, builds `SimpleTransformer` and calls it. What only a person would run,
a training loop in `main()`, a `save` method that nothing calls, an example below
`if __name__ == "__main__":`, does not run then and is nobody's concern. `prune` takes it out.

When in doubt, code counts as run.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .names import CALLED_BY_OTHERS, words
from .scopes import children, walk

ROOTS = frozenset({"SimpleTransformer", "NeuralMemory"})
MAX_ROUNDS = 50  # calls of calls that are followed; a person's code needs fewer than ten
Function = ast.FunctionDef | ast.AsyncFunctionDef

# With these a name can be used that does not stand in the source.
INDIRECT = words("vars locals globals dir __dict__ __getattribute__ runtime_checkable")
FETCHERS = frozenset({"getattr", "hasattr", "attrgetter", "methodcaller", "__getattr__"})
# Decorators that leave it to others to call a function; any other may call it on the spot, and a
# property is called by whoever looks at the object.
PASSIVE = words(
    "staticmethod classmethod abstractmethod no_grad inference_mode enable_grad lru_cache cache "
    "ignore unused export override dataclass final"
)
# Base classes that call none of their methods but those in CALLED_BY_OTHERS ...
PLAIN_BASES = frozenset({"Module", "object", "ABC", "Generic", "Protocol"})
# ... and those that call none as long as nobody makes an instance.
QUIET_BASES = PLAIN_BASES | words(
    "Dataset IterableDataset Sampler Optimizer LRScheduler _LRScheduler dict list OrderedDict "
    "Exception ValueError RuntimeError NamedTuple TypedDict"
)


def prune(tree: ast.Module) -> None:
    """Empties, in place, the bodies that grading never runs."""
    own = _bound_names(tree)
    if "__name__" not in own:  # else the guard may be open
        _drop_main_guards(tree)
    top = list(_top_level(tree.body))
    classes = [s for s in top if isinstance(s, ast.ClassDef)]
    plain, quiet = _sleepers(classes, PLAIN_BASES, own), _sleepers(classes, QUIET_BASES, own)

    # A function sleeps until its name is mentioned, a method until its class and its name are.
    waiting: dict[Function, tuple[str | None, str | None]] = {
        s: (None, s.name) for s in top if isinstance(s, Function) and _is_quiet(s, own)
    }
    for c in classes:
        for s in c.body if c.name in quiet else []:
            if isinstance(s, Function):
                called = s.name.startswith("_") or s.name in CALLED_BY_OTHERS
                by_name = c.name in plain and not called and _is_quiet(s, own)
                waiting[s] = (c.name, s.name if by_name else None)

    seen = _Mentions(names=set(ROOTS))
    seen.read(tree, waiting)
    rounds = 0
    while woken := [s for s, (owner, name) in waiting.items() if seen.wakes(owner, name)]:
        rounds += 1
        for s in woken if rounds < MAX_ROUNDS else list(waiting):
            del waiting[s]
        for s in woken:  # past MAX_ROUNDS nothing sleeps any more
            for part in s.body:
                seen.read(part, waiting)
    for s in waiting:
        s.body = [ast.copy_location(ast.Pass(), s)]


@dataclass
class _Mentions:
    """What the code that runs mentions: variables, attributes and strings."""

    names: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    patterns: list[re.Pattern[str]] = field(default_factory=list)
    anything: bool = False

    def wakes(self, owner: str | None, name: str | None) -> bool:
        if owner is None:
            return name in self.names
        if owner not in self.names:
            return False
        if name is None or self.anything or name in self.others or name in self.names:
            return True
        return any(p.fullmatch(name) for p in self.patterns)

    def read(self, root: ast.AST, waiting: Iterable[Function]) -> None:
        callees: set[ast.AST] = set()
        for node in _walk(root, waiting):
            if isinstance(node, ast.Call):
                callees.add(node.func)
                self._call(node)
            elif isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                if isinstance(node, ast.Attribute):
                    self.others.add(name)
                elif not isinstance(node.ctx, ast.Store):
                    self.names.add(name)
                if name in INDIRECT or (name in FETCHERS and node not in callees):
                    self.anything = True
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                formatted = "{" in text or "}" in text  # "{0.save}".format(self)
                self.others.update(re.findall(r"\w+", text) if formatted else text.split("."))
            elif isinstance(node, ast.MatchClass):
                self.others.update(node.kwd_attrs)
            elif isinstance(node, ast.alias) and node.name in FETCHERS and node.asname:
                self.anything = True

    def _call(self, node: ast.Call) -> None:
        """Notes which names a `getattr(x, f"layer_{i}")` may fetch."""
        f = node.func
        name = f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""
        if name not in FETCHERS:
            return
        if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            self.anything = True
        for arg in node.args[1:2] if name in {"getattr", "hasattr"} else node.args:
            text = _pattern(arg)
            if text.replace(".*", ""):
                self.patterns.append(re.compile(text, re.DOTALL))
            else:
                self.anything = True


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(v) for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pattern(node.left) + _pattern(node.right)
    return ".*"


def _walk(root: ast.AST, waiting: Iterable[Function]) -> Iterator[ast.AST]:
    """Every node that runs with `root`, a call before its callee."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Function) and node in waiting:
            stack += [node.args, *node.decorator_list, *([node.returns] if node.returns else [])]
        else:
            stack.extend(children(node))


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of the module, also those inside its if, try, with and for blocks."""
    for s in body:
        yield s
        if not isinstance(s, Function | ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(s, block, []))
            for part in [*getattr(s, "handlers", []), *getattr(s, "cases", [])]:
                yield from _top_level(part.body)


def _bound_names(tree: ast.Module) -> set[str]:
    """Every name that the file itself gives a meaning, so that it may not mean the usual."""
    names: set[str] = set()
    for node in walk(tree):
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            renamed = isinstance(node, ast.ImportFrom)  # `from x import y as property`
            names.update(a.asname for a in node.names if renamed and a.asname not in {None, a.name})
            names.update("__name__" for a in node.names if "__name__" in {a.name, a.asname})
        elif isinstance(node, ast.Global | ast.Nonlocal):
            names.update(node.names)
        elif not isinstance(node, ast.alias):  # definitions, parameters, exceptions, patterns
            names.update(
                n for f in ("name", "arg", "rest") if isinstance(n := getattr(node, f, None), str)
            )
    return names


def _is_usual(node: ast.expr, names: frozenset[str], own: set[str]) -> bool:
    """Whether a base class or decorator ends in one of `names` and comes from elsewhere."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    last = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    while isinstance(node, ast.Attribute):
        node = node.value
    return last in names and last not in own and getattr(node, "id", None) not in own | {None}


def _is_quiet(s: Function | ast.ClassDef, own: set[str]) -> bool:
    """Whether defining `s` calls nothing in it."""
    passive = all(_is_usual(d, PASSIVE, own) for d in s.decorator_list)
    module_hook = isinstance(s, Function) and s.name in {"__getattr__", "__dir__"}
    return passive and not module_hook


def _sleepers(classes: list[ast.ClassDef], bases: frozenset[str], own: set[str]) -> set[str]:
    """Names of the classes that run none of their methods unasked, given such base classes."""
    by_name: dict[str, list[ast.ClassDef]] = {}
    for c in classes:
        by_name.setdefault(c.name, []).append(c)

    def sleeps(c: ast.ClassDef, known: set[str]) -> bool:
        # An `__init_subclass__` could call the methods of the classes below it.
        hooked = any(getattr(s, "name", "") == "__init_subclass__" for s in c.body)
        fits = all(getattr(b, "id", "") in known or _is_usual(b, bases, own) for b in c.bases)
        return fits and not hooked and not c.keywords and _is_quiet(c, own)

    known: set[str] = set()
    for _ in range(MAX_ROUNDS):
        more = {n for n, cs in by_name.items() if all(sleeps(c, known) for c in cs)}
        if more <= known:
            break
        known |= more
    return known


def _is_main_guard(test: ast.expr) -> bool:
    match test:
        case ast.BoolOp(op=ast.And(), values=[first, *_]):
            return _is_main_guard(first)
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant("__main__")]
        ):
            return True
        case ast.Compare(
            left=ast.Constant("__main__"), ops=[ast.Eq()], comparators=[ast.Name(id="__name__")]
        ):
            return True
    return False


def _drop_main_guards(tree: ast.Module) -> None:
    for s in tree.body:
        if isinstance(s, ast.If) and _is_main_guard(s.test):
            s.test = ast.copy_location(ast.Constant(False), s)
            s.body = [ast.copy_location(ast.Pass(), s)]
