import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """A full memory resists new writes: the write gate watches how much is already stored."""

    def __init__(self, d):
        super().__init__()
        self.d = d
        self.in_k, self.in_v, self.in_q = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.a = nn.Parameter(torch.tensor(-0.5))
        self.b = nn.Parameter(torch.tensor(1.0))
        self.w = nn.Linear(d, 1, bias=False)
        self.rho = nn.Parameter(torch.tensor(2.5))

    def forward(self, x):
        M = torch.zeros(x.shape[0], self.d, self.d)
        keep = torch.sigmoid(self.rho)
        k, q, v = F.normalize(self.in_k(x), dim=-1), F.normalize(self.in_q(x), dim=-1), self.in_v(x)
        wanted = self.w(x)
        ys = []
        for t in range(x.shape[1]):
            load = M.pow(2).sum((1, 2)).add(1e-8).sqrt().unsqueeze(-1)
            surprise = torch.sigmoid(self.a * load + self.b + wanted[:, t])
            M = torch.baddbmm(keep * M, (surprise * v[:, t]).unsqueeze(2), k[:, t].unsqueeze(1))
            ys.append(torch.bmm(M, q[:, t].unsqueeze(2)).squeeze(2))
        return torch.stack(ys, 1)


class Block(nn.Module):
    def __init__(self, d, heads, ff, window, p):
        super().__init__()
        self.window = window
        self.attn = nn.MultiheadAttention(d, heads, dropout=p, batch_first=True)
        self.mem = NeuralMemory(d)
        self.n = nn.ModuleList(nn.LayerNorm(d) for _ in range(3))
        self.g = nn.Linear(2 * d, d)
        self.ff = nn.Sequential(nn.Linear(d, ff), nn.GELU(), nn.Linear(ff, d), nn.Dropout(p))

    def forward(self, x):
        T = x.shape[1]
        keep = torch.ones(T, T).tril() * torch.ones(T, T).triu(1 - self.window)
        h = self.n[0](x)
        a = x + self.attn(h, h, h, attn_mask=keep == 0, need_weights=False)[0]
        m = self.mem(self.n[1](a))
        g = torch.sigmoid(self.g(torch.cat([a, m], dim=2)))
        y = a - g * a + g * m
        return y + self.ff(self.n[2](y))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
