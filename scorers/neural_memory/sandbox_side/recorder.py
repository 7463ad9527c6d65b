"""What did the forward pass compute? Writes it down as a functional tape of ATen operations.

This file runs inside the sandbox, in the process of the submission, and imports nothing but torch.
What it writes is a claim: the trusted side checks it against a second, unrecorded process.

A tape is a list of nodes in single-assignment form. A leaf holds data (an input, a parameter, a
buffer, a constant); every other node is one operation on earlier nodes. In-place operations become
functional ones plus a new version of the storage that they wrote to, so that a value never changes.
"""

import base64
import math
import sys
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
FUNCTION = torch.autograd.function.__file__
Ref = dict[str, list[int]]

# Arguments that say where a tensor lives, which does not matter for its value.
PLACEMENT = {"device", "layout", "pin_memory", "memory_format"}


def _mse_loss_backward(grad: Any, x: Any, y: Any, reduction: int) -> Any:
    return grad * (x - y) * (2.0 / x.numel() if reduction == 1 else 2.0)


def _reduced(x: Any, reduction: int) -> Any:
    return x if reduction == 0 else x.mean() if reduction == 1 else x.sum()


def _glu(x: Any, dim: int = -1) -> Any:
    a, b = x.chunk(2, dim)
    return a * torch.sigmoid(b)


def _huber(x: Any, y: Any, reduction: int, delta: float, scale: float) -> Any:
    d = (x - y).abs()
    return _reduced(
        torch.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)) * scale, reduction
    )


# Fused operations hide the outer product, the difference or the interpolation that a criterion
# looks for: they are recorded as their parts.
PARTS: dict[str, Any] = {
    "addcmul": lambda x, a, b, *, value=1: x + (a * b if value == 1 else value * (a * b)),
    "addcdiv": lambda x, a, b, *, value=1: x + (a / b if value == 1 else value * (a / b)),
    "lerp": lambda x, y, w: x + w * (y - x),
    "addr": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a[:, None] * b[None, :]),
    "addmv": lambda x, m, v, beta=1, alpha=1: beta * x + alpha * torch.mv(m, v),
    "addbmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * torch.bmm(a, b).sum(0),
    "baddbmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * torch.bmm(a, b),
    "glu": _glu,
    "dist": lambda x, y, p=2: torch.linalg.vector_norm(x - y, p),
    "mse_loss": lambda x, y, reduction=1: _reduced((x - y) * (x - y), reduction),
    "mse_loss_backward": _mse_loss_backward,
    "huber_loss": lambda x, y, reduction=1, delta=1.0: _huber(x, y, reduction, delta, 1.0),
    "smooth_l1_loss": lambda x, y, reduction=1, beta=1.0: _huber(x, y, reduction, beta, 1 / beta),
}  # fmt: skip


def _name(func: Any) -> str:
    """`aten::mul.Tensor` -> `mul.Tensor`; other name spaces keep theirs."""
    space, _, base = str(func._schema.name).partition("::")
    full = f"{base}.{func._overloadname or 'default'}"
    return full if space == "aten" else f"{space}::{full}"


def _written(func: Any) -> list[str]:
    return [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]


def _formals(func: Any) -> list[tuple[str, str]]:
    outs = _outs(func)
    return [(a.name, str(a.type)) for a in func._schema.arguments if a.name not in outs]


def _functional(func: Any) -> Any:
    """The overload that computes what a mutating one writes, or None."""
    base = func._schema.name.split("::")[1]
    args = _formals(func)
    packet = getattr(aten, base.removesuffix("_"), None)
    for overload in packet.overloads() if packet is not None else []:
        candidate = getattr(packet, overload)
        if not _written(candidate) and _formals(candidate) == args:
            return candidate
    return None


def _outs(func: Any) -> list[str]:
    return [a.name for a in func._schema.arguments if a.kwarg_only and a.alias_info]


