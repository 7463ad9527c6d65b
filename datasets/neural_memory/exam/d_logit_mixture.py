import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Associates each context vector with the token embedding that followed it."""

    def __init__(self, d_model):
        super().__init__()
        self.d_model = d_model
        self.context = nn.Linear(d_model, d_model)
        self.token = nn.Linear(d_model, d_model)
        self.register_buffer("start", torch.zeros(1, d_model))
        self.fade = nn.Parameter(torch.tensor(-3.0))
        self.surprise_w = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.temperature = nn.Parameter(torch.tensor(0.0))

    def forward(self, hidden, tokens):
        ctx = F.normalize(self.context(hidden), dim=-1)
        val = self.token(tokens)
        M = torch.zeros(hidden.size(0), self.d_model, self.d_model)
        previous = self.start.expand(hidden.size(0), -1)
        out = []
        for t in range(hidden.size(1)):
            recalled = torch.einsum("bij,bj->bi", M, previous)
            gap = 1 - F.cosine_similarity(recalled, val[:, t], dim=-1)
            s = torch.sigmoid(torch.exp(self.temperature) * (self.surprise_w[0] * gap + self.surprise_w[1]))
            M = M - torch.sigmoid(self.fade) * M
            M = M + torch.einsum("b,bi,bj->bij", s, val[:, t], previous)
            previous = ctx[:, t]
            out.append(torch.einsum("bij,bj->bi", M, previous))
        return torch.stack(out, 1)


class Block(nn.Module):
    def __init__(self, d, h, ff, w, p):
        super().__init__()
        self.h, self.w, self.p = h, w, p
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.ff = nn.Sequential(nn.Linear(d, ff), nn.GELU(), nn.Linear(ff, d), nn.Dropout(p))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(self.n1(x)).view(B, T, 3, self.h, -1).permute(2, 0, 3, 1, 4)
        i = torch.arange(T)
        ok = (i[:, None] >= i) & (i[:, None] - i < self.w)
        y = F.scaled_dot_product_attention(q, k, v, ok, self.p if self.training else 0.0)
        x = x + self.o(y.transpose(1, 2).reshape(B, T, D))
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.memory = NeuralMemory(d_model)
        self.local_head = nn.Linear(d_model, vocab_size)
        self.memory_head = nn.Linear(d_model, vocab_size)
        self.trust = nn.Linear(d_model, 1)

    def forward(self, input_ids):
        tokens = self.embedding(input_ids)
        x = tokens + self.position(torch.arange(input_ids.size(1)))
        for block in self.blocks:
            x = block(x)
        h = self.norm(x)
        recalled = self.memory(h, tokens)
        trust = torch.sigmoid(self.trust(h))
        return (1 - trust) * self.local_head(h) + trust * self.memory_head(recalled)
