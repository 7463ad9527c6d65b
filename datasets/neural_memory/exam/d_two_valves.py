import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, rank=None):
        super().__init__()
        d = rank or d_model
        self.d = d
        self.down = nn.Linear(d_model, d)
        self.k, self.v, self.q = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.eye = nn.Parameter(torch.zeros(1, d, d))
        self.forget = nn.Linear(d, d)
        self.err_gain = nn.Parameter(torch.full((d,), 0.5))
        self.err_bias = nn.Parameter(torch.zeros(d))

    def forward(self, x):
        z = F.silu(self.down(x))
        k, q, v = F.normalize(self.k(z), dim=-1), F.normalize(self.q(z), dim=-1), self.v(z)
        log_keep = -F.softplus(self.forget(z) - 2)
        M, ys = self.eye.repeat(x.size(0), 1, 1), []
        for t in range(x.size(1)):
            err = v[:, t] - torch.bmm(M, k[:, t].unsqueeze(-1)).squeeze(-1)
            s = torch.sigmoid(self.err_gain * err.abs() + self.err_bias)
            M = log_keep[:, t].exp().unsqueeze(1) * M + (s * v[:, t]).unsqueeze(-1) * k[:, t].unsqueeze(1)
            ys.append(torch.bmm(M, q[:, t].unsqueeze(-1)).squeeze(-1))
        return torch.stack(ys, 1)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.window = window
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True)
        self.mem = NeuralMemory(d_model)
        self.gates = nn.Linear(2 * d_model, 2 * d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        T = x.size(1)
        i = torch.arange(T)
        outside = (i > i[:, None]) | (i <= i[:, None] - self.window)
        h = self.n1(x)
        a = self.attn(h, h, h, attn_mask=outside, need_weights=False)[0]
        m = self.mem(h)
        g, r = torch.sigmoid(self.gates(torch.cat([a, m], -1))).chunk(2, -1)
        x = x + g * a + (1 - r) * m
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.Sequential(*(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)))
        self.head = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False))

    def forward(self, input_ids):
        return self.head(self.blocks(self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))))
