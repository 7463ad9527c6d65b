import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class NeuralMemory(nn.Module):
    """Delta-rule memory with momentum and a surprise-controlled learning rate."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.k, self.v, self.q = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.retain = nn.Parameter(torch.full((dim,), 3.0))
        self.inertia = nn.Parameter(torch.tensor(-1.0))
        self.lr = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = F.normalize(self.k(x), dim=-1), F.normalize(self.q(x), dim=-1), self.v(x)
        M = torch.zeros(x.size(0), self.dim, self.dim)
        S = torch.zeros_like(M)
        out = []
        for t in range(x.size(1)):
            r = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            features = torch.stack([r.norm(dim=-1), r.abs().amax(dim=-1)], dim=-1)
            s = torch.sigmoid(self.lr(features))
            S = torch.sigmoid(self.inertia) * S + torch.einsum("bi,bj->bij", s * r, k[:, t])
            M = torch.sigmoid(self.retain)[:, None] * M + S
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(out, 1)


class SlidingAttention(nn.Module):
    def __init__(self, dim: int, heads: int, window: int, p: float) -> None:
        super().__init__()
        self.heads, self.window, self.p = heads, window, p
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
        pos = torch.arange(T)
        mask = (pos[:, None] >= pos) & (pos[:, None] - pos < self.window)
        return self.o(F.scaled_dot_product_attention(q, k, v, mask, self.p if self.training else 0.0).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, ff: int, window: int, p: float) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mem = SlidingAttention(dim, heads, window, p), NeuralMemory(dim)
        self.gate = nn.Linear(2 * dim, dim)
        self.ff = nn.Sequential(nn.Linear(dim, ff), nn.GELU(), nn.Linear(ff, dim), nn.Dropout(p))

    def forward(self, x: Tensor) -> Tensor:
        h = self.n1(x)
        a, m = self.attn(h), self.mem(h)
        g = torch.sigmoid(self.gate(torch.cat([a, m], -1)))
        x = x + g.sqrt() * a + (1 - g).sqrt() * m
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size: int = 256, d_model: int = 64, n_heads: int = 4, n_layers: int = 2, d_ff: int = 256,
                 max_seq_len: int = 512, attention_window: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tok(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
