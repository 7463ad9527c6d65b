import math
from typing import Optional

import torch
from torch import Tensor, nn


class NeuralMemory(nn.Module):
    """Multi-head fast-weight memory.

    Each of the `n_heads` heads owns a (d_mem, d_mem) matrix of fast weights. Heads forget at their
    own, learned speed, so that some act as working memory and others as long-term storage.
    """

    def __init__(self, d_model: int, n_heads: int = 4, d_mem: Optional[int] = None):
        super().__init__()
        d_mem = d_mem if d_mem is not None else max(4, d_model // n_heads)
        self.n_heads, self.d_mem = n_heads, d_mem
        inner = n_heads * d_mem
        self.q_proj = nn.Linear(d_model, inner, bias=False)
        self.k_proj = nn.Linear(d_model, inner, bias=False)
        self.v_proj = nn.Linear(d_model, inner, bias=False)
        self.o_proj = nn.Linear(inner, d_model, bias=False)

        # Spread the initial half-lives: fast heads and slow heads.
        init = torch.linspace(1.0, 5.0, n_heads)
        self.decay = nn.Parameter(init)

        hidden = max(8, d_mem // 2)
        self.surprise_net = nn.Sequential(
            nn.Linear(d_mem, hidden), nn.SiLU(), nn.Linear(hidden, 1), nn.Sigmoid()
        )

    def _split(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        return x.view(B, T, self.n_heads, self.d_mem)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        q = self._split(self.q_proj(x)) / math.sqrt(self.d_mem)
        k = torch.softmax(self._split(self.k_proj(x)), dim=-1)
        v = self._split(self.v_proj(x))
        lam = torch.sigmoid(self.decay).view(1, self.n_heads, 1, 1)

        state = torch.zeros(
            B, self.n_heads, self.d_mem, self.d_mem, device=x.device, dtype=x.dtype
        )
        outputs = torch.empty_like(v)
        collected = []
        for t in range(T):
            kt, vt, qt = k[:, t], v[:, t], q[:, t]
            recalled = (state @ kt.unsqueeze(-1)).squeeze(-1)
            gate = self.surprise_net(vt - recalled)  # (B, H, 1)
            state = lam * state + gate.unsqueeze(-1) * (vt.unsqueeze(-1) * kt.unsqueeze(-2))
            collected.append((state @ qt.unsqueeze(-1)).squeeze(-1))
        outputs = torch.stack(collected, dim=1)
        return self.o_proj(outputs.reshape(B, T, -1))


class LocalAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float):
        super().__init__()
        assert d_model % n_heads == 0, "d_model must be divisible by n_heads"
        self.n_heads = n_heads
        self.head_dim = d_model // n_heads
        self.window = window
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.o_proj = nn.Linear(d_model, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape

        def heads(y: Tensor) -> Tensor:
            return y.view(B, T, self.n_heads, self.head_dim).transpose(1, 2)

        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        pos = torch.arange(T, device=x.device)
        dist = pos[:, None] - pos[None, :]
        blocked = (dist < 0) | (dist >= self.window)
        scores = scores.masked_fill(blocked, float("-inf"))
        probs = self.drop(scores.softmax(dim=-1))
        return self.o_proj((probs @ v).transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout, use_memory: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attn = LocalAttention(d_model, n_heads, window, dropout)
        self.norm2 = nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )
        self.use_memory = use_memory
        if use_memory:
            self.memory = NeuralMemory(d_model, n_heads)
            self.mem_gate = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        y = self.attn(h)
        if self.use_memory:
            m = self.memory(h)
            alpha = torch.sigmoid(self.mem_gate(h))
            y = alpha * y + (1 - alpha) * m
        x = x + y
        return x + self.mlp(self.norm2(x))


class SimpleTransformer(nn.Module):
    """input_ids (B, T) -> logits (B, T, V). Memory sits in the top block only."""

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
        self.tok = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                d_model, n_heads, d_ff, attention_window, dropout, use_memory=i == n_layers - 1
            )
            for i in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.size(1), device=input_ids.device)
        x = self.drop(self.tok(input_ids) + self.pos(positions))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
