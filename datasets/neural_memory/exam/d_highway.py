import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem=14):
        super().__init__()
        self.d = d_mem
        self.read_in = nn.Linear(d_model, 3 * d_mem)
        self.err = nn.Linear(d_mem, d_mem)
        self.keep = nn.Parameter(torch.tensor([2.0]))
        self.write_out = nn.Linear(d_mem, d_model)

    def forward(self, x):
        k, v, q = torch.split(self.read_in(x), self.d, dim=-1)
        k, q = k.softmax(-1), q.softmax(-1)
        M = torch.zeros(x.size(0), self.d, self.d)
        decay = torch.sigmoid(self.keep)
        ys = []
        for t in range(x.size(1)):
            diff = v[:, t] - (M * k[:, t].unsqueeze(1)).sum(-1)
            s = torch.sigmoid(self.err(diff.pow(2)))
            M = decay * M + torch.einsum("bi,bj->bij", s * v[:, t], k[:, t])
            ys.append((M * q[:, t].unsqueeze(1)).sum(-1))
        return self.write_out(torch.stack(ys, dim=1))


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.drop = n_heads, window, nn.Dropout(dropout)
        self.qk, self.v, self.o = nn.Linear(d_model, 2 * d_model), nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        heads = lambda z: z.view(B, T, self.n_heads, -1).transpose(1, 2)
        q, k = self.qk(x).chunk(2, -1)
        s = heads(q) @ heads(k).mT / (D // self.n_heads) ** 0.5
        i = torch.arange(T)
        s = s.masked_fill((i > i[:, None]) | (i <= i[:, None] - self.window), float("-inf"))
        return self.o((self.drop(s.softmax(-1)) @ heads(self.v(x))).transpose(1, 2).reshape(B, T, D))


class HighwayBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.attn, self.memory = Attention(d_model, n_heads, window, dropout), NeuralMemory(d_model)
        self.carry = nn.Linear(d_model, d_model)
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.n1(x)
        g = torch.sigmoid(self.carry(n))
        x = g * self.attn(n) + (1 - g) * x + self.memory(n)
        return x + self.mlp(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(HighwayBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.head = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size))

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(x)
