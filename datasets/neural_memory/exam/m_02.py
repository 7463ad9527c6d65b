"""Transformer + Titans-style test-time memory.

The memory M is trained *while reading the sequence*: every token does one step of gradient
descent with momentum on the associative loss  0.5 * || M k - v ||^2.  The gradient of that loss
is the "surprise" of the token, momentum carries past surprise forward and a weight-decay term
lets old associations fade.

    grad_t = (M_{t-1} k_t - v_t) k_t^T
    S_t    = eta_t * S_{t-1} - theta_t * grad_t        (surprise with momentum)
    M_t    = (1 - alpha_t) * M_{t-1} + S_t             (forgetting)
    y_t    = M_t q_t
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int | None = None):
        super().__init__()
        d_mem = d_mem or d_model
        self.d_mem = d_mem
        self.to_qkv = nn.Linear(d_model, 3 * d_mem, bias=False)
        # eta: momentum, theta: step size, alpha: forgetting. All of them data dependent.
        self.to_rates = nn.Linear(d_model, 3)
        with torch.no_grad():
            self.to_rates.bias.copy_(torch.tensor([0.0, 0.0, -3.0]))
        self.memory_init = nn.Parameter(torch.zeros(d_mem, d_mem))
        self.to_out = nn.Linear(d_mem, d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, _ = x.shape
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        q = F.normalize(F.silu(q), dim=-1)
        k = F.normalize(F.silu(k), dim=-1)
        v = F.silu(v)
        eta, theta, alpha = torch.sigmoid(self.to_rates(x)).split(1, dim=-1)

        M = self.memory_init.expand(B, -1, -1)
        S = torch.zeros_like(M)
        ys = []
        for t in range(T):
            kt = k[:, t, :, None]
            vt = v[:, t, :, None]
            grad = (M @ kt - vt) @ kt.transpose(1, 2)
            S = eta[:, t, :, None] * S - theta[:, t, :, None] * grad
            M = (1 - alpha[:, t, :, None]) * M + S
            ys.append((M @ q[:, t, :, None]).squeeze(-1))
        return self.to_out(torch.stack(ys, dim=1))


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
    """Memory-as-gate: attention is the short-term memory, NeuralMemory the long-term one."""

    def __init__(
        self, d_model: int, n_heads: int, d_ff: int, attention_window: int, dropout: float
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = WindowedSelfAttention(d_model, n_heads, attention_window, dropout)
        self.memory = NeuralMemory(d_model)
        self.mix = nn.Linear(d_model, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        g = torch.sigmoid(self.mix(h))
        x = x + (g * self.attention(h) + (1.0 - g) * self.memory(h))
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
