import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Square slot store: row i is a slot, softmax weights over rows act as keys."""

    def __init__(self, d_model):
        super().__init__()
        n = d_model
        self.slots0 = nn.Parameter(torch.randn(n, n) * 0.02)
        self.locate = nn.Linear(d_model, n)
        self.lookup = nn.Linear(d_model, n)
        self.content = nn.Linear(d_model, n)
        self.erase = nn.Linear(d_model, n)
        nn.init.constant_(self.erase.bias, -3.0)
        self.novelty = nn.Sequential(nn.LayerNorm(n), nn.Linear(n, 1), nn.Sigmoid())

    def forward(self, x):
        address = self.locate(x).softmax(-1)
        lookup = self.lookup(x).softmax(-1)
        content = self.content(x)
        fade = torch.sigmoid(self.erase(x))
        S = self.slots0.unsqueeze(0).repeat(x.shape[0], 1, 1)
        out = []
        for a, c, f, r in zip(*[z.unbind(dim=1) for z in (address, content, fade, lookup)]):
            stored = torch.einsum("bn,bnd->bd", a, S)
            s = self.novelty(c - stored)
            S = S * (1 - f).unsqueeze(1) + s.unsqueeze(-1) * torch.einsum("bn,bd->bnd", a, c)
            out.append(torch.einsum("bn,bnd->bd", r, S))
        return torch.stack(out, dim=1)


class Mixer(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        assert d_model % n_heads == 0
        self.n_heads, self.window = n_heads, window
        self.qkv = nn.Conv1d(d_model, 3 * d_model, 1)
        self.out = nn.Conv1d(d_model, d_model, 1)
        self.slopes = nn.Parameter(torch.linspace(0.01, 0.5, n_heads).view(-1, 1, 1))
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x.mT).view(B, 3, self.n_heads, -1, T).unbind(1)
        i = torch.arange(T)
        d = i.unsqueeze(1) - i
        s = q.mT @ k / q.size(2) ** 0.5 - self.slopes * d.abs()
        s = s.masked_fill((d < 0) | (d >= self.window), float("-inf"))
        y = v @ self.drop(s.softmax(-1)).mT
        return self.out(y.reshape(B, D, T)).mT


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.mixer = Mixer(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.na, self.nm, self.nf = nn.LayerNorm(d_model), nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.lin = nn.Linear(d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.ELU(), nn.Dropout(dropout), nn.Linear(d_ff, d_model))

    def forward(self, x):
        a = self.na(x + self.mixer(x))
        m = self.nm(self.memory(x))
        g = torch.sigmoid(self.lin(x))
        y = torch.stack((a, m), -1) * torch.stack((g, 1 - g), -1)
        y = y.sum(-1)
        return self.nf(y + self.ff(y))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.max_seq_len = max_seq_len
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.classifier = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        if input_ids.size(1) > self.max_seq_len:
            raise ValueError("sequence too long")
        x = self.embedding(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.classifier(x)
