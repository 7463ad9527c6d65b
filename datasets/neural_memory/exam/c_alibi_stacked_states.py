import math
import torch
import torch.nn as nn
import torch.nn.functional as F

class AlibiAttention(nn.Module):
    """Linear distance penalty per head, banded, all contractions as einsum."""

    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        dh = d_model // n_heads
        self.window = window
        self.p = dropout
        self.Wq = nn.Parameter(torch.randn(n_heads, d_model, dh) * d_model ** -0.5)
        self.Wk = nn.Parameter(torch.randn(n_heads, d_model, dh) * d_model ** -0.5)
        self.Wv = nn.Parameter(torch.randn(n_heads, d_model, dh) * d_model ** -0.5)
        self.Wo = nn.Parameter(torch.randn(n_heads, dh, d_model) * d_model ** -0.5)
        self.register_buffer("slopes", 2.0 ** (-8.0 * torch.arange(1, n_heads + 1) / n_heads))

    def forward(self, x):
        T = x.shape[1]
        q = torch.einsum("btd,hde->bhte", x, self.Wq)
        k = torch.einsum("btd,hde->bhte", x, self.Wk)
        v = torch.einsum("btd,hde->bhte", x, self.Wv)
        pos = torch.arange(T, device=x.device)
        dist = pos[:, None] - pos[None, :]
        bias = -self.slopes[:, None, None] * dist
        bias = bias.masked_fill((dist < 0) | (dist >= self.window), float("-inf"))
        w = torch.einsum("bhte,bhse->bhts", q, k) / math.sqrt(q.shape[-1]) + bias
        w = F.dropout(w.softmax(-1), self.p, self.training)
        return torch.einsum("bhts,bhse,hed->btd", w, v, self.Wo)


class NeuralMemory(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        dh = d_model // n_heads
        self.W = nn.Parameter(torch.randn(3, n_heads, d_model, dh) * d_model ** -0.5)
        self.Wo = nn.Parameter(torch.randn(n_heads, dh, d_model) * d_model ** -0.5)
        self.u = nn.Parameter(torch.randn(n_heads, dh) * 0.5)
        self.c = nn.Parameter(torch.zeros(n_heads))
        self.rate = nn.Parameter(torch.full((n_heads, dh), -2.0))

    def forward(self, x):
        q, k, v = torch.einsum("btd,phde->pbthe", x, self.W)
        q, k = q / (q.norm(dim=-1, keepdim=True) + 1e-6), k / (k.norm(dim=-1, keepdim=True) + 1e-6)
        keep = torch.exp(-F.softplus(self.rate))
        M = torch.zeros(*v[:, 0].shape, v.shape[-1], device=x.device)
        states = []
        for t in range(x.shape[1]):
            off = v[:, t] - torch.einsum("bhij,bhj->bhi", M, k[:, t])
            s = torch.sigmoid(torch.einsum("bhi,hi->bh", off.abs(), self.u) + self.c)
            M = torch.einsum("hi,bhij->bhij", keep, M) + torch.einsum("bh,bhi,bhj->bhij", s, v[:, t], k[:, t])
            states.append(M)
        return torch.einsum("tbhij,bthj,hid->btd", torch.stack(states), q, self.Wo)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1 = nn.LayerNorm(d_model)
        self.n2 = nn.LayerNorm(d_model)
        self.attn = AlibiAttention(d_model, n_heads, window, dropout)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))
        self.memory = NeuralMemory(d_model, n_heads)
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, x):
        h = self.n1(x)
        attn_out = self.attn(h)
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], -1)))
        mix = torch.einsum("btd,btd->btd", g, attn_out) + torch.einsum("btd,btd->btd", 1 - g, mem_out)
        x = x + mix
        return x + self.mlp(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.drop = nn.Dropout(dropout)
        self.trunk = nn.Sequential(*[Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        return self.head(self.norm(self.trunk(self.drop(self.emb(input_ids)))))
