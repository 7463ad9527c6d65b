import math
from itertools import accumulate

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Bank of `n_mem` matrices; a token may write to all, each with its own surprise gate."""

    def __init__(self, d_model, d_mem=None, n_mem=2, dropout=0.0):
        super().__init__()
        d_mem = d_mem if d_mem is not None else d_model // 2
        self.n, self.d = n_mem, d_mem
        self.k = nn.Linear(d_model, n_mem * d_mem)
        self.v = nn.Linear(d_model, d_mem)
        self.q = nn.Linear(d_model, n_mem * d_mem)
        self.o = nn.Linear(n_mem * d_mem, d_model)
        self.log_half_life = nn.Parameter(torch.tensor([math.log(4.0 * 4**i) for i in range(n_mem)]))
        self.gate_net = nn.Sequential(nn.Linear(3 * d_mem, d_mem), nn.GELU(), nn.Linear(d_mem, 1))
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, _ = x.shape
        k = F.normalize(self.k(x).view(B, T, self.n, self.d), dim=-1)
        q = F.normalize(self.q(x).view(B, T, self.n, self.d), dim=-1)
        v = self.v(x).unsqueeze(2).expand(-1, -1, self.n, -1)
        keep = torch.exp(-math.log(2) / self.log_half_life.exp()).view(1, -1, 1, 1)

        def advance(M, token):
            kt, vt = token
            guess = torch.einsum("...ij,...j->...i", M, kt)
            s = torch.sigmoid(self.gate_net(torch.cat([vt, guess, vt - guess], dim=-1)))
            return keep * M + torch.einsum("...i,...j->...ij", s * vt, kt)

        states = accumulate(
            zip(k.unbind(1), v.unbind(1)), advance, initial=x.new_zeros(B, self.n, self.d, self.d)
        )
        next(states)
        reads = [torch.einsum("...ij,...j->...i", M, q[:, t]) for t, M in enumerate(states)]
        return self.o(self.drop(torch.stack(reads, 1).flatten(2)))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.heads, self.window, self.p = n_heads, window, dropout
        self.norm = nn.ModuleDict({n: nn.LayerNorm(d_model) for n in ("attn", "mem", "gate", "ff")})
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.merge = nn.Linear(d_model, d_model)
        self.mem = NeuralMemory(d_model, dropout=dropout)
        self.gate = nn.Linear(d_model, d_model)
        self.w1, self.w2, self.w3 = (
            nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_ff, d_model, bias=False),
        )

    def local(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        pos = torch.arange(T)
        ok = (pos[None, :] <= pos[:, None]) & (pos[None, :] > pos[:, None] - self.window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=ok, dropout_p=self.p if self.training else 0.0)
        return self.merge(y.transpose(1, 2).reshape(B, T, D))

    def forward(self, x):
        h = x + self.local(self.norm["attn"](x))
        recalled = self.mem(self.norm["mem"](h))
        g = torch.sigmoid(self.gate(self.norm["gate"](h)))
        h = torch.where(torch.ones_like(g, dtype=torch.bool), h * g + recalled * (1.0 - g), h)
        z = self.norm["ff"](h)
        return h + F.dropout(self.w3(F.silu(self.w1(z)) * self.w2(z)), self.p, self.training)


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids, return_hidden=False):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(-1)))
        for b in self.blocks:
            x = b(x)
        logits = self.head(self.norm(x))
        return (logits, x) if return_hidden else logits
