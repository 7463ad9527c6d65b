"""Runs one submission inside the sandbox: `run.py record OUT` or `run.py live IN OUT`.

`record` leaves the tape of one forward pass in training and in evaluation mode, and what a backward
pass did. `live` runs the model plainly on inputs that were drawn after the record was handed over,
and leaves nothing but its logits. Nothing that either prints is read.
"""

import contextlib
import copy
import importlib.util
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["PYTORCH_JIT"] = "0"
sys.path.insert(0, str(Path(__file__).parent))

import torch
from recorder import Recorder, encode_tensor  # type: ignore[import-not-found]

HERE = Path(__file__).parent
SUBMISSION = str(HERE / "submission.py")
CPU_SECONDS = 60  # the model of the examination is tiny: a second is plenty


def eager_compile(model: Any = None, **_: Any) -> Any:
    """`torch.compile` without compiling: what is graded is the program, not its speed."""
    return (lambda f: f) if model is None else model


def load() -> Any:
    spec = importlib.util.spec_from_file_location("submission", SUBMISSION)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["submission"] = module
    spec.loader.exec_module(module)
    return module


def build(module: Any, config: dict[str, Any]) -> Any:
    """The model with seeded weights, none of them left where it hides an effect."""
    torch.manual_seed(config["seed"])
    model = module.SimpleTransformer(**config["model"])
    unhide(model, config["seed"])
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0
    return model


def unhide(model: Any, seed: int) -> None:
    """Moves constant weights: a projection that starts at zero would hide what it projects.

    Constant vectors other than zero stay: an offset such as a decay of 0.99 may be clamped at 1.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if not (p.requires_grad and p.is_floating_point() and p.numel()):
                continue
            noise = torch.randn(p.shape, generator=generator).to(p.dtype)
            first = p.flatten()[0].item()
            if not bool((p == first).all()) or (p.dim() < 2 and first):
                continue
            if p.numel() == 1:
                noise = noise.abs()
            if p.numel() > 1 or not first:
                p.add_(noise * max(0.3 * abs(first), 0.1))


def logits_of(y: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """The logits, which `forward` may return alone or inside a tuple, a dict or an object."""
    found = read_logits(y, shape)
    looks = [read_logits(y, shape)]
    if isinstance(y, dict):
        looks += [read_logits([y[k] for k in y], shape), read_logits([*dict.values(y)], shape)]
    if not all(torch.equal(found, other) for other in looks):
        raise ValueError("what forward returned depends on how it is read")
    return found


def read_logits(y: Any, shape: tuple[int, ...]) -> torch.Tensor:
    if isinstance(y, torch.Tensor):
        found = y
    else:
        parts = getattr(y, "logits", None)
        parts = [parts] if parts is not None else list(y.values()) if isinstance(y, dict) else y
        fits = [z for z in parts if isinstance(z, torch.Tensor) and tuple(z.shape) == shape]
        if not fits:
            raise ValueError(f"forward returned no tensor of shape {shape}")
        found = fits[0]
    if tuple(found.shape) != shape:
        raise ValueError(f"forward returned logits of shape {tuple(found.shape)}, not {shape}")
    return found


def plain(model: Any, ids: torch.Tensor, train: bool, config: dict[str, Any]) -> torch.Tensor:
    model.train(train)
    torch.manual_seed(config["seed"])
    return logits_of(model(ids), (*ids.shape, config["model"]["vocab_size"]))


def record(request: dict[str, Any], out: Path) -> None:
    module = load()
    seed = request["seed"]
    found = [examine(module, {"seed": seed, **setting}) for setting in request["settings"]]
    out.write_text(json.dumps(found))


def examine(module: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The record of the model in one setting."""
    memory_class: Any = getattr(module, "NeuralMemory", None)
    is_module = isinstance(memory_class, type) and issubclass(memory_class, torch.nn.Module)
    model = build(module, config)
    memories = [m for m in model.modules() if is_module and isinstance(m, memory_class)]
    first, *others = [torch.tensor(ids) for ids in config["inputs"]]
    restore = keep(model)
    result: dict[str, Any] = {
        "memory_is_module": is_module,
        "memory_instances": len(memories),
        "modes": {},
    }
    try:
        y = plain(model, first, True, config)
        weights = torch.tensor(config["loss_weights"]).view(y.shape)
        (y * weights).sum().backward()  # type: ignore[no-untyped-call]
        result["gradients"] = {
            n: 0.0 if p.grad is None else p.grad.abs().max().item()
            for n, p in model.named_parameters()
        }
    except Exception as e:
        result["backward_error"] = f"{type(e).__name__}: {e}"[:500]
    for p in model.parameters():
        p.grad = None
    for mode in config["modes"]:
        restore()
        made = tape(model, first, mode == "train", config, memories)
        result["modes"][mode] = "as train" if made == result["modes"].get("train") else made
    if any(n.get("op") == "item" for n in result["modes"]["train"]["nodes"]):
        for i, ids in enumerate(others, 2):  # another input may take another branch
            restore()
            result["modes"][f"train, input {i}"] = tape(model, ids, True, config, memories)
    return result


