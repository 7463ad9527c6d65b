# A hand-written example of a submission, not a model's answer.
# One linear map of the token gives both the forget rate and the write strength. Neither looks at
# what the memory already holds, so a token seen ten times is written as strongly as a new one.
# The read is added to the residual stream.
# Meant to fail: surprise_gate (sigmoid(Linear(x)) knows nothing of the memory's prediction) and
# memory_attention_gating (plain addition).

import math

import torch
from torch import nn
from torch.nn import functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.h, self.dk = n_heads, d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.gates = nn.Linear(d_model, 2 * n_heads)
        self.norm = nn.LayerNorm(self.dk)
        self.proj = nn.Linear(d_model, d_model)
        # start by remembering a lot and writing about half
        with torch.no_grad():
            self.gates.bias[:n_heads] = 3.0
            self.gates.bias[n_heads:] = 0.0

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (z.view(B, T, self.h, self.dk) for z in self.qkv(x).chunk(3, dim=-1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        forget, write = torch.sigmoid(self.gates(x)).chunk(2, dim=-1)  # (B, T, H) each
        M = torch.zeros(B, self.h, self.dk, self.dk, dtype=x.dtype, device=x.device)
        y = []
        for t in range(T):
            update = torch.einsum("bhi,bhj->bhij", v[:, t], k[:, t])
            M = forget[:, t, :, None, None] * M + write[:, t, :, None, None] * update
            y.append(torch.einsum("bhij,bhj->bhi", M, q[:, t]))
        y = self.norm(torch.stack(y, dim=1)).reshape(B, T, D)
        return self.proj(y)


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.h, self.window = n_heads, window
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (f(x).view(B, T, self.h, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(D // self.h)
        i = torch.arange(T, device=x.device)
        gap = i[:, None] - i[None, :]
        scores = scores.masked_fill((gap < 0) | (gap >= self.window), float("-inf"))
        y = self.drop(scores.softmax(-1)) @ v
        return self.o(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.ln1, self.ln2, self.ln3 = (nn.LayerNorm(d_model) for _ in range(3))
        self.attn = Attention(d_model, n_heads, window, dropout)
        self.mem = NeuralMemory(d_model, n_heads)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        x = x + self.mem(self.ln2(x))
        x = x + self.mlp(self.ln3(x))
        return x


class SimpleTransformer(nn.Module):
    def __init__(
        self,
        vocab_size=256,
        d_model=64,
        n_heads=4,
        n_layers=2,
        d_ff=256,
        max_seq_len=512,
        attention_window=32,
        dropout=0.1,
    ):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            [Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)]
        )
        self.ln = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        B, T = input_ids.shape
        x = self.drop(self.tok(input_ids) + self.pos.weight[:T])
        for b in self.blocks:
            x = b(x)
        return self.head(self.ln(x))
