import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem=10):
        super().__init__()
        self.d_mem = d_mem
        self.query = nn.Linear(d_model, d_mem)
        self.target = nn.Linear(d_model, d_mem)
        self.bind = nn.Sequential(nn.Linear(2 * d_mem, 2 * d_mem), nn.GELU(), nn.Linear(2 * d_mem, d_mem * d_mem))
        self.key = nn.Linear(d_model, d_mem)
        self.decay = nn.Parameter(torch.full((d_mem, d_mem), 2.0))
        self.surprise = nn.Linear(2 * d_mem, 1)
        self.out = nn.Linear(d_mem, d_model)

    def forward(self, x):
        B, T, _ = x.shape
        k, v, q = F.normalize(self.key(x), dim=-1), self.target(x), F.normalize(self.query(x), dim=-1)
        association = self.bind(torch.cat([k, v], -1)).view(B, T, self.d_mem, self.d_mem)
        M = x.new_zeros(B, self.d_mem, self.d_mem)
        keep = torch.sigmoid(self.decay)
        reads = []
        for t in range(T):
            guess = torch.bmm(M, k[:, t].unsqueeze(-1)).squeeze(-1)
            s = torch.sigmoid(self.surprise(torch.cat([guess, v[:, t]], -1)))
            M = keep * M + s.unsqueeze(-1) * association[:, t]
            reads.append(torch.bmm(M, q[:, t].unsqueeze(-1)).squeeze(-1))
        return self.out(torch.stack(reads, 1))


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        lag = torch.arange(T)[:, None] - torch.arange(T)
        mask = torch.where((lag >= 0) & (lag < self.window), 0.0, float("-inf"))
        y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.pre = nn.LayerNorm(d_model)
        self.attn, self.mem = Attention(d_model, n_heads, window, dropout), NeuralMemory(d_model)
        self.gate = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, d_model), nn.Sigmoid())
        self.ff = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        h = x + self.attn(self.pre(x))
        g = self.gate(h)
        h = g * h + (1 - g) * self.mem(h)
        return h + self.ff(h)


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.shape[1]))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
