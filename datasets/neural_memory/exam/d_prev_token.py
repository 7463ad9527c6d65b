import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Writes more when the token departs from the one before it."""

    def __init__(self, d_model, d_mem=None):
        super().__init__()
        d_mem = d_mem or d_model
        self.d_mem = d_mem
        self.key, self.value, self.query = (nn.Linear(d_model, d_mem) for _ in range(3))
        self.surprise = nn.Sequential(nn.Linear(d_model, d_mem), nn.GELU(), nn.Linear(d_mem, 1))
        self.decay = nn.Parameter(torch.tensor(3.0))
        self.out = nn.Linear(d_mem, d_model)

    def forward(self, x):
        B, T, _ = x.shape
        expected = F.pad(x, (0, 0, 1, 0))[:, :-1]
        s = torch.sigmoid(self.surprise((x - expected).abs()))
        k, v, q = F.normalize(self.key(x), dim=-1), self.value(x), F.normalize(self.query(x), dim=-1)
        M = x.new_zeros(B, self.d_mem, self.d_mem)
        lam = torch.sigmoid(self.decay)
        reads = []
        for t in range(T):
            M = lam * M + s[:, t, :, None] * v[:, t, :, None] * k[:, t, None, :]
            reads.append((M @ q[:, t, :, None]).squeeze(-1))
        return self.out(torch.stack(reads, 1))


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.attn = nn.MultiheadAttention(d_model, n_heads, dropout, batch_first=True)
        self.window = window

    def forward(self, x):
        T = x.size(1)
        hidden = ~torch.ones(T, T, dtype=torch.bool).tril().triu(1 - self.window)
        return self.attn(x, x, x, attn_mask=hidden, need_weights=False)[0]


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = Attention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.ln1(x)
        a, m = self.attn(n), self.memory(n)
        g = torch.sigmoid(self.gate(torch.cat([a, m], -1)))
        x = x + g * a + (1 - g) * m
        return x + self.ff(self.ln2(x))


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
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
