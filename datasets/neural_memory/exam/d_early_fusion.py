import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.d = d
        self.proj = nn.Linear(d, 3 * d + 1)
        self.critic = nn.Linear(d, 1, bias=False)

    def forward(self, x):
        k, v, q, f = self.proj(x).split([self.d, self.d, self.d, 1], dim=-1)
        k, q, keep = F.normalize(k, dim=-1), F.normalize(q, dim=-1), torch.sigmoid(f + 3)
        M = x.new_zeros(x.size(0), self.d, self.d)
        ys = []
        for t in range(x.size(1)):
            r = torch.einsum("bij,bj->bi", M, k[:, t])
            s = torch.sigmoid(self.critic((v[:, t] - r) ** 2))
            M = keep[:, t, :, None] * M + (s * v[:, t]).unsqueeze(-1) * k[:, t].unsqueeze(-2)
            ys.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(ys, 1)


class Block(nn.Module):
    def __init__(self, d, heads, ff, window, p):
        super().__init__()
        self.window = window
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, heads, dropout=p, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(d, ff), nn.GELU(), nn.Linear(ff, d), nn.Dropout(p))

    def forward(self, x):
        T = x.size(1)
        m = torch.full((T, T), float("-inf")).triu(1) + torch.full((T, T), float("-inf")).tril(-self.window)
        n = self.n1(x)
        x = x + self.attn(n, n, n, attn_mask=m, need_weights=False)[0]
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.memory = NeuralMemory(d_model)
        self.norm_in = nn.LayerNorm(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.size(1)))
        recalled = self.memory(self.norm_in(x))
        g = torch.sigmoid(self.gate(torch.cat([x, recalled], dim=-1)))
        x = g * x + (1 - g) * recalled
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
