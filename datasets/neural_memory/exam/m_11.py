"""
Neural long-term memory for a windowed transformer
==================================================

Motivation
----------
Attention is a perfect but short memory: it sees the last `attention_window` tokens exactly and
nothing before them. This file adds the complement, a lossy but unbounded memory, following four
observations about the brain:

1. **Surprise.**     We remember what we did not expect. The memory predicts the value that belongs
                     to the current key; the prediction error opens or closes a write gate.
2. **Forgetting.**   Memories fade. A learned, per-row retention rate multiplies M at every step.
3. **Association.**  Memories bind things together: the write is the outer product  v k^T.
4. **Blending.**     Perception and recollection are mixed. A learned gate interpolates between the
                     attention output and the memory readout.

Everything is learned end to end; there is no second optimiser and no hand-tuned constant other
than initial values.
"""

from dataclasses import dataclass
from typing import List, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class MemoryConfig:
    d_model: int
    d_mem: int
    gate_hidden: int = 16
    initial_retention: float = 0.95


class SurpriseGate(nn.Module):
    """Turns a prediction error (B, d_mem) into a write strength (B, 1) in (0, 1)."""

    def __init__(self, d_mem: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(d_mem + 1, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, error: torch.Tensor) -> torch.Tensor:
        magnitude = error.pow(2).mean(dim=-1, keepdim=True).add(1e-8).sqrt()
        return torch.sigmoid(self.net(torch.cat([error, magnitude], dim=-1)))


class Retention(nn.Module):
    """Learned forgetting: one retention factor in (0, 1) for each row of the memory."""

    def __init__(self, d_mem: int, initial: float):
        super().__init__()
        logit = torch.logit(torch.tensor(initial))
        self.logit = nn.Parameter(logit * torch.ones(d_mem))

    def forward(self, M: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.logit)[None, :, None] * M


class NeuralMemory(nn.Module):
    """Surprise-driven associative memory.

    Args:
        config: sizes and initial values.

    Shapes:
        input  (B, T, d_model)
        output (B, T, d_model)
        state  (B, d_mem, d_mem)
    """

    def __init__(self, config: MemoryConfig):
        super().__init__()
        self.config = config
        d_model, d_mem = config.d_model, config.d_mem
        self.key_proj = nn.Linear(d_model, d_mem, bias=False)
        self.value_proj = nn.Linear(d_model, d_mem, bias=False)
        self.query_proj = nn.Linear(d_model, d_mem, bias=False)
        self.surprise_gate = SurpriseGate(d_mem, config.gate_hidden)
        self.retention = Retention(d_mem, config.initial_retention)
        self.out_norm = nn.LayerNorm(d_mem)
        self.out_proj = nn.Linear(d_mem, d_model, bias=False)

    def init_state(self, batch: int, like: torch.Tensor) -> torch.Tensor:
        d = self.config.d_mem
        return torch.zeros(batch, d, d, device=like.device, dtype=like.dtype)

    @staticmethod
    def read(M: torch.Tensor, address: torch.Tensor) -> torch.Tensor:
        return torch.bmm(M, address.unsqueeze(-1)).squeeze(-1)

    def step(
        self, M: torch.Tensor, k: torch.Tensor, v: torch.Tensor, q: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """One time step: predict, measure surprise, forget, write, read."""
        expectation = self.read(M, k)
        error = v - expectation
        write_strength = self.surprise_gate(error)
        association = torch.bmm(v.unsqueeze(-1), k.unsqueeze(-2))
        M = self.retention(M) + write_strength.unsqueeze(-1) * association
        return self.read(M, q), M

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        keys = F.normalize(self.key_proj(x), dim=-1)
        values = self.value_proj(x)
        queries = F.normalize(self.query_proj(x), dim=-1)
        M = self.init_state(batch, x)
        readouts: List[torch.Tensor] = []
        for t in range(length):
            readout, M = self.step(M, keys[:, t], values[:, t], queries[:, t])
            readouts.append(readout)
        return self.out_proj(self.out_norm(torch.stack(readouts, dim=1)))


class MemoryAttentionFusion(nn.Module):
    """g * attention + (1 - g) * memory with a learned, per-channel gate g."""

    def __init__(self, d_model: int):
        super().__init__()
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, attention: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        g = torch.sigmoid(self.gate(torch.cat([attention, memory], dim=-1)))
        return g * attention + (1.0 - g) * memory


class WindowedSelfAttention(nn.Module):
    """Causal multi-head self-attention over the last `attention_window` positions."""

    def __init__(self, d_model: int, n_heads: int, attention_window: int, dropout: float):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model={d_model} is not divisible by n_heads={n_heads}")
        self.n_heads = n_heads
        self.attention_window = attention_window
        self.dropout = dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, D // self.n_heads).permute(2, 0, 3, 1, 4)
        distance = torch.arange(T, device=x.device)[:, None] - torch.arange(T, device=x.device)
        visible = (distance >= 0) & (distance < self.attention_window)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=dropout)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class TransformerBlock(nn.Module):
    def __init__(
        self, d_model: int, n_heads: int, d_ff: int, attention_window: int, dropout: float
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = WindowedSelfAttention(d_model, n_heads, attention_window, dropout)
        self.memory = NeuralMemory(MemoryConfig(d_model=d_model, d_mem=d_model))
        self.fusion = MemoryAttentionFusion(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        x = x + self.fusion(self.attention(h), self.memory(h))
        return x + self.ffn(self.norm2(x))


class SimpleTransformer(nn.Module):
    """Maps input_ids (B, T) int64 to logits (B, T, V)."""

    def __init__(
        self,
        vocab_size: int = 256,
        d_model: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        d_ff: int = 256,
        max_seq_len: int = 512,
        attention_window: int = 32,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(d_model, n_heads, d_ff, attention_window, dropout)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        T = input_ids.shape[1]
        x = self.embedding(input_ids) + self.position(torch.arange(T, device=input_ids.device))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


if __name__ == "__main__":
    model = SimpleTransformer()
    ids = torch.randint(0, 256, (2, 80))
    logits = model(ids)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    print(logits.shape, loss.item())
