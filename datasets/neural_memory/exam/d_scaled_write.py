import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.to_k, self.to_v, self.to_q = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        self.decay = nn.Parameter(torch.tensor(1.0))
        self.surprise = nn.Linear(1, 1)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x):
        k, v, q = F.normalize(self.to_k(x), dim=-1), self.to_v(x), F.normalize(self.to_q(x), dim=-1)
        lam = torch.sigmoid(self.decay)
        M = torch.zeros(x.shape[0], self.d, self.d)
        out = []
        for i in range(x.shape[1]):
            gap = (v[:, i] - torch.einsum("bvk,bk->bv", M, k[:, i])).norm(dim=-1, keepdim=True)
            s = self.surprise(gap).sigmoid()
            M = M + (1 - lam) * torch.einsum("bv,bk->bvk", s * v[:, i], k[:, i])
            out += [torch.einsum("bvk,bk->bv", lam * M, q[:, i])]
        return self.norm(torch.stack(out, dim=1))


def band(T, window):
    return torch.ones(T, T, dtype=torch.bool).tril().logical_and(torch.ones(T, T, dtype=torch.bool).triu(1 - window))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.memory = NeuralMemory(d_model)
        self.lam = nn.Parameter(torch.zeros(d_model))
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        h = self.ln1(x)
        B, T, D = h.shape
        q, k, v = (w(h).view(B, T, self.n_heads, -1).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        p = self.dropout if self.training else 0.0
        a = F.scaled_dot_product_attention(q, k, v, band(T, self.window), p).transpose(1, 2).reshape(B, T, D)
        a = self.wo(a)
        g = torch.sigmoid(self.lam)
        x = x + g * a + (1 - g) * self.memory(h)
        return x + self.ff(self.ln2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.drop(self.wte(input_ids) + self.wpe(torch.arange(input_ids.shape[1])))
        for b in self.blocks:
            x = b(x)
        return self.head(x)
