"""On which model and inputs is a submission examined?

All sizes differ, so that a shape says which axis is which.
"""

import random
from typing import Any

SEED = 7
MODEL: dict[str, Any] = {
    "vocab_size": 23,
    "d_model": 20,
    "n_heads": 2,
    "n_layers": 1,
    "d_ff": 44,
    "max_seq_len": 37,
    "attention_window": 3,
    "dropout": 0.0,
}
BATCH = 3
LENGTH = 17  # long enough to tell a step a token from chunks of 4 or 8
LIVE_CASES = 3  # inputs drawn afterwards, each run in training and in evaluation mode


def draw_inputs(rng: random.Random) -> list[list[int]]:
    """Token ids (BATCH, LENGTH), no token twice in a row of the batch."""
    return [rng.sample(range(MODEL["vocab_size"]), LENGTH) for _ in range(BATCH)]


def record_request() -> dict[str, Any]:
    """What `run.py record` is asked: always the same."""
    rng = random.Random(SEED)
    ids = draw_inputs(rng)
    n = BATCH * LENGTH * MODEL["vocab_size"]
    weights = [rng.gauss(0, 1) for _ in range(n)]
    return {"model": MODEL, "seed": SEED, "input_ids": ids, "loss_weights": weights}


def live_request(rng: random.Random) -> dict[str, Any]:
    """What `run.py live` is asked, on inputs that nobody could know before."""
    cases = []
    for _ in range(LIVE_CASES):
        ids = draw_inputs(rng)
        cases += [{"input_ids": ids, "train": True}, {"input_ids": ids, "train": False}]
    return {"model": MODEL, "seed": SEED, "cases": cases}
