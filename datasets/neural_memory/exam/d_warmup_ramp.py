import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.k, self.v, self.q = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        self.surprise = nn.Linear(d_model, d_model)
        self.decay = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        k, v, q = F.normalize(self.k(x), dim=-1), self.v(x), F.normalize(self.q(x), dim=-1)
        M, out = x.new_zeros(x.size(0), self.d, self.d), []
        for t in range(x.size(1)):
            e = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            M = torch.sigmoid(self.decay) * M + torch.einsum("bi,bj->bij", torch.sigmoid(self.surprise(e * e)) * v[:, t], k[:, t])
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(out, 1)


class Block(nn.Module):
    """The memory path is ramped in by `ramp`, raised by the trainer from 0 to 1."""

    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.o = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.memory, self.gate = NeuralMemory(d_model), nn.Linear(d_model, d_model)
        self.register_buffer("ramp", torch.zeros(()))
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        h = self.n1(x)
        B, T, D = h.shape
        q, k, v = self.qkv(h).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        i = torch.arange(T)
        vis = (i[:, None] >= i) & (i[:, None] - i < self.window)
        a = F.scaled_dot_product_attention(q, k, v, vis, self.dropout if self.training else 0.0)
        a = self.o(a.transpose(1, 2).reshape(B, T, D))
        g = 1 - self.ramp * (1 - torch.sigmoid(self.gate(h)))
        x = x + g * a + (1 - g) * self.memory(h)
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
