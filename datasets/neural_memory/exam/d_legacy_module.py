import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """First version: one additive matrix. Kept so that old checkpoints still load."""

    def __init__(self, d_model):
        super().__init__()
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)

    def forward(self, x):
        k, v = F.normalize(self.key(x), dim=-1), self.value(x)
        M = x.new_zeros(x.shape[0], x.shape[2], x.shape[2])
        out = []
        for t in range(x.shape[1]):
            out.append(torch.einsum("bij,bj->bi", M, k[:, t]))
            M = M + torch.einsum("bi,bj->bij", v[:, t], k[:, t])
        return torch.stack(out, 1)


class SurpriseMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.kvq = nn.Linear(d_model, 3 * d_model)
        self.half_life = nn.Parameter(torch.tensor(10.0))
        self.score = nn.Linear(d_model, 1)

    def forward(self, x):
        k, v, q = self.kvq(x).chunk(3, dim=-1)
        k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
        keep = torch.pow(0.5, 1.0 / F.softplus(self.half_life))
        M = x.new_zeros(x.shape[0], self.d, self.d)
        out = []
        for t in range(x.shape[1]):
            e = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            M = keep * M + torch.sigmoid(self.score(e.abs()))[..., None] * torch.einsum("bi,bj->bij", v[:, t], k[:, t])
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(out, 1)


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.window = window
        self.core = nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True)

    def forward(self, x):
        T = x.shape[1]
        allowed = torch.tril(torch.ones(T, T)) - torch.tril(torch.ones(T, T), -self.window)
        return self.core(x, x, x, attn_mask=allowed == 0, need_weights=False)[0]


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout, memory_cls=SurpriseMemory):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads, window, dropout)
        self.memory = memory_cls(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.n1(x)
        a, m = self.attention(n), self.memory(n)
        g = self.gate(torch.cat([a, m], dim=-1)).sigmoid()
        x = x + torch.lerp(m, a, g)
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
