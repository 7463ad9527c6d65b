import functools

import torch
import torch.nn as nn
import torch.nn.functional as F


def traverse(step, state, items):
    """Thread `state` through `items` left to right by halving, so the call depth is log(n)."""
    if len(items) == 1:
        state, y = step(state, items[0])
        return state, [y]
    half = len(items) // 2
    state, left = traverse(step, state, items[:half])
    state, right = traverse(step, state, items[half:])
    return state, left + right


class NeuralMemory(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.proj = nn.Linear(dim, dim * 3, bias=False)
        self.compare = nn.Sequential(nn.Linear(2 * dim, dim), nn.SiLU(), nn.Linear(dim, 1))
        self.M0 = nn.Parameter(torch.zeros(dim, dim))
        self.leak = nn.Parameter(torch.full((dim, 1), -3.0))

    def _step(self, leak, M, item):
        k, v, q, x = item
        r = (M @ k.unsqueeze(-1)).squeeze(-1)
        s = self.compare(torch.cat([x, r], -1)).sigmoid().unsqueeze(-1)
        M = M - leak * M + s * torch.einsum("bi,bj->bij", v, k)
        return M, (M @ q.unsqueeze(-1)).squeeze(-1)

    def forward(self, x):
        k, v, q = self.proj(x).chunk(3, -1)
        k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
        items = list(zip(k.unbind(1), v.unbind(1), q.unbind(1), x.unbind(1)))
        step = functools.partial(self._step, torch.sigmoid(self.leak))
        _, ys = traverse(step, self.M0.expand(x.size(0), -1, -1), items)
        return torch.stack(ys, 1)


def window_mask(T, w):
    i = torch.arange(T)
    return ((i[:, None] - i) >= 0).logical_and((i[:, None] - i) < w)


class Attn(nn.Module):
    def __init__(self, dim, heads, p):
        super().__init__()
        self.heads, self.p = heads, p
        self.wqkv = nn.Linear(dim, dim * 3)
        self.wo = nn.Linear(dim, dim)

    def forward(self, x, mask):
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = map(split, self.wqkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.p * self.training)
        return self.wo(y.transpose(1, 2).flatten(2))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.window = attention_window
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.places = nn.Embedding(max_seq_len, d_model)
        self.memory = NeuralMemory(d_model)
        self.pre = nn.LayerNorm(d_model)
        self.attn = nn.ModuleList(Attn(d_model, n_heads, dropout) for _ in range(n_layers))
        self.n1 = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(n_layers))
        self.n2 = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(n_layers))
        self.ff = nn.ModuleList(
            nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))
            for _ in range(n_layers)
        )
        self.fuse = nn.Bilinear(d_model, d_model, 1)
        self.head = nn.Linear(d_model, vocab_size)
        self.last = nn.LayerNorm(d_model)

    def forward(self, input_ids):
        T = input_ids.size(1)
        x = self.tokens(input_ids) + self.places(torch.arange(T))
        recalled = self.memory(self.pre(x))
        mask = window_mask(T, self.window)
        for n1, attn, n2, ff in zip(self.n1, self.attn, self.n2, self.ff):
            x = x + attn(n1(x), mask)
            x = x + ff(n2(x))
        g = torch.sigmoid(self.fuse(x, recalled))
        return self.head(self.last((1.0 - g) * recalled + g * x))
