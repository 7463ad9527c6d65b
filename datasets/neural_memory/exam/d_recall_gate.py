import torch
from torch import nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, n_heads: int, d_model: int):
        super().__init__()
        self.n_heads = n_heads
        self.proj_in = nn.Linear(d_model, 3 * d_model)
        self.surprise_gate = nn.Linear(d_model // n_heads, 1)
        self.decay_rates = nn.Parameter(torch.linspace(1, 4, n_heads))
        self.proj_out = nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.proj_in(x).view(B, T, 3, self.n_heads, -1).unbind(2)
        q, k = q.softmax(-1), k.softmax(-1)
        lam = self.decay_rates.sigmoid().view(1, -1, 1, 1)
        M = torch.zeros(B, self.n_heads, D // self.n_heads, D // self.n_heads, device=x.device)
        ys = []
        for t in range(T):
            prediction = torch.einsum("bhij,bhj->bhi", M, k[:, t])
            surprise = torch.sigmoid(self.surprise_gate(prediction))
            M = lam * M + torch.einsum("bhi,bhj->bhij", surprise * v[:, t], k[:, t])
            ys.append(torch.einsum("bhij,bhj->bhi", M, q[:, t]))
        return self.proj_out(torch.stack(ys, 1).reshape(B, T, D))


class Layer(nn.Module):
    def __init__(self, d, h, ff, w, p):
        super().__init__()
        self.h, self.w, self.p = h, w, p
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(3))
        self.qkv, self.proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.memory = NeuralMemory(h, d)
        self.alpha = nn.Parameter(torch.zeros(1))
        self.fc = nn.Sequential(nn.Linear(d, ff), nn.ReLU(), nn.Linear(ff, d), nn.Dropout(p))

    def forward(self, x, mask):
        B, T, D = x.shape
        z = self.norms[0](x)
        q, k, v = (t.view(B, T, self.h, -1).transpose(1, 2) for t in self.qkv(z).chunk(3, dim=-1))
        a = F.scaled_dot_product_attention(q, k, v, mask, self.p if self.training else 0.0)
        a = self.proj(a.transpose(1, 2).reshape(B, T, D))
        m = self.memory(self.norms[1](a))
        x = x + torch.lerp(a, m, torch.sigmoid(self.alpha))
        return x + self.fc(self.norms[2](x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.window = attention_window
        self.tok, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList([Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.out = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size))

    def forward(self, input_ids):
        t = torch.arange(input_ids.size(1))
        gap = t[:, None] - t[None, :]
        mask = (gap >= 0) & (gap < self.window)
        x = self.tok(input_ids) + self.pos(t)
        for layer in self.layers:
            x = layer(x, mask)
        return self.out(x)