def encode_tensor(t: torch.Tensor) -> dict[str, Any]:
    t = t.detach().cpu().contiguous()
    raw = t.view(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
    return {
        "dtype": str(t.dtype).removeprefix("torch."),
        "shape": list(t.shape),
        "base64": base64.b64encode(raw).decode(),
    }


class _Storage:
    """The versions of one storage: the node of its content as `base` (a strided view) or `flat`."""

    def __init__(self, t: torch.Tensor, ref: Ref):
        self.version = 0
        self.flat: Ref | None = None
        self.base = (list(t.shape), list(t.stride()), t.storage_offset(), ref)
        self.dtype = t.dtype


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation between `__enter__` and `__exit__`.

    Args:
        leaves: the known tensors, as (tensor, kind, name).
        memory_modules: instances of `NeuralMemory` and the modules in them.
        source: the path of the submission, whose line numbers are noted.
    """

    def __init__(self, leaves: list[Any], memory_modules: list[Any], source: str):
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self._refs: dict[int, tuple[Ref, int]] = {}
        self._storages: dict[int, _Storage] = {}
        self._alive: list[Any] = []  # keeps every seen tensor, so that an id stays unique
        self._memory = {id(m) for m in memory_modules}
        self._source = source
        for t, kind, name in leaves:
            self._leaf(t, kind, name)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Saves the import of `torch._dynamo`, which takes as long as that of torch."""
        return False

    # ---- nodes
    def _where(self) -> tuple[int | None, bool, bool]:
        """(line of the submission, whether a memory module, and an autograd function, is running).

        The forward pass of an autograd function runs without gradients; its backward pass is its
        own affair.
        """
        line, inside, function = None, False, False
        frame: FrameType | None = sys._getframe(3)
        while frame is not None:
            code = frame.f_code
            if code.co_name == "apply" and code.co_filename == FUNCTION:
                function = True
            if line is None and code.co_filename == self._source:
                line = frame.f_lineno
            if not inside and code.co_argcount:
                inside = id(frame.f_locals.get(code.co_varnames[0])) in self._memory
            frame = frame.f_back
        return line, inside, function

    def _node(self, op: str, args: Any, kwargs: Any, outs: list[Any]) -> Ref:
        line, inside, function = self._where()
        self.nodes.append(
            {
                "op": op,
                "args": args,
                "kwargs": kwargs,
                "outs": [
                    [list(o.shape), str(o.dtype).removeprefix("torch.")]
                    if isinstance(o, torch.Tensor)
                    else None
                    for o in outs
                ],
                "line": line,
                "memory": inside,
                "grad": function or torch.is_grad_enabled(),
            }
        )
        return {"ref": [len(self.nodes) - 1, 0]}

    def _leaf(self, t: torch.Tensor, kind: str, name: str) -> Ref:
        ref: Ref = {"ref": [len(self.nodes), 0]}
        self.nodes.append({"leaf": kind, "name": name, "data": encode_tensor(t)})
        self._bind(t, ref)
        return ref

    # ---- which node holds what a tensor shows
    def _bind(self, t: torch.Tensor, ref: Ref) -> None:
        key = t.untyped_storage()._cdata
        if key not in self._storages:
            self._storages[key] = _Storage(t, ref)
            self._alive.append(t.untyped_storage())
        self._refs[id(t)] = (ref, self._storages[key].version)
        self._alive.append(t)

    def _flat(self, t: torch.Tensor) -> Ref:
        """The node of the whole storage of `t`, as one dimension."""
        s = self._storages[t.untyped_storage()._cdata]
        if s.flat is None:
            size, stride, offset, ref = s.base
            n = t.untyped_storage().nbytes() // t.element_size()
            like = torch.empty(n, dtype=s.dtype, device="meta")
            dtype = {"dtype": str(s.dtype).removeprefix("torch.")}
            zeros = self._node("zeros.default", [[n]], {"dtype": dtype}, [like])
            args = [zeros, ref, size, stride, offset]
            s.flat = self._node("as_strided_scatter.default", args, {}, [like])
        return s.flat

    def ref(self, t: torch.Tensor) -> Ref:
        known = self._refs.get(id(t))
        s = self._storages.get(t.untyped_storage()._cdata)
        if known and s and known[1] == s.version:
            return known[0]
        if s is None or t.dtype != s.dtype:
            return self._leaf(t, "const", f"line {self._where()[0]}")
        args = [self._flat(t), list(t.shape), list(t.stride()), t.storage_offset()]
        ref = self._node("as_strided.default", args, {}, [t])
        self._bind(t, ref)
        return ref

    def _write(self, t: torch.Tensor, ref: Ref) -> None:
        """`t` now shows the value of `ref`."""
        self.ref(t)
        s = self._storages[t.untyped_storage()._cdata]
        if t.is_contiguous() and t.numel() * t.element_size() == t.untyped_storage().nbytes():
            s.flat, s.base, s.dtype = None, (list(t.shape), list(t.stride()), 0, ref), t.dtype
        else:
            flat = self._flat(t)
            n = self.nodes[flat["ref"][0]]["outs"][0][0]
            like = torch.empty(n, dtype=t.dtype, device="meta")
            args = [flat, ref, list(t.shape), list(t.stride()), t.storage_offset()]
            s.flat = self._node("as_strided_scatter.default", args, {}, [like])
        s.version += 1
        self._refs[id(t)] = (ref, s.version)

    # ---- arguments
    def _encode(self, a: Any) -> Any:
        if isinstance(a, torch.Tensor):
            return self.ref(a)
        if isinstance(a, (list, tuple)):
            return [self._encode(b) for b in a]
        if isinstance(a, torch.dtype):
            return {"dtype": str(a).removeprefix("torch.")}
        if isinstance(a, float) and not math.isfinite(a):
            return {"float": str(a)}
        if a is None or isinstance(a, (bool, int, float, str)):
            return a
        return None  # device, layout, memory format

    def _encode_call(self, func: Any, args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
        positional = []
        for formal, a in zip(func._schema.arguments, args, strict=False):
            if isinstance(a, torch.Tensor) and "Tensor" not in str(formal.type):
                a = a.item()  # a number that came wrapped in a tensor
            positional.append(self._encode(a))
        return positional, {k: self._encode(v) for k, v in kwargs.items() if k not in PLACEMENT}

    # ---- dispatch
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _written(func):
            return self._mutation(func, args, kwargs)
        parts = PARTS.get(func._schema.name.split("::")[1])
        if parts is not None:
            with self:
                return parts(*args, **kwargs)
        encoded, encoded_kwargs = self._encode_call(func, args, kwargs)
        out = func(*args, **kwargs)
        outs = list(out) if isinstance(out, (tuple, list)) else [out]
        if not any(isinstance(o, torch.Tensor) for o in outs):
            if func._schema.name == "aten::_local_scalar_dense":
                self._node("item", encoded, {}, [None])
            return out
        if torch.Tag.nondeterministic_seeded in func.tags:
            for o in outs:
                self._leaf(o, "random", _name(func))
            return out
        n = self._node(_name(func), encoded, encoded_kwargs, outs)["ref"][0]
        for i, o in enumerate(outs):
            if isinstance(o, torch.Tensor):
                self._bind(o, {"ref": [n, i]})
        return out

    def _mutation(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An in-place or `out=` operation: its functional twin, then a write."""
        names = [a.name for a in func._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        written = [given[n] for n in _written(func)]
        twin = _functional(func)
        seeded = torch.Tag.nondeterministic_seeded in func.tags
        if twin is None or seeded or len(written) != 1 or not isinstance(written[0], torch.Tensor):
            return self._opaque(func, args, kwargs, written, seeded)
        target = written[0]
        outs = _outs(func)
        rest = {k: v for k, v in kwargs.items() if k not in outs}
        parts = PARTS.get(twin._schema.name.split("::")[1])
        if parts is not None:
            with self:
                value = parts(*args, **rest)
                ref = self.ref(value.to(target.dtype))
            result = func(*args, **kwargs)
        else:
            encoded, encoded_kwargs = self._encode_call(func, args, rest)
            result = func(*args, **kwargs)
            ref = self._node(_name(twin), encoded, encoded_kwargs, [target])
        self._write(target, ref)
        return result

    def _opaque(self, func: Any, args: Any, kwargs: Any, written: list[Any], seeded: bool) -> Any:
        """A mutation that cannot be followed: what it wrote enters the tape as a constant."""
        result = func(*args, **kwargs)
        if not seeded:
            self.problems.append(_name(func))
        for group in written:
            for t in group if isinstance(group, (list, tuple)) else [group]:
                if isinstance(t, torch.Tensor):
                    self.ref(t)
                    ref: Ref = {"ref": [len(self.nodes), 0]}
                    kind = "random" if seeded else "const"
                    name = _name(func)
                    self.nodes.append({"leaf": kind, "name": name, "data": encode_tensor(t)})
                    self._write(t, ref)
        return result
