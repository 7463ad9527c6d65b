import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Stores a token only when the relative error crosses a threshold."""

    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.k, self.v, self.q = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.threshold = nn.Parameter(torch.tensor(0.45))
        self.decay = nn.Parameter(torch.zeros(d_model) + 3)
        self.strength = nn.Linear(d_model, 1)

    def forward(self, x):
        k, v, q = F.normalize(self.k(x), dim=-1), self.v(x), F.normalize(self.q(x), dim=-1)
        strength = torch.sigmoid(self.strength(x))
        M = x.new_zeros(x.size(0), self.d, self.d)
        lam = torch.sigmoid(self.decay)
        out = []
        for t in range(x.size(1)):
            error = (v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])).norm(dim=-1, keepdim=True)
            relative = error / (error + v[:, t].norm(dim=-1, keepdim=True))
            write = torch.where(relative > self.threshold.sigmoid() * 0.8, strength[:, t], torch.zeros_like(error))
            M = lam[None, None] * M + (write * v[:, t]).unsqueeze(-1) * k[:, t].unsqueeze(1)
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(out, 1)


class LocalAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv, self.o = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        i = torch.arange(T)
        near = (i[:, None] >= i) & (i[:, None] - i < self.window)
        y = F.scaled_dot_product_attention(q, k, v, near, self.dropout if self.training else 0.0)
        return self.o(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn, self.mem = LocalAttention(d_model, n_heads, window, dropout), NeuralMemory(d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.n1(x)
        a, m = self.attn(n), self.mem(n)
        g = torch.sigmoid(self.gate(a))
        x = x + (g * m + (1 - g) * a)
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
