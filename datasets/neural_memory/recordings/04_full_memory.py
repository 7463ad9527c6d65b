# A hand-written example of a submission, not a model's answer.
# Surprise is a learned gate on the recall error, the decay is learned per head, every token writes
# one outer product into each head's matrix, and a two-way softmax shares each channel of the output
# out between attention and memory.
# Meant to pass all six criteria.

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Config:
    vocab_size: int
    d_model: int
    n_heads: int
    n_layers: int
    d_ff: int
    max_seq_len: int
    attention_window: int
    dropout: float

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads


class NeuralMemory(nn.Module):
    """One (d_head x d_head) associative matrix per head, updated token by token."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.to_qkv = nn.Linear(cfg.d_model, 3 * cfg.d_model, bias=False)
        # Surprise gate: one small linear map of the error vector, shared by the heads.
        self.surprise_gate = nn.Linear(cfg.d_head, 1)
        # Heads start with half-lives from a few tokens to a few hundred.
        self.decay_logits = nn.Parameter(torch.linspace(1.5, 6.0, cfg.n_heads))
        self.out = nn.Linear(cfg.d_model, cfg.d_model)

    def step(self, M: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """M (B, H, d, d) and one token's q, k, v (B, H, d) to the new M and its read (B, H, d)."""
        expected = (M @ k.unsqueeze(-1)).squeeze(-1)
        surprise = torch.sigmoid(self.surprise_gate(v - expected)).unsqueeze(-1)
        decay = torch.sigmoid(self.decay_logits).view(1, -1, 1, 1)
        M = decay * M + surprise * (v.unsqueeze(-1) * k.unsqueeze(-2))
        return M, (M @ q.unsqueeze(-1)).squeeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        H, d = self.cfg.n_heads, self.cfg.d_head
        q, k, v = self.to_qkv(x).view(B, T, 3, H, d).unbind(2)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        M = x.new_zeros(B, H, d, d)
        reads = []
        for q_t, k_t, v_t in zip(q.unbind(1), k.unbind(1), v.unbind(1)):
            M, read = self.step(M, q_t, k_t, v_t)
            reads.append(read)
        return self.out(torch.stack(reads, dim=1).reshape(B, T, D))


class WindowAttention(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.qkv = nn.Linear(cfg.d_model, 3 * cfg.d_model)
        self.out = nn.Linear(cfg.d_model, cfg.d_model)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.cfg.n_heads, self.cfg.d_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        i = torch.arange(T, device=x.device)
        gap = i[:, None] - i[None, :]
        mask = (gap >= 0) & (gap < self.cfg.attention_window)
        p = self.cfg.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Blend(nn.Module):
    """Shares every channel out between two streams; the two weights are positive and sum to 1."""

    def __init__(self, d_model: int):
        super().__init__()
        self.score = nn.Linear(2 * d_model, 2 * d_model)

    def forward(self, attended: Tensor, recalled: Tensor) -> Tensor:
        scores = self.score(torch.cat([attended, recalled], dim=-1))
        weights = scores.unflatten(-1, (2, -1)).softmax(dim=-2)
        return (weights * torch.stack([attended, recalled], dim=-2)).sum(dim=-2)


class Block(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.norm1 = nn.LayerNorm(cfg.d_model)
        self.attention = WindowAttention(cfg)
        self.memory = NeuralMemory(cfg)
        self.blend = Blend(cfg.d_model)
        self.norm2 = nn.LayerNorm(cfg.d_model)
        self.ffn = nn.Sequential(
            nn.Linear(cfg.d_model, cfg.d_ff),
            nn.GELU(),
            nn.Linear(cfg.d_ff, cfg.d_model),
            nn.Dropout(cfg.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.blend(self.attention(h), self.memory(h))
        return x + self.ffn(self.norm2(x))


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
        cfg = Config(
            vocab_size, d_model, n_heads, n_layers, d_ff, max_seq_len, attention_window, dropout
        )
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        T = input_ids.shape[1]
        x = self.embedding(input_ids) + self.position(torch.arange(T, device=input_ids.device))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
