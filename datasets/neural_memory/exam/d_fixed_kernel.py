import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.W = nn.ParameterDict(
            {n: nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model)) for n in ("wk", "wv", "wq")}
        )
        self.tau = nn.Parameter(torch.tensor(5.0))

    def forward(self, x):
        k, v, q = (x @ self.W[n] for n in ("wk", "wv", "wq"))
        k, q = k / (1e-6 + k.norm(dim=-1, keepdim=True)), q / (1e-6 + q.norm(dim=-1, keepdim=True))
        B, T, D = x.shape
        M = torch.zeros(B, D, D)
        fade = torch.exp(-1.0 / F.softplus(self.tau))
        reads = []
        for t in range(T):
            error = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            relative = error.norm(dim=-1) / (v[:, t].norm(dim=-1) + 1e-6)
            s = torch.sigmoid(4.0 * (relative - 0.5))
            M = fade * M + torch.einsum("b,bi,bj->bij", s, v[:, t], k[:, t])
            reads.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(reads, dim=1)


class Heads(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        d = d_model // n_heads
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Linear(d_model, d, bias=False) for _ in range(3)) for _ in range(n_heads)
        )
        self.window = window
        self.out = nn.Linear(d_model, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        T = x.size(1)
        t = torch.arange(T)
        rel = t.view(T, 1) - t
        ys = []
        for q, k, v in self.heads:
            s = q(x) @ k(x).transpose(1, 2) / math.sqrt(q.out_features)
            s = s.masked_fill((rel < 0) | (rel >= self.window), -torch.inf)
            ys.append(self.drop(s.softmax(-1)) @ v(x))
        return self.out(torch.cat(ys, -1))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn, self.mem = Heads(d_model, n_heads, window, dropout), NeuralMemory(d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.n1(x)
        a, m = self.attn(n), self.mem(n)
        g = torch.sigmoid(self.gate(n))
        x = x + (m + g * (a - m))
        return x + self.mlp(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.where = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.Sequential(*[Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)

    def forward(self, input_ids):
        x = self.embed(input_ids) + self.where(torch.arange(input_ids.size(1)))
        return F.linear(self.norm(self.blocks(x)), self.embed.weight)
