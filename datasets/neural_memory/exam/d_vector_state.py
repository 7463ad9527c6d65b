import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Keeps a key-gated trace vector per sequence."""

    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.k, self.v, self.q = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.surprise_gate = nn.Linear(d_model, d_model)
        self.decay = nn.Parameter(torch.full((d_model,), 2.0))

    def forward(self, x):
        m = x.new_zeros(x.size(0), self.d)
        lam = torch.sigmoid(self.decay)
        reads = []
        for t in range(x.size(1)):
            k, v, q = self.k(x[:, t]), self.v(x[:, t]), self.q(x[:, t])
            predicted = m * k.sigmoid()
            surprise = torch.sigmoid(self.surprise_gate((v - predicted).abs()))
            m = lam * m + surprise * v * k.sigmoid()
            reads.append(m * q.sigmoid())
        return torch.stack(reads, 1)


class WindowedAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = [c.view(B, T, self.n_heads, -1).transpose(1, 2) for c in self.qkv(x).chunk(3, -1)]
        i = torch.arange(T)
        vis = (i[:, None] >= i) & (i[:, None] - i < self.window)
        y = F.scaled_dot_product_attention(q, k, v, vis, self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = WindowedAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(d_model, 1)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.ln1(x)
        g = torch.sigmoid(self.gate(n))
        x = x + (1 - g) * self.attn(n) + g * self.memory(n)
        return x + self.ff(self.ln2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.tok(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
