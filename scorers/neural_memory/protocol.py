"""On which models and inputs is a submission examined?"""

import random
from dataclasses import dataclass
from typing import Any

SEED = 7


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
        rng = random.Random(SEED)
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
    batch=3,
    length=17,  # long enough to tell a step a token from chunks of 4 or 8
    modes=("train", "eval"),
)
USUAL = Setting(
    # The starter's defaults: the program must be the same one here.
    model={
        "vocab_size": 256,
        "d_model": 64,
        "n_heads": 4,
        "n_layers": 2,
        "d_ff": 256,
        "max_seq_len": 512,
        "attention_window": 32,
        "dropout": 0.0,
    },
    batch=6,
    length=70,
    modes=("train",),
)
SETTINGS = (EXAMINED, USUAL)


def record_request() -> dict[str, Any]:
    """What `run.py record` is asked: always the same."""
    return {
        "seed": SEED,
        "settings": [
            {
                "model": s.model,
                "input_ids": s.draw_inputs(random.Random(SEED)),
                "loss_weights": s.loss_weights(),
                "modes": s.modes,
            }
            for s in SETTINGS
        ],
    }


def live_request(rng: random.Random) -> dict[str, Any]:
    """What `run.py live` is asked: inputs and weights that nobody could know before.

    Half of the cases keep the recorded weights; in the others each weight is moved a little.
    """
    cases = []
    for setting, repeats in ((0, 2), (1, 1)):
        for jitter in [None, rng.getrandbits(31)] * repeats:
            ids = SETTINGS[setting].draw_inputs(rng)
            for train in (True, False):
                cases.append(
                    {"setting": setting, "input_ids": ids, "train": train, "jitter": jitter}
                )
    return {"models": [s.model for s in SETTINGS], "seed": SEED, "cases": cases}
