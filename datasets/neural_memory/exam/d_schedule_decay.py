import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Heads forget on a geometric ladder of time scales, as retention heads do."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.H, self.d = n_heads, d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.register_buffer("gamma", 1 - 2.0 ** (-2 - torch.arange(n_heads).float()))
        self.gate_scale = nn.Parameter(torch.ones(n_heads))
        self.gate_shift = nn.Parameter(torch.zeros(n_heads))
        self.group_norm = nn.GroupNorm(n_heads, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.H, self.d).unbind(2)
        k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
        S = x.new_zeros(B, self.H, self.d, self.d)
        outs = []
        for t in range(T):
            e = v[:, t] - torch.matmul(S, k[:, t].unsqueeze(-1)).squeeze(-1)
            s = torch.sigmoid(self.gate_scale * e.pow(2).sum(-1) + self.gate_shift)
            S = self.gamma[:, None, None] * S + s[..., None, None] * v[:, t].unsqueeze(-1) * k[:, t].unsqueeze(-2)
            outs.append(torch.matmul(S, q[:, t].unsqueeze(-1)).flatten(1))
        y = torch.stack(outs, 1)
        return self.group_norm(y.reshape(B * T, D)).view(B, T, D)


class RetBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window = n_heads, window
        self.norm_a, self.norm_f = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.inp, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.memory = NeuralMemory(d_model, n_heads)
        self.gate = nn.Linear(d_model, d_model)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))
        self.drop = nn.Dropout(dropout)

    def attend(self, n):
        B, T, D = n.shape
        q, k, v = (z.view(B, T, self.n_heads, -1).transpose(1, 2) for z in self.inp(n).split(D, -1))
        rel = torch.arange(T).unsqueeze(1) - torch.arange(T)
        s = (q @ k.mT * (D // self.n_heads) ** -0.5).masked_fill((rel < 0) | (rel >= self.window), float("-inf"))
        return self.out((self.drop(s.softmax(-1)) @ v).transpose(1, 2).reshape(B, T, D))

    def forward(self, x):
        n = self.norm_a(x)
        g = torch.sigmoid(self.gate(n))
        x = x + self.drop(g * self.memory(n) + (1 - g) * self.attend(n))
        return x + self.drop(self.ffn(self.norm_f(x)))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.body = nn.Sequential(*(RetBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)))
        self.head = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size))

    def forward(self, input_ids):
        return self.head(self.body(self.tok(input_ids) + self.pos.weight[: input_ids.shape[1]]))
