import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, n_scales=2):
        super().__init__()
        self.d = d_model // n_scales
        self.n = n_scales
        self.proj = nn.Linear(d_model, 3 * n_scales * self.d)
        self.decay_logits = [torch.tensor(1.5 + i, requires_grad=True) for i in range(n_scales)]
        self.alarm = nn.ModuleList(nn.Linear(self.d, 1) for _ in range(n_scales))
        self.out = nn.Linear(n_scales * self.d, d_model)

    def scan(self, q, k, v, logit, alarm):
        M = q.new_zeros(q.size(0), self.d, self.d)
        keep = torch.sigmoid(logit)
        for t in range(q.size(1)):
            miss = v[:, t] - (M @ k[:, t].unsqueeze(-1)).squeeze(-1)
            s = torch.sigmoid(alarm(miss.abs()))
            M = keep * M + (s * v[:, t]).unsqueeze(-1) * k[:, t].unsqueeze(-2)
            yield (M @ q[:, t].unsqueeze(-1)).squeeze(-1)

    def forward(self, x):
        q, k, v = self.proj(x).unflatten(-1, (3, self.n, self.d)).unbind(2)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        per_scale = [
            torch.stack(list(self.scan(q[:, :, i], k[:, :, i], v[:, :, i], self.decay_logits[i], self.alarm[i])), 1)
            for i in range(self.n)
        ]
        return self.out(torch.cat(per_scale, -1))


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        d = torch.arange(T)[:, None] - torch.arange(T)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=(d >= 0) & (d < self.window), dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention, self.memory = Attention(d_model, n_heads, window, dropout), NeuralMemory(d_model)
        self.blend = nn.Linear(d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.n1(x)
        b = torch.sigmoid(self.blend(n))
        x = x + b * self.attention(n) + (1 - b) * self.memory(n)
        return x + self.ff(self.n2(x))


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
