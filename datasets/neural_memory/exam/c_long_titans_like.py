"""
Sliding-window transformer with a neural long-term memory.

Overview
--------
    embeddings -> [ memory-augmented layer ] x n_layers -> norm -> logits

Each layer runs two readers over the same normalised input:

    * WindowAttention: exact, but it sees only the last `attention_window` tokens
    * NeuralMemory:    lossy, but unbounded; a matrix M per head that learns while it reads

and a GatedFusion decides per channel whom to trust.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


# ----------------------------------------------------------------------------
# Configuration
# ----------------------------------------------------------------------------


@dataclass
class MemoryConfig:
    d_model: int
    n_heads: int
    conv_width: int = 3
    init_keep: float = 0.97
    init_momentum: float = 0.6

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads


def inverse_sigmoid(p: float) -> float:
    return math.log(p / (1.0 - p))


# ----------------------------------------------------------------------------
# Building blocks
# ----------------------------------------------------------------------------


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + self.eps)


class ShortConv(nn.Module):
    """Causal depthwise convolution."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, dim))
        with torch.no_grad():
            self.weight[-1] = 1.0
            self.weight[:-1].normal_(std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        width = self.weight.shape[0]
        padded = F.pad(x, (0, 0, width - 1, 0))
        return sum(self.weight[i] * padded[:, i : i + x.shape[1]] for i in range(width))


class WindowAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.proj = nn.Linear(d_model, d_model, bias=False)

    def mask(self, length: int, device: torch.device) -> Tensor:
        pos = torch.arange(length, device=device)
        gap = pos[:, None] - pos[None, :]
        return (gap >= 0) & (gap < self.window)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (z.view(B, T, self.n_heads, -1).transpose(1, 2) for z in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=self.mask(T, x.device), dropout_p=self.dropout if self.training else 0.0
        )
        return self.proj(y.transpose(1, 2).reshape(B, T, D))


# ----------------------------------------------------------------------------
# Memory
# ----------------------------------------------------------------------------


class MemoryState(NamedTuple):
    M: Tensor         # (B, H, d, d)
    momentum: Tensor  # (B, H, d, d)


class SurpriseEstimator(nn.Module):
    """Turns what came and what was recalled into a write strength per head."""

    def __init__(self, cfg: MemoryConfig):
        super().__init__()
        self.norm = nn.LayerNorm(cfg.d_head)
        self.linear = nn.Linear(cfg.d_head, 1)
        self.magnitude = nn.Parameter(torch.ones(cfg.n_heads))
        self.bias = nn.Parameter(torch.full((cfg.n_heads,), -0.5))

    def forward(self, came: Tensor, recalled: Tensor) -> Tensor:
        error = came - recalled
        direction = self.linear(self.norm(error)).squeeze(-1)
        size = self.magnitude * torch.log1p(error.square().sum(dim=-1))
        return torch.sigmoid(direction + size + self.bias)


class NeuralMemory(nn.Module):
    """Online associative memory with surprise, momentum and forgetting."""

    def __init__(self, cfg: MemoryConfig):
        super().__init__()
        self.cfg = cfg
        self.in_proj = nn.Linear(cfg.d_model, 3 * cfg.d_model, bias=False)
        self.conv = ShortConv(3 * cfg.d_model, cfg.conv_width)
        self.surprise = SurpriseEstimator(cfg)
        self.keep = nn.Parameter(torch.full((cfg.n_heads,), inverse_sigmoid(cfg.init_keep)))
        self.inertia = nn.Parameter(torch.full((cfg.n_heads,), inverse_sigmoid(cfg.init_momentum)))
        self.read_norm = RMSNorm(cfg.d_head)
        self.out_proj = nn.Linear(cfg.d_model, cfg.d_model, bias=False)

    def initial_state(self, x: Tensor) -> MemoryState:
        shape = (x.shape[0], self.cfg.n_heads, self.cfg.d_head, self.cfg.d_head)
        return MemoryState(x.new_zeros(shape), x.new_zeros(shape))

    def write(self, state: MemoryState, key: Tensor, value: Tensor) -> Tuple[MemoryState, Tensor]:
        recalled = torch.einsum("bhij,bhj->bhi", state.M, key)
        strength = self.surprise(value, recalled)
        association = torch.einsum("bh,bhi,bhj->bhij", strength, value, key)
        inertia = torch.sigmoid(self.inertia)[:, None, None]
        keep = torch.sigmoid(self.keep)[:, None, None]
        momentum = inertia * state.momentum + (1 - inertia) * association
        return MemoryState(keep * state.M + momentum, momentum), strength

    @staticmethod
    def read(state: MemoryState, query: Tensor) -> Tensor:
        return torch.einsum("bhij,bhj->bhi", state.M, query)

    def forward(self, x: Tensor, state: Optional[MemoryState] = None) -> Tuple[Tensor, Dict[str, Tensor]]:
        B, T, D = x.shape
        q, k, v = self.conv(self.in_proj(x)).view(B, T, 3, self.cfg.n_heads, self.cfg.d_head).unbind(dim=2)
        q, k = F.normalize(F.silu(q), dim=-1), F.normalize(F.silu(k), dim=-1)
        state = self.initial_state(x) if state is None else state
        reads: List[Tensor] = []
        strengths: List[Tensor] = []
        for t in range(T):
            state, strength = self.write(state, k[:, t], v[:, t])
            reads.append(self.read(state, q[:, t]))
            strengths.append(strength)
        y = self.read_norm(torch.stack(reads, dim=1)).reshape(B, T, D)
        return self.out_proj(y), {"surprise": torch.stack(strengths, dim=1)}


class GatedFusion(nn.Module):
    def __init__(self, d_model: int, rank: int = 8):
        super().__init__()
        self.down = nn.Linear(2 * d_model, rank)
        self.up = nn.Linear(rank, d_model)

    def forward(self, attended: Tensor, recalled: Tensor) -> Tensor:
        hidden = torch.tanh(self.down(torch.cat([attended, recalled], dim=-1)))
        gate = torch.sigmoid(self.up(hidden))
        return gate * attended + (1.0 - gate) * recalled


# ----------------------------------------------------------------------------
# The model
# ----------------------------------------------------------------------------


class Layer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_ff: int, window: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(d_model), RMSNorm(d_model)
        self.attention = WindowAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(MemoryConfig(d_model, n_heads))
        self.fusion = GatedFusion(d_model)
        self.gate_proj = nn.Linear(d_model, d_ff, bias=False)
        self.up_proj = nn.Linear(d_model, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        recalled, _ = self.memory(h)
        x = x + self.dropout(self.fusion(self.attention(h), recalled))
        h = self.norm2(x)
        return x + self.dropout(self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h)))


class SimpleTransformer(nn.Module):
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
        self.max_seq_len = max_seq_len
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(
            Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)
        )
        self.norm = RMSNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.dropout = nn.Dropout(dropout)
        self._init_weights()

    def _init_weights(self) -> None:
        for name, p in self.named_parameters():
            if p.dim() == 2 and "conv" not in name:
                nn.init.normal_(p, std=1.0 / math.sqrt(p.shape[-1]))

    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def forward(self, input_ids: Tensor) -> Tensor:
        B, T = input_ids.shape
        if T > self.max_seq_len:
            raise ValueError(f"sequence of {T} tokens is longer than {self.max_seq_len}")
        positions = torch.arange(T, device=input_ids.device)
        x = self.dropout(self.embedding(input_ids) + self.position(positions))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))

    @torch.no_grad()
    def generate(self, input_ids: Tensor, n_tokens: int, temperature: float = 1.0) -> Tensor:
        for _ in range(n_tokens):
            logits = self(input_ids[:, -self.max_seq_len :])[:, -1] / temperature
            input_ids = torch.cat([input_ids, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return input_ids
