"""Decodes one token at a time, carrying a ring of recent keys/values and a memory matrix."""
from __future__ import annotations

import dataclasses

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclasses.dataclass
class LayerState:
    keys: list
    values: list
    M: torch.Tensor


class NeuralMemory(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.wk, self.wv, self.wq = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.w_err = nn.Linear(dim, dim)
        self.w_tok = nn.Linear(dim, dim, bias=False)
        self.lam = nn.Parameter(torch.randn(dim, dim) * 0.1 + 2)

    def initial(self, batch):
        d = self.wk.in_features
        return torch.zeros(batch, d, d)

    def forward(self, token, M):
        k = F.normalize(self.wk(token), dim=-1)
        v = self.wv(token)
        surprise = torch.sigmoid(self.w_err((v - torch.einsum("bvk,bk->bv", M, k)).square()) + self.w_tok(token))
        M = torch.sigmoid(self.lam) * M + torch.einsum("bv,bk->bvk", surprise * v, k)
        return torch.einsum("bvk,bk->bv", M, F.normalize(self.wq(token), dim=-1)), M


class StreamLayer(nn.Module):
    def __init__(self, dim, heads, d_ff, window, p):
        super().__init__()
        self.heads, self.window = heads, window
        self.norm_in, self.norm_ff = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.memory = NeuralMemory(dim)
        self.gate = nn.Linear(3 * dim, dim)
        self.ff = nn.Sequential(nn.Linear(dim, d_ff), nn.GELU(), nn.Linear(d_ff, dim))
        self.drop = nn.Dropout(p)

    def start(self, batch):
        return LayerState([], [], self.memory.initial(batch))

    def forward(self, x, state: LayerState):
        n = self.norm_in(x)
        q, k, v = self.qkv(n).view(x.size(0), 3, self.heads, -1).unbind(1)
        state.keys = (state.keys + [k])[-self.window :]
        state.values = (state.values + [v])[-self.window :]
        K, V = torch.stack(state.keys, 2), torch.stack(state.values, 2)
        w = torch.softmax((q.unsqueeze(2) * K).sum(-1) / K.size(-1) ** 0.5, dim=-1)
        a = self.proj((self.drop(w).unsqueeze(-1) * V).sum(2).flatten(1))
        m, state.M = self.memory(n, state.M)
        g = torch.sigmoid(self.gate(torch.cat([n, a, m], -1)))
        x = x + (g * a + (1 - g) * m)
        return x + self.drop(self.ff(self.norm_ff(x)))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256, max_seq_len=512,
                 attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(
            StreamLayer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        B, T = input_ids.shape
        states = [layer.start(B) for layer in self.layers]
        logits = []
        for t in range(T):
            x = self.emb(input_ids[:, t]) + self.pos.weight[t]
            for layer, state in zip(self.layers, states):
                x = layer(x, state)
            logits.append(self.head(self.norm(x)))
        return torch.stack(logits, 1), states
