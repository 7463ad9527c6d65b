"""What is known of a submission's names: values, scopes and flows, as `read_program` finds them."""

import ast
from dataclasses import dataclass, field

from .names import CONSTANTS

Definition = ast.FunctionDef | ast.AsyncFunctionDef
Function = Definition | ast.Lambda


@dataclass(frozen=True)
class Ref:
    """A module, class or function that is not the submission's own, by its dotted path."""

    path: str

    def is_constant(self) -> bool:
        """Whether it is a mere value, such as `torch.float32`, that a variable may hold."""
        root, _, last = self.path.rpartition(".")
        return root in {"torch", "math", "numpy"} and last in CONSTANTS


@dataclass(frozen=True)
class Text:
    """A string; see texts.py for the parts of it that are not known."""

    text: str


@dataclass(frozen=True)
class Own:
    """A function or class that the submission defines.

    Attributes:
        unbound: as in `Class.method`.
        made: an instance of the class.
    """

    node: Function | ast.ClassDef
    unbound: bool = False
    made: bool = False


Value = Ref | Text | Own
Values = frozenset[Value]
NOTHING: Values = frozenset()

EXCEPTION = Ref("<exception>")  # what `except ... as e` binds
FOREIGN_CLASS = Ref("<type>")  # what `type(x)` gives
OWN_CLASS = Ref("<own type>")  # what `type(self)` gives, unless the method is called otherwise


@dataclass(eq=False, slots=True)
class Cell:
    """What a name may stand for, and the flows that have read it."""

    values: Values = NOTHING
    readers: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Scope:
    """One module, class, function, lambda or comprehension, and what its names stand for.

    Attributes:
        kind: "module", "class", "function" or "comprehension".
        cells: what each name bound here may stand for.
        outer: where names declared global or nonlocal live.
        myself: the first parameter of a method, `self` or `cls`.
        owner: the class of a class scope.
        solid: names that are bound whatever happens, with the last line of the statement.
    """

    kind: str
    parent: "Scope | None" = None
    cells: dict[str, Cell] = field(default_factory=dict)
    outer: dict[str, "Scope"] = field(default_factory=dict)
    myself: str | None = None
    owner: ast.ClassDef | None = None
    solid: dict[str, int] = field(default_factory=dict)

    def cell(self, name: str) -> Cell:
        return self.outer.get(name, self).cells.setdefault(name, Cell())

    def rebind(self, name: str) -> None:
        """Notes that a name is given a new value: `self` may no longer be `self`."""
        scope = self.outer.get(name, self)
        if scope.myself == name:
            scope.myself = None

    def find(self, name: str) -> Cell | None:
        """The cell that an assignment to a part of `name` changes."""
        scope: Scope | None = self.outer.get(name, self)
        while scope is not None and name not in scope.cells:
            scope = scope.parent
        return scope.cells[name] if scope is not None else None

    def runs_in_function(self) -> bool:
        scope: Scope | None = self
        while scope is not None and scope.kind != "function":
            scope = scope.parent
        return scope is not None


@dataclass(eq=False)
class Program:
    """What the walk found.

    Attributes:
        nodes: every node with the scope it is evaluated in, a parent before its children.
        fields: what attributes of each name may stand for, whosever they are.
        own_fields: the names of attributes that the submission sets.
        class_fields: the names of those that it sets in the body of a class.
        flows: (cell, expression, scope): the cell may stand for what the expression does.
        calls: every call with arguments.
        operations: an object and what it is combined with, or what one of its attributes is set to.
        sent: what a `yield` may give.
        parameters: the scope and the parameters of each function.
        returns: what a call of each function may give.
        constructors: the `__init__` of each class.
        homes: the scope that each class is defined in.
        methods: the functions defined in classes.
        special: for each class, those that are called without being named.
        odd: those under a decorator that may change what `self` is.
        stars: modules of which everything is imported.
        deleted: names that are unbound somewhere.
    """

    module: Scope
    nodes: list[tuple[ast.AST, Scope]] = field(default_factory=list)
    fields: dict[str, Cell] = field(default_factory=dict)
    own_fields: set[str] = field(default_factory=set)
    class_fields: set[str] = field(default_factory=set)
    flows: list[tuple[Cell, ast.expr, Scope]] = field(default_factory=list)
    calls: list[tuple[ast.Call, Scope]] = field(default_factory=list)
    operations: list[tuple[ast.expr, ast.expr, Scope]] = field(default_factory=list)
    sent: Cell = field(default_factory=Cell)
    parameters: dict[Function, tuple[Scope, ast.arguments]] = field(default_factory=dict)
    returns: dict[Function, Cell] = field(default_factory=dict)
    constructors: dict[ast.ClassDef, list[Function]] = field(default_factory=dict)
    homes: dict[ast.ClassDef, Scope] = field(default_factory=dict)
    comprehensions: dict[ast.expr, Scope] = field(default_factory=dict)
    methods: set[Function] = field(default_factory=set)
    special: dict[ast.ClassDef, list[Function]] = field(default_factory=dict)
    odd: set[Function] = field(default_factory=set)
    stars: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)

    def field_cell(self, name: str) -> Cell:
        return self.fields.setdefault(name, Cell())
