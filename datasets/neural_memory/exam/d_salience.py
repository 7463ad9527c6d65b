import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem=None):
        super().__init__()
        self.d_mem = d_mem or d_model
        self.q, self.k, self.v = (nn.Linear(d_model, self.d_mem) for _ in range(3))
        self.surprise = nn.Sequential(nn.Linear(d_model, d_model), nn.GELU(), nn.Linear(d_model, 1), nn.Sigmoid())
        self.forget = nn.Sequential(nn.Linear(d_model, 1), nn.Sigmoid())
        self.out = nn.Linear(self.d_mem, d_model)
        nn.init.constant_(self.forget[0].bias, 3.0)

    def forward(self, x):
        B, T, _ = x.shape
        q, k, v = F.elu(self.q(x)) + 1, F.elu(self.k(x)) + 1, self.v(x)
        q, k = q / q.sum(-1, keepdim=True), k / k.sum(-1, keepdim=True)
        surprise, forget = self.surprise(x), self.forget(x)
        M = torch.zeros(B, self.d_mem, self.d_mem)
        for t in range(T):
            retrieved = torch.einsum("bij,bj->bi", M, k[:, t])
            delta = v[:, t] - retrieved
            M = forget[:, t, :, None] * M + torch.einsum("bi,bj->bij", surprise[:, t] * delta, k[:, t])
            y = torch.einsum("bij,bj->bi", M, q[:, t]).unsqueeze(1)
            reads = y if t == 0 else torch.cat([reads, y], dim=1)
        return self.out(reads)


class Layer(nn.Module):
    def __init__(self, d, h, ff, window, p):
        super().__init__()
        self.window = window
        self.attention = nn.MultiheadAttention(d, h, dropout=p, batch_first=True)
        self.memory = NeuralMemory(d)
        self.attn_norm, self.mem_norm, self.ff_norm = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.gate = nn.Linear(d, 1)
        self.ff = nn.Sequential(nn.Linear(d, ff), nn.GELU(), nn.Linear(ff, d), nn.Dropout(p))

    def forward(self, x):
        t = torch.arange(x.size(1))
        gap = t[:, None] - t[None]
        a = self.attention(x, x, x, attn_mask=(gap < 0) | (gap >= self.window), need_weights=False)[0]
        a, m = self.attn_norm(x + a), self.mem_norm(self.memory(x))
        g = torch.sigmoid(self.gate(a + m))
        x = g * a + (1 - g) * m
        return self.ff_norm(x + self.ff(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.e, self.p = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.e(input_ids) + self.p(torch.arange(input_ids.size(1)))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)
