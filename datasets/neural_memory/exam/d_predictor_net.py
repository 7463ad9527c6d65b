import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """A small forward model guesses each token's value from the previous one; bad guesses are stored."""

    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.k, self.v, self.q = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.forward_model = nn.GRU(d_model, d_model, batch_first=True)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(-1.0))
        self.decay = nn.Parameter(torch.full((d_model,), 2.5))

    def forward(self, x):
        k, v, q = F.normalize(self.k(x), dim=-1), self.v(x), F.normalize(self.q(x), dim=-1)
        shifted = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
        prediction, _ = self.forward_model(shifted)
        prediction_error = (v - prediction).norm(dim=-1, keepdim=True)
        surprise = torch.sigmoid(self.scale * prediction_error + self.shift)
        M, lam, out = x.new_zeros(x.size(0), self.d, self.d), torch.sigmoid(self.decay), []
        for t in range(x.size(1)):
            M = lam[:, None] * M + torch.einsum("bi,bj->bij", surprise[:, t] * v[:, t], k[:, t])
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(out, 1)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.window = window
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True)
        self.mem, self.gate = NeuralMemory(d_model), nn.Linear(2 * d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        i = torch.arange(x.size(1))
        gap = i[:, None] - i
        n = self.n1(x)
        a, _ = self.attn(n, n, n, attn_mask=(gap < 0) | (gap >= self.window), need_weights=False)
        m = self.mem(n)
        g = torch.sigmoid(self.gate(torch.cat([n, m], -1)))
        x = x + g * a + (1 - g) * m
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
