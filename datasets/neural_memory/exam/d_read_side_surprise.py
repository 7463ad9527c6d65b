import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.k, self.v, self.q = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.beta = nn.Parameter(torch.tensor(1.0))
        self.theta = nn.Parameter(torch.tensor(0.5))
        self.forget = nn.Linear(d_model, 1)

    def forward(self, x):
        T, M = x.shape[1], x.new_zeros(x.shape[0], self.d, self.d)
        k, q = F.normalize(self.k(x), dim=-1), F.normalize(self.q(x), dim=-1)
        v = self.v(x)
        f = torch.sigmoid(self.forget(x) + 3)
        out = []
        for t in range(T):
            err = (v[:, t] - torch.bmm(M, k[:, t, :, None])[..., 0]).pow(2).mean(-1, keepdim=True)
            surprise = torch.sigmoid(self.beta * (err - self.theta))
            M = f[:, t, :, None] * M + torch.bmm(v[:, t, :, None], k[:, t, None, :])
            out.append(surprise * torch.bmm(M, q[:, t, :, None])[..., 0])
        return torch.stack(out, 1)


class LocalAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv, self.o = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, self.n_heads, -1).transpose(1, 2).chunk(3, -1)
        r = torch.arange(T)[:, None] - torch.arange(T)[None]
        bias = torch.zeros(T, T).masked_fill((r < 0) | (r >= self.window), float("-inf"))
        y = F.scaled_dot_product_attention(q, k, v, bias, self.dropout if self.training else 0.0)
        return self.o(y.transpose(1, 2).reshape(B, T, D))


class TransformerBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = LocalAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.g = nn.Linear(2 * d_model, 2)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        h = self.norm1(x)
        pair = torch.stack([self.attention(h), self.memory(h)], 2)
        w = self.g(pair.flatten(2)).softmax(-1).unsqueeze(-1)
        x = x + (pair * w).sum(2)
        return x + self.ffn(self.norm2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(TransformerBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.size(1), device=input_ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
