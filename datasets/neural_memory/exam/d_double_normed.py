import torch as th
import torch.nn as nn
import torch.nn.functional as F


class MemoryUpdate(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.raw_decay = nn.Parameter(th.full((d,), 2.2))
        self.rate = nn.Linear(1, 1)
        self.cap = nn.Parameter(th.tensor(4.0))

    def forward(self, M, k, v):
        hat = th.matmul(k.unsqueeze(1), M).squeeze(1)
        e = (v - hat).double().pow(2).mean(1, keepdim=True).sqrt().to(v.dtype)
        s = th.sigmoid(self.rate(e))
        M = self.raw_decay.sigmoid().unsqueeze(-1) * M + k.unsqueeze(2) * (s * v).unsqueeze(1)
        size = M.flatten(1).norm(dim=1).view(-1, 1, 1)
        limit = F.softplus(self.cap)
        return M * (limit / th.maximum(size, limit))


class NeuralMemory(nn.Module):
    """M (key, value) orientation: reading multiplies from the left."""

    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.k = nn.Sequential(nn.Linear(d_model, d_model), nn.LayerNorm(d_model))
        self.q = nn.Sequential(nn.Linear(d_model, d_model), nn.LayerNorm(d_model))
        self.v = nn.Linear(d_model, d_model)
        self.update = MemoryUpdate(d_model)
        self.start = nn.Parameter(th.eye(d_model) * 0.1)

    def forward(self, x):
        k, q, v = self.k(x) / self.d**0.5, self.q(x) / self.d**0.5, self.v(x)
        M, ys = self.start[None].expand(len(x), -1, -1), th.zeros_like(x)
        for t in range(x.shape[1]):
            M = self.update(M, k[:, t], v[:, t])
            y = th.matmul(q[:, t : t + 1], M)
            ys = ys.index_copy(1, th.tensor([t]), y)
        return ys


class Attn(nn.Module):
    def __init__(self, d, h, w, p):
        super().__init__()
        self.h, self.w, self.p = h, w, p
        self.i, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.qn, self.kn = nn.LayerNorm(d // h), nn.LayerNorm(d // h)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.i(x).view(b, n, self.h, 3, d // self.h).permute(3, 0, 2, 1, 4)
        r = th.arange(n)
        m = (r.unsqueeze(1) >= r) & (r.unsqueeze(1) - r < self.w)
        y = F.scaled_dot_product_attention(self.qn(q), self.kn(k), v, m, self.p if self.training else 0.0)
        return self.o(y.permute(0, 2, 1, 3).flatten(2))


class Layer(nn.Module):
    def __init__(self, d, h, ff, w, p):
        super().__init__()
        self.a, self.m = Attn(d, h, w, p), NeuralMemory(d)
        self.f = nn.Sequential(nn.Linear(d, ff), nn.GELU(), nn.Linear(ff, d), nn.Dropout(p))
        self.na, self.nm, self.nf = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.g = nn.Linear(d, 1)

    def forward(self, x):
        a = self.na(self.a(x))
        m = self.nm(self.m(x))
        logits = th.cat([self.g(x), th.zeros_like(x[..., :1])], dim=-1)
        p = logits.log_softmax(-1).exp()
        x = x + th.einsum("btc,btdc->btd", p, th.stack([m, a], dim=-1))
        return x + self.nf(self.f(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.e, self.p = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.l = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.u = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.e(input_ids) + self.p(th.arange(input_ids.shape[1]))
        for l in self.l:
            x = l(x)
        return self.u(x)
