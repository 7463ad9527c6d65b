"""What did the sandbox hand over? Reads the record as untrusted data.

The record is plain JSON with raw tensors. Everything in it is checked before it is used: its size,
the operations, the references (only backwards), the shapes, the dtypes. Whoever wrote it may have
written anything, so a record that does not hold together is a finding about the submission, raised
as `BadRecord`, never an error of the grader.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from .operations import allowed
from .protocol import MORE_INPUTS, Setting, settings

MAX_BYTES = 64 * 2**20
MAX_NODES = 60_000
MAX_ELEMENTS = 4_000_000
MAX_TOTAL_ELEMENTS = 400_000_000
LEAVES = {"input", "param", "frozen", "buffer", "const", "random"}
DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64,
        torch.complex128, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
        torch.bool,
    )
}  # fmt: skip


class BadRecord(Exception):
    """The record cannot be replayed; the message says why."""


class Ref(NamedTuple):
    """Output `out` of node `node`."""

    node: int
    out: int = 0


@dataclass(frozen=True, eq=False)
class Node:
    """One value-producing step: a leaf with data, or an operation on earlier nodes."""

    id: int
    op: str = ""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Ref, ...] = ()
    shapes: tuple[tuple[int, ...] | None, ...] = ()
    line: int | None = None
    in_memory: bool = False
    with_grad: bool = True
    leaf: str = ""
    name: str = ""
    data: torch.Tensor | None = None

    @property
    def base(self) -> str:
        return self.op.split(".")[0]


@dataclass(frozen=True)
class Tape:
    """One recorded forward pass."""

    nodes: tuple[Node, ...]
    logits: Ref
    problems: tuple[str, ...]

    def same_operations(self, other: "Tape") -> bool:
        """Whether both are the same computation, on whatever numbers."""
        if len(self.nodes) != len(other.nodes):
            return False
        return all(
            (a.op, a.args, a.kwargs, a.leaf) == (b.op, b.args, b.kwargs, b.leaf)
            for a, b in zip(self.nodes, other.nodes, strict=True)
        )


@dataclass(frozen=True)
class Record:
    """What a submission left about its model in one setting."""

    setting: Setting
    tapes: dict[str, Tape]  # train; eval where it differs; more inputs where the program branches
    memory_is_module: bool
    memory_instances: int
    gradients: dict[str, float] | None  # max |gradient| by parameter; None: backward raised
    backward_error: str


def _check(ok: bool, why: str) -> None:
    if not ok:
        raise BadRecord(why)


def _size(shape: Any) -> tuple[int, ...]:
    _check(isinstance(shape, list) and len(shape) <= 12, "a shape is no list")
    _check(all(type(s) is int and s >= 0 for s in shape), "a shape holds something else than sizes")
    _check(math.prod(shape) <= MAX_ELEMENTS, f"a tensor has more than {MAX_ELEMENTS} elements")
    return tuple(shape)


def read_tensor(data: Any) -> torch.Tensor:
    """A tensor from its dtype, shape and raw bytes.

    Raises:
        BadRecord: they do not fit together.
    """
    _check(isinstance(data, dict) and data.keys() == {"dtype", "shape", "base64"}, "no tensor data")
    _check(data["dtype"] in DTYPES, f"unknown dtype {data['dtype']!r}"[:80])
    shape, dtype = _size(data["shape"]), DTYPES[data["dtype"]]
    try:
        raw = bytearray(base64.b64decode(data["base64"], validate=True))
    except (binascii.Error, TypeError, ValueError) as e:
        raise BadRecord(f"tensor data is not base64: {e}") from e
    _check(len(raw) == math.prod(shape) * dtype.itemsize, "tensor data has the wrong length")
    if not raw:
        return torch.empty(shape, dtype=dtype)
    if dtype is torch.bool:  # any other byte than 0 and 1 would be an invalid bool
        return torch.frombuffer(raw, dtype=torch.uint8).reshape(shape) != 0
    return torch.frombuffer(raw, dtype=dtype).reshape(shape)


def _argument(a: Any, nodes: list[Node], found: list[Ref], depth: int = 0) -> Any:
    _check(depth < 4, "arguments are nested too deeply")
    if a is None or type(a) in (bool, int, float, str):
        return a
    if isinstance(a, list):
        _check(len(a) <= 4096, "an argument list is too long")
        return [_argument(b, nodes, found, depth + 1) for b in a]
    _check(isinstance(a, dict) and len(a) == 1, "an argument of an unknown kind")
    kind, value = next(iter(a.items()))
    if kind == "dtype":
        _check(isinstance(value, str) and value in DTYPES, "an unknown dtype")
        return DTYPES[value]
    if kind == "float":
        _check(value in ("nan", "inf", "-inf"), "an unknown float")
        return float(value)
    _check(kind == "ref" and isinstance(value, list) and len(value) == 2, "an unknown argument")
    n, out = value
    _check(type(n) is int and type(out) is int and 0 <= n < len(nodes), "a reference leads nowhere")
    _check(0 <= out < len(nodes[n].shapes) and nodes[n].shapes[out] is not None, "no such output")
    found.append(Ref(n, out))
    return found[-1]


def _node(raw: Any, nodes: list[Node]) -> Node:
    _check(isinstance(raw, dict), "a node is no object")
    i = len(nodes)
    if "leaf" in raw:
        _check(raw["leaf"] in LEAVES, "a leaf of an unknown kind")
        data = read_tensor(raw.get("data"))
        name = str(raw.get("name"))[:200]
        return Node(i, leaf=raw["leaf"], name=name, data=data, shapes=(tuple(data.shape),))
    op = raw.get("op")
    _check(isinstance(op, str), "a node has no operation")
    if not allowed(op):
        raise BadRecord(f"the operation `{op[:80]}` cannot be replayed")
    found: list[Ref] = []
    args = tuple(_argument(a, nodes, found) for a in raw.get("args") or ())
    kwargs = {str(k): _argument(v, nodes, found) for k, v in (raw.get("kwargs") or {}).items()}
    outs = raw.get("outs")
    _check(isinstance(outs, list) and 1 <= len(outs) <= 4096, "a node has no outputs")
    shapes = tuple(None if o is None else _size(o[0]) for o in outs)
    line = raw.get("line")
    return Node(
        i, op, args, kwargs, tuple(dict.fromkeys(found)), shapes,
        line if type(line) is int else None, raw.get("memory") is True,
        raw.get("grad") is not False,
    )  # fmt: skip


def _tape(raw: Any) -> Tape:
    _check(isinstance(raw, dict) and isinstance(raw.get("nodes"), list), "a tape has no nodes")
    _check(len(raw["nodes"]) <= MAX_NODES, f"more than {MAX_NODES} operations in one forward pass")
    nodes: list[Node] = []
    total = 0
    for r in raw["nodes"]:
        nodes.append(_node(r, nodes))
        total += sum(math.prod(s) for s in nodes[-1].shapes if s is not None)
        _check(total <= MAX_TOTAL_ELEMENTS, "one forward pass computes too many numbers")
    _check(sum(n.leaf == "input" for n in nodes) == 1, "a tape needs one input")
    found: list[Ref] = []
    logits = _argument({"ref": raw.get("logits")}, nodes, found)
    problems = tuple(str(p)[:200] for p in (raw.get("problems") or [])[:20])
    return Tape(tuple(nodes), logits, problems)


def _record(raw: Any, setting: Setting) -> Record:
    modes = raw["modes"]
    _check(isinstance(modes, dict) and len(modes) <= 2 + MORE_INPUTS, "there are too many tapes")
    _check(all(m in modes for m in setting.modes), "a mode was not recorded")
    tapes = {str(m): _tape(t) for m, t in modes.items() if t != "as train" or m == "train"}
    gradients = raw.get("gradients")
    if gradients is not None:
        gradients = {str(k): float(v) for k, v in gradients.items()}
    return Record(
        setting,
        tapes,
        raw["memory_is_module"] is True,
        int(raw["memory_instances"]),
        gradients,
        str(raw.get("backward_error", ""))[:500],
    )


def read_records(text: str | bytes, draw: int) -> list[Record]:
    """The records of an examination as typed data, one for each of `settings(draw)`.

    Raises:
        BadRecord: they are too large, malformed, or use an operation that may not be replayed.
    """
    _check(len(text) <= MAX_BYTES, f"the record is larger than {MAX_BYTES >> 20} MiB")
    try:
        return [_record(r, s) for r, s in zip(json.loads(text), settings(draw), strict=True)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:
        raise BadRecord(f"the record is malformed: {type(e).__name__}: {e}"[:300]) from e
