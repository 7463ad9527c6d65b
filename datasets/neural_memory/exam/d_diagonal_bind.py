import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.Wk, self.Wv, self.Wq = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mix = nn.Parameter(torch.eye(dim) + 0.1 * torch.randn(dim, dim))
        self.surprise = nn.Linear(dim, dim)
        self.retain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        k, v, q = torch.tanh(self.Wk(x)), self.Wv(x), torch.tanh(self.Wq(x))
        M = torch.zeros(x.size(0), self.dim, self.dim)
        out = []
        for t in range(x.size(1)):
            expected = torch.einsum("bij,bj->bi", M, k[:, t])
            s = torch.sigmoid(self.surprise((v[:, t] - expected).abs()))
            binding = torch.diag_embed(s * v[:, t] * k[:, t])
            M = torch.sigmoid(self.retain) * M + self.mix @ binding @ self.mix.T
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(out, dim=1)


class Block(nn.Module):
    def __init__(self, dim, heads, ff, window, dropout):
        super().__init__()
        self.window = window
        self.mha = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.mem = NeuralMemory(dim)
        self.gate = nn.Linear(2 * dim, 1)
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, ff), nn.GELU(), nn.Linear(ff, dim), nn.Dropout(dropout))

    def forward(self, x):
        T = x.size(1)
        d = torch.arange(T).unsqueeze(0) - torch.arange(T).unsqueeze(1)
        h = self.n1(x)
        a = self.mha(h, h, h, attn_mask=(d > 0) | (d <= -self.window), need_weights=False)[0]
        m = self.mem(h)
        g = torch.sigmoid(self.gate(torch.cat([a, m], -1)))
        x = x + g * a + (1 - g) * m
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.e = nn.Embedding(vocab_size, d_model)
        self.p = nn.Embedding(max_seq_len, d_model)
        self.b = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.o = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.e(input_ids) + self.p(torch.arange(input_ids.size(1)))
        for block in self.b:
            x = block(x)
        return self.o(x)
