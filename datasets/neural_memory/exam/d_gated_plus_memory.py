import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.k, self.v, self.q = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.s = nn.Linear(d_model, 1)
        self.decay = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        k, v, q = F.normalize(self.k(x), dim=-1), self.v(x), F.normalize(self.q(x), dim=-1)
        M, out = x.new_zeros(x.size(0), self.d, self.d), []
        for t in range(x.size(1)):
            e = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            M = torch.sigmoid(self.decay) * M + torch.einsum("bi,bj->bij", torch.sigmoid(self.s(e.abs())) * v[:, t], k[:, t])
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(out, 1)


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv, self.o = nn.Linear(d_model, 3 * d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        d = torch.arange(T)[:, None] - torch.arange(T)
        y = F.scaled_dot_product_attention(q, k, v, (d >= 0) & (d < self.window), self.dropout if self.training else 0.0)
        return self.o(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn, self.mem = Attention(d_model, n_heads, window, dropout), NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        h = self.n1(x)
        a, m = self.attn(h), self.mem(h)
        g = torch.sigmoid(self.gate(torch.cat([a, m], -1)))
        enriched = a + m
        x = x + g * a + (1 - g) * enriched
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.dropout(self.embedding(input_ids) + self.position(torch.arange(input_ids.shape[1])))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
