"""Modernised decoder (RMSNorm, rotary attention, SwiGLU) with a gated delta-rule memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def rotary(x: torch.Tensor, base: float = 10000.0) -> torch.Tensor:
    """Rotate pairs of channels of x (B, H, T, d) by an angle growing with position."""
    T, d = x.shape[-2], x.shape[-1]
    half = d // 2
    if half == 0:
        return x
    freqs = base ** (-torch.arange(half, device=x.device, dtype=x.dtype) / half)
    angle = torch.arange(T, device=x.device, dtype=x.dtype)[:, None] * freqs
    cos, sin = angle.cos(), angle.sin()
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((a * cos - b * sin, a * sin + b * cos, rest), dim=-1)


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


class WindowedSelfAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, attention_window: int, dropout: float):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be divisible by n_heads")
        self.n_heads = n_heads
        self.window = attention_window
        self.dropout = dropout
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = rotary(q), rotary(k)
        i = torch.arange(T, device=x.device)
        delta = i[:, None] - i[None, :]
        mask = (delta >= 0) & (delta < self.window)
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class NeuralMemory(nn.Module):
    """Gated delta rule:  M_t = alpha_t M_{t-1} + beta_t (v_t - M_{t-1} k_t) k_t^T.

    The residual (v - M k) is the prediction error, i.e. the surprise: nothing is written when the
    memory already predicts the value. alpha_t forgets, beta_t is the learning rate.
    """

    def __init__(self, d_model: int, d_mem: int):
        super().__init__()
        self.d_mem = d_mem
        self.in_proj = nn.Linear(d_model, 3 * d_mem + 2, bias=True)
        self.norm = RMSNorm(d_mem)
        self.out_proj = nn.Linear(d_mem, d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, _ = x.shape
        d = self.d_mem
        q, k, v, a, b = self.in_proj(x).split((d, d, d, 1, 1), dim=-1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        alpha = torch.sigmoid(a + 3.0)
        beta = torch.sigmoid(b)
        M = torch.zeros(B, d, d, dtype=x.dtype, device=x.device)
        ys = []
        for t in range(T):
            residual = v[:, t] - torch.einsum("bvk,bk->bv", M, k[:, t])
            M = alpha[:, t, :, None] * M + beta[:, t, :, None] * torch.einsum(
                "bv,bk->bvk", residual, k[:, t]
            )
            ys.append(torch.einsum("bvk,bk->bv", M, q[:, t]))
        return self.out_proj(self.norm(torch.stack(ys, 1)))


class SwiGLU(nn.Module):
    def __init__(self, d_model: int, d_ff: int, dropout: float):
        super().__init__()
        self.up = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.up(x).chunk(2, dim=-1)
        return self.dropout(self.down(F.silu(a) * b))


class TransformerBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, attention_window, dropout):
        super().__init__()
        self.norm1 = RMSNorm(d_model)
        self.attention = WindowedSelfAttention(d_model, n_heads, attention_window, dropout)
        self.memory = NeuralMemory(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.norm2 = RMSNorm(d_model)
        self.ffn = SwiGLU(d_model, d_ff, dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        g = torch.sigmoid(self.gate(h))
        a, m = self.attention(h), self.memory(h)
        x = x + m + g * (a - m)
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
        self.max_seq_len = max_seq_len
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            [
                TransformerBlock(d_model, n_heads, d_ff, attention_window, dropout)
                for _ in range(n_layers)
            ]
        )
        self.norm = RMSNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.embedding(input_ids))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
