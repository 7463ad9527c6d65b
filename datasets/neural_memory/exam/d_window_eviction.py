import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Consolidates in bursts: every `period` tokens the recent ones are bound in one matmul."""

    def __init__(self, dim, heads=2, period=3):
        super().__init__()
        self.h, self.dh, self.period = heads, dim // heads, period
        self.k, self.v, self.q = (nn.Linear(dim, heads * self.dh) for _ in range(3))
        self.o = nn.Linear(heads * self.dh, dim)
        self.lam = nn.Parameter(torch.full((heads, 1, 1), 1.5))
        self.novelty = nn.Sequential(nn.Linear(2 * self.dh, 8), nn.GELU(), nn.Linear(8, 1))

    def forward(self, x):
        B, T, _ = x.shape
        shape = lambda z: z.view(B, T, self.h, self.dh).transpose(1, 2)
        k, v, q = F.normalize(shape(self.k(x)), dim=-1), shape(self.v(x)), F.normalize(shape(self.q(x)), dim=-1)
        M = x.new_zeros(B, self.h, self.dh, self.dh)
        pending, ys = [], []
        for t in range(T):
            ys.append(torch.einsum("bhij,bhj->bhi", M, q[:, :, t]))
            guess = torch.einsum("bhij,bhj->bhi", M, k[:, :, t])
            s = torch.sigmoid(self.novelty(torch.cat([v[:, :, t], guess], -1)))
            pending.append((s * v[:, :, t], k[:, :, t]))
            if len(pending) == self.period:
                V, K = (torch.stack(z, dim=2) for z in zip(*pending))
                M = torch.sigmoid(self.lam) * M + V.mT @ K
                pending = []
        return self.o(torch.stack(ys, 1).flatten(2))


class Layer(nn.Module):
    def __init__(self, dim, heads, ff, window, p):
        super().__init__()
        self.window = window
        self.attn = nn.MultiheadAttention(dim, heads, dropout=p, batch_first=True)
        self.mem = NeuralMemory(dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.gate = nn.Parameter(torch.zeros(dim))
        self.mlp = nn.Sequential(nn.Linear(dim, ff), nn.GELU(), nn.Linear(ff, dim), nn.Dropout(p))

    def forward(self, x):
        T = x.size(1)
        t = torch.arange(T)
        hide = (t[None] > t[:, None]) | (t[:, None] - t[None] >= self.window)
        y = self.norms[0](x)
        a = self.attn(y, y, y, attn_mask=hide, need_weights=False)[0]
        g = torch.sigmoid(self.gate)
        x = x + a * g + self.mem(y) * (1 - g)
        return x + self.mlp(self.norms[1](x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.out = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size))

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for layer in self.layers:
            x = layer(x)
        return self.out(x)
