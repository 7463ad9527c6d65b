import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Chunks keep Python overhead of projections low; inside a chunk tokens are written one by one."""

    def __init__(self, d_model, n_mem_heads=2, d_mem=6, chunk=4):
        super().__init__()
        self.h, self.d, self.chunk = n_mem_heads, d_mem, chunk
        inner = n_mem_heads * d_mem
        self.norm = nn.LayerNorm(d_model)
        self.q, self.k, self.v = (nn.Linear(d_model, inner, bias=False) for _ in range(3))
        self.controls = nn.Linear(d_model, 2 * n_mem_heads)
        self.err_w = nn.Parameter(torch.ones(n_mem_heads))
        self.o = nn.Linear(inner, d_model, bias=False)
        with torch.no_grad():
            self.controls.bias[n_mem_heads:].fill_(3.0)

    def forward(self, x):
        B, T, _ = x.shape
        pad = -T % self.chunk
        live = F.pad(torch.ones(T), (0, pad))
        x = F.pad(self.norm(x), (0, 0, 0, pad))
        M = x.new_zeros(B, self.h, self.d, self.d)
        outs = []
        for start in range(0, T + pad, self.chunk):
            piece = x[:, start : start + self.chunk]
            q, k, v = (f(piece).unflatten(-1, (self.h, self.d)) for f in (self.q, self.k, self.v))
            k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
            bias, keep = self.controls(piece).chunk(2, dim=-1)
            keep = torch.sigmoid(keep)
            for i in range(self.chunk):
                if live[start + i] == 0:
                    break
                ki, vi = k[:, i], v[:, i]
                err = vi - (M * ki.unsqueeze(-2)).sum(-1)
                s = torch.sigmoid(self.err_w * F.softplus(err.norm(dim=-1)) + bias[:, i])
                M = keep[:, i, :, None, None] * M
                M = M + s[..., None, None] * (vi.unsqueeze(-1) @ ki.unsqueeze(-2))
                outs.append((M @ q[:, i].unsqueeze(-1)).flatten(1))
        return self.o(torch.stack(outs, dim=1))


class BandedAttention(nn.Module):
    def __init__(self, d_model, n_heads, attention_window, dropout):
        super().__init__()
        self.n_heads, self.w, self.dropout = n_heads, attention_window, dropout
        self.in_w = nn.Parameter(torch.empty(3, n_heads, d_model, d_model // n_heads))
        self.out_w = nn.Parameter(torch.empty(n_heads, d_model // n_heads, d_model))
        nn.init.normal_(self.in_w, std=d_model**-0.5)
        nn.init.normal_(self.out_w, std=d_model**-0.5)

    def forward(self, x):
        q, k, v = torch.einsum("btd,chde->cbhte", x, self.in_w)
        T = x.size(1)
        ids = torch.arange(T)
        diff = ids[:, None] - ids[None]
        mask = (diff.ge(0) & diff.lt(self.w)).log()
        p = (torch.einsum("bhqe,bhke->bhqk", q, k) * q.size(-1) ** -0.5 + mask).softmax(-1)
        p = F.dropout(p, self.dropout, self.training)
        return torch.einsum("bhqk,bhke,hed->bqd", p, v, self.out_w)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, attention_window, dropout):
        super().__init__()
        self.pre = nn.LayerNorm(d_model)
        self.attention = BandedAttention(d_model, n_heads, attention_window, dropout)
        self.memory = NeuralMemory(d_model)
        self.router = nn.Linear(2 * d_model, 2)
        self.post = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.Mish(), nn.Linear(d_ff, d_model))

    def forward(self, x):
        a, m = self.attention(self.pre(x)), self.memory(x)
        w = F.softmax(self.router(torch.cat([a, m], -1)), -1)
        x = x + w[..., 0:1] * a + w[..., 1:2] * m
        return x + self.ffn(self.post(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256, max_seq_len=512,
                 attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Parameter(0.02 * torch.randn(1, max_seq_len, d_model))
        self.blocks = nn.Sequential(*(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)))
        self.head = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size))

    def forward(self, input_ids):
        return (self.head(self.blocks(self.emb(input_ids) + self.pos[:, : input_ids.size(1)])),)
