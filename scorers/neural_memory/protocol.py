"""On which models and inputs is a submission examined?"""

import hashlib
import random
from dataclasses import dataclass
from typing import Any

MORE_INPUTS = 5  # recorded as well where the program branches on its data
WARM_UP = 256  # calls before one of the plain runs


def seed_of(source: str) -> int:
    """The seed of an examination: the same tomorrow, and like one that a person would choose."""
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:4], "big") % 10_000


@dataclass(frozen=True)
class Setting:
    """The sizes of one examination: arguments of the model, token ids (batch, length)."""

    model: dict[str, Any]
    batch: int
    length: int
    modes: tuple[str, ...]

    def draw_inputs(self, rng: random.Random) -> list[list[int]]:
        """Token ids (batch, length), no token twice in a row of the batch."""
        return [rng.sample(range(self.model["vocab_size"]), self.length) for _ in range(self.batch)]

    def loss_weights(self) -> list[float]:
        """What the logits are weighted with to make the loss of the backward pass."""
        rng = random.Random(self.length)
        n = self.batch * self.length * self.model["vocab_size"]
        return [rng.gauss(0, 1) for _ in range(n)]


EXAMINED = Setting(
    # All sizes differ, so that a shape says which axis is which.
    model={
        "vocab_size": 23,
        "d_model": 20,
        "n_heads": 2,
        "n_layers": 1,
        "d_ff": 44,
        "max_seq_len": 37,
        "attention_window": 3,
        "dropout": 0.0,
    },
    batch=7,
    length=17,  # long enough to tell a step a token from chunks of 4 or 8
    modes=("train", "eval"),
)
DEFAULTS = {
    "vocab_size": 256,
    "d_model": 64,
    "n_heads": 4,
    "n_layers": 2,
    "d_ff": 256,
    "max_seq_len": 512,
    "attention_window": 32,
    "dropout": 0.0,
}


def settings(draw: int) -> tuple[Setting, Setting]:
    """The sizes at which a file is examined, and those at which it must be the same program.

    The second are the starter's defaults, on a batch and a length drawn anew for each grading:
    sizes that a file could work out beforehand would be sizes that it could behave at.
    """
    rng = random.Random(draw)
    usual = Setting(
        DEFAULTS, batch=rng.randint(2, 10), length=rng.randint(65, 90), modes=("train",)
    )
    return EXAMINED, usual


def record_request(seed: int, draw: int) -> dict[str, Any]:
    """What `run.py record` is asked."""
    rng = random.Random(seed)
    return {
        "seed": seed,
        "settings": [
            {
                "model": s.model,
                "inputs": [s.draw_inputs(rng) for _ in range(1 + MORE_INPUTS)],
                "loss_weights": s.loss_weights(),
                "modes": s.modes,
            }
            for s in settings(draw)
        ],
    }


def live_request(seed: int, draw: int, rng: random.Random) -> dict[str, Any]:
    """What `run.py live` is asked: inputs and weights that nobody could know before.

    The cases differ in all that a program could take for the sign of an examination: the mode,
    gradients on or off, a copied model, one that has been used and trained, other weights.
    """
    small, usual = 0, 1
    examined = settings(draw)
    plans: list[tuple[int, dict[str, bool]]] = [
        (small, {"train": True}),
        (small, {"copied": True}),
        (small, {"train": True, "jitter": True, "used": True}),
        (small, {"jitter": True}),
        (usual, {"train": True, "copied": True}),
        (usual, {"jitter": True}),
    ]
    cases = [
        {
            "setting": setting,
            "input_ids": examined[setting].draw_inputs(rng),
            "train": plan.get("train", False),
            "copied": plan.get("copied", False),
            "warm_up": WARM_UP if plan.get("used") else 0,
            "jitter": rng.getrandbits(31) if plan.get("jitter") else None,
        }
        for setting, plan in plans
    ]
    return {"models": [s.model for s in examined], "seed": seed, "cases": cases}
