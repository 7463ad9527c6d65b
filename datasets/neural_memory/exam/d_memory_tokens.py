import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.h, self.d = n_heads, d_model // n_heads
        self.w = nn.Linear(d_model, 3 * d_model)
        self.rate = nn.Parameter(torch.full((n_heads,), -2.0))
        self.gate = nn.ModuleList([nn.Linear(self.d, 1) for _ in range(n_heads)])

    def forward(self, x):
        B, T, D = x.shape
        heads = self.w(x).view(B, T, self.h, 3 * self.d)
        finished = []
        for h in range(self.h):
            k, v, q = heads[:, :, h].chunk(3, dim=-1)
            k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
            M = torch.zeros(B, self.d, self.d, device=x.device)
            keep = 1 - torch.sigmoid(self.rate[h])
            ys = []
            for t in range(T):
                miss = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
                s = torch.sigmoid(self.gate[h](miss ** 2))
                M = keep * M + torch.einsum("bi,bj->bij", s * v[:, t], k[:, t])
                ys.append(torch.einsum("bij,bj->bi", M, q[:, t]))
            finished.append(torch.stack(ys, 1))
        return torch.cat(finished, -1)


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        i = torch.arange(T)
        mask = (i[:, None] >= i) & (i[:, None] < i + self.window)
        y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return y.transpose(1, 2).reshape(B, T, D)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn, self.mem = Attention(d_model, n_heads, window, dropout), NeuralMemory(d_model, n_heads)
        self.combine = nn.Linear(2 * d_model, 2 * d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        h = self.n1(x)
        x = x + F.glu(self.combine(torch.cat([self.attn(h), self.mem(h)], dim=-1)), dim=-1)
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return torch.einsum("btd,vd->btv", self.norm(x), self.emb.weight)
