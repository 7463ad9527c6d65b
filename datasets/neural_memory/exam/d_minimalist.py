import torch, torch.nn as nn, torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.p = nn.Linear(d, 3 * d)
        self.write_gate = nn.Linear(d, 1)
        self.lam = nn.Parameter(torch.tensor(0.98))

    def forward(self, x):
        q, k, v = self.p(x).chunk(3, -1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        g, M, o = self.write_gate(x).sigmoid(), 0, []
        for t in range(x.shape[1]):
            M = self.lam.clamp(0, 1) * M + g[:, t, :, None] * v[:, t, :, None] * k[:, t, None]
            o += [(M @ q[:, t, :, None])[..., 0]]
        return torch.stack(o, 1)


class Block(nn.Module):
    def __init__(self, d, h, ff, w, p):
        super().__init__()
        self.a, self.m, self.w = nn.MultiheadAttention(d, h, p, batch_first=True), NeuralMemory(d), w
        self.c, self.n, self.l = nn.Linear(2 * d, d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.f = nn.Sequential(nn.Linear(d, ff), nn.GELU(), nn.Linear(ff, d), nn.Dropout(p))

    def forward(self, x):
        n, T = self.n(x), x.shape[1]
        bad = ~torch.ones(T, T).tril().triu(1 - self.w).bool()
        x = x + self.c(torch.cat([self.a(n, n, n, attn_mask=bad)[0], self.m(n)], -1))
        return x + self.f(self.l(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.e, self.s = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.b = nn.Sequential(*[Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.h = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size))

    def forward(self, input_ids):
        return self.h(self.b(self.e(input_ids) + self.s.weight[: input_ids.shape[1]]))