def keep(model: Any) -> Callable[[], None]:
    """A function that puts weights and buffers back to what they are now."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    buffers = {k: b.clone() for k, b in model.named_buffers()}

    def restore() -> None:
        model.load_state_dict(state, strict=False)
        for k, b in model.named_buffers():
            if k in buffers and buffers[k].shape == b.shape:
                b.data.copy_(buffers[k])

    return restore


def tape(
    model: Any, ids: torch.Tensor, train: bool, config: dict[str, Any], memories: list[Any]
) -> dict[str, Any]:
    leaves: list[Any] = [(ids, "input", "input_ids")]
    for n, p in model.named_parameters():
        leaves.append((p, "param" if p.requires_grad else "frozen", n))
    leaves += [(b, "buffer", n) for n, b in model.named_buffers()]
    model.train(train)
    torch.manual_seed(config["seed"])
    inside = [part for m in memories for part in m.modules()]
    backend = torch.nn.attention.SDPBackend.MATH
    with (
        torch.backends.mkldnn.flags(enabled=False),
        torch.nn.attention.sdpa_kernel(backend),
        Recorder(leaves, inside, SUBMISSION) as recorder,
    ):
        y = logits_of(model(ids), (*ids.shape, config["model"]["vocab_size"]))
    return {
        "nodes": recorder.nodes,
        "logits": recorder.ref(y)["ref"],
        "problems": sorted(set(recorder.problems)),
    }


def live(request: dict[str, Any], out: Path) -> None:
    """Logits of plain forward passes, each on a model built anew as the recorded one was."""
    module = load()
    results = []
    backend = torch.nn.attention.SDPBackend.MATH
    with (
        torch.backends.mkldnn.flags(enabled=False),
        torch.nn.attention.sdpa_kernel(backend),
    ):
        for case in request["cases"]:
            config = {"seed": request["seed"], "model": request["models"][case["setting"]]}
            model = build(module, config)
            if case["jitter"] is not None:
                jitter([p for _, p in model.named_parameters()], case["jitter"])
            if case["copied"]:
                with contextlib.suppress(Exception):  # a model that cannot be copied is no worse
                    model = copy.deepcopy(model)
            if case["warm_up"]:
                use(model, case["warm_up"], config)
            ids = torch.tensor(case["input_ids"])
            with torch.set_grad_enabled(case["train"]):
                results.append(encode_tensor(plain(model, ids, case["train"], config)))
    out.write_text(json.dumps(results))


def use(model: Any, calls: int, config: dict[str, Any]) -> None:
    """Calls the model many times and takes a training step that changes nothing.

    A memory that is carried over from call to call is put back; a number that counted them is not.
    """
    restore = keep(model)
    scalars = [(b, b.item()) for b in model.buffers() if b.numel() == 1]
    ids = torch.zeros((1, 2), dtype=torch.long)
    with contextlib.suppress(RuntimeError):  # a model that cannot train is graded as it is
        plain(model, ids, True, config).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p.add_(p.grad, alpha=0.0)  # what an optimizer does, at a rate of zero
    for p in model.parameters():
        p.grad = None
    with torch.no_grad():
        for _ in range(calls):
            model(ids)
    counted = [(b, b.clone()) for b, start in scalars if abs(b.item() - start) > calls / 2]
    restore()
    for b, count in counted:
        b.data.copy_(count)


def jitter(parameters: list[torch.Tensor], seed: int) -> None:
    """Moves each weight by about 5 %; the judge does the same to the recorded ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters:
            p.mul_((1 + 0.05 * torch.randn(p.shape, generator=generator)).to(p.dtype))


def main(argv: list[str]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = CPU_SECONDS if hard == resource.RLIM_INFINITY else min(CPU_SECONDS, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    torch.set_num_threads(1)
    torch.compile = eager_compile
    config = json.loads((HERE / argv[1]).read_text())
    {"record": record, "live": live}[argv[0]](config, HERE / argv[2])


if __name__ == "__main__":
    main(sys.argv[1:])
