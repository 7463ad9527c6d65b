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
    def __init__(self, d_model, d_mem=18):
        super().__init__()
        self.P = nn.Parameter(torch.randn(3, d_model, d_mem) * d_model ** -0.5)
        self.O = nn.Parameter(torch.randn(d_mem, d_model) * d_mem ** -0.5)
        self.surprise = nn.Linear(d_mem, 1)
        self.decay = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        q, k, v = torch.einsum("btd,pde->pbte", x, self.P)
        k = F.normalize(k, dim=-1)
        expected = F.pad(v, (0, 0, 1, 0))[:, :-1]
        s = torch.sigmoid(self.surprise(v - expected))
        M = x.new_zeros(x.shape[0], v.shape[-1], v.shape[-1])
        y = []
        for t in range(x.shape[1]):
            M = torch.sigmoid(self.decay) * M + torch.einsum("bi,bj->bij", s[:, t] * v[:, t], k[:, t])
            y.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.einsum("btd,de->bte", torch.stack(y, 1), self.O)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1 = nn.LayerNorm(d_model)
        self.n2 = nn.LayerNorm(d_model)
        self.attn = AlibiAttention(d_model, n_heads, window, dropout)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, x):
        h = self.n1(x)
        attn_out = self.attn(h)
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], dim=-1)))
        mix = g * attn_out + (1 - g) * mem_out
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
