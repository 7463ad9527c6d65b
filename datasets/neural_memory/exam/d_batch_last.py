"""Transformer with an associative store laid out (value, key, batch)."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, width, init_half_life=8.0):
        super().__init__()
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False)
        self.log_tau = nn.Parameter(torch.full((), math.log(init_half_life)))
        self.sharpness = nn.Parameter(torch.tensor(3.0))
        self.tolerance = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        keys = F.normalize(self.key(x), dim=-1).permute(1, 2, 0)
        values = self.value(x).permute(1, 2, 0)
        queries = F.normalize(self.query(x), dim=-1).permute(1, 2, 0)
        T, D, B = keys.shape
        M = torch.zeros(D, D, B, dtype=x.dtype, device=x.device)
        retain = 0.5 ** (1.0 / self.log_tau.exp())
        reads = torch.empty(0, D, B)
        t = 0
        while t < T:
            k, v, q = keys[t], values[t], queries[t]
            guess = (M * k[None]).sum(dim=1)
            disagreement = 1.0 - F.cosine_similarity(guess, v, dim=0)
            s = torch.sigmoid(self.sharpness * (disagreement - self.tolerance))
            M = retain * M + s * v[:, None, :] * k[None, :, :]
            reads = torch.cat([reads, (M * q[None]).sum(dim=1)[None]], dim=0)
            t += 1
        return reads.permute(2, 0, 1)


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.n_heads = n_heads
        self.window = attention_window
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Parameter(torch.randn(max_seq_len, d_model) * 0.02)
        self.layers = nn.ModuleList()
        for _ in range(n_layers):
            self.layers.append(
                nn.ModuleDict(
                    dict(
                        pre=nn.LayerNorm(d_model),
                        mha=nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True),
                        memory=NeuralMemory(d_model),
                        gate=nn.Linear(d_model, 1),
                        post=nn.LayerNorm(d_model),
                        mlp=nn.Sequential(
                            nn.Linear(d_model, d_ff), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_ff, d_model)
                        ),
                    )
                )
            )
        self.out_norm = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        T = input_ids.size(1)
        pos = torch.arange(T, device=input_ids.device)
        gap = pos.unsqueeze(1) - pos.unsqueeze(0)
        blocked = (gap < 0) | (gap >= self.window)
        h = self.wte(input_ids) + self.wpe[:T]
        for L in self.layers:
            n = L["pre"](h)
            attended, _ = L["mha"](n, n, n, attn_mask=blocked, need_weights=False)
            recalled = L["memory"](n)
            g = torch.sigmoid(L["gate"](n))
            h = h + g * attended + (torch.ones_like(g) - g) * recalled
            h = h + L["mlp"](L["post"](h))
        return self.lm_head(self.out_norm(h))
