import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int = 8):
        super().__init__()
        self.d_mem = d_mem
        self.Wk = nn.Parameter(torch.randn(d_model, d_mem) / d_model**0.5)
        self.Wv = nn.Parameter(torch.randn(d_model, d_mem) / d_model**0.5)
        self.Wq = nn.Parameter(torch.randn(d_model, d_mem) / d_model**0.5)
        self.Wo = nn.Parameter(torch.randn(d_mem, d_model) / d_mem**0.5)
        self.row_decay = nn.Parameter(torch.linspace(1.0, 4.0, d_mem))
        self.gain = nn.Parameter(torch.ones(d_mem))
        self.threshold = nn.Parameter(torch.full((d_mem,), -0.5))

    def forward(self, x):
        B, T, _ = x.shape
        k = F.normalize(x @ self.Wk, dim=-1)
        v = x @ self.Wv
        q = F.normalize(x @ self.Wq, dim=-1)
        M = torch.zeros(B, self.d_mem, self.d_mem)
        result = torch.zeros(B, T, self.d_mem)
        lam = torch.sigmoid(self.row_decay)
        for t in range(T):
            k_t = k[:, t]
            old = M
            M = old.clone()
            for i in range(self.d_mem):
                e = v[:, t, i] - (old[:, i] * k_t).sum(-1)
                s = torch.sigmoid(self.gain[i] * e.abs() + self.threshold[i])
                M[:, i] = lam[i] * old[:, i] + (s * v[:, t, i]).unsqueeze(-1) * k_t
            result[:, t] = torch.einsum("bij,bj->bi", M, q[:, t])
        return result @ self.Wo


class LocalAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window = n_heads, window
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, D = x.shape
        hd = D // self.n_heads
        q = self.q(x).view(B, T, self.n_heads, hd)
        k = self.k(x).view(B, T, self.n_heads, hd)
        v = self.v(x).view(B, T, self.n_heads, hd)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / hd**0.5
        causal = torch.full((T, T), float("-inf")).triu(1)
        far = torch.full((T, T), float("-inf")).tril(-self.window)
        probs = self.drop(torch.softmax(scores + causal + far, dim=-1))
        return self.o(torch.einsum("bhqk,bkhd->bqhd", probs, v).reshape(B, T, D))


class TransformerBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.attn = LocalAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.gate_norm = nn.LayerNorm(2 * d_model)
        self.gate = nn.Linear(2 * d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.norm1(x)
        a = self.attn(n)
        m = self.memory(n)
        g = self.gate(self.gate_norm(torch.cat([n, a], dim=-1))).sigmoid()
        x = x + (g * (a - m) + m)
        return x + self.ff(self.norm2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size: int = 256, d_model: int = 64, n_heads: int = 4, n_layers: int = 2,
                 d_ff: int = 256, max_seq_len: int = 512, attention_window: int = 32, dropout: float = 0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            [TransformerBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)]
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        T = input_ids.shape[1]
        x = self.dropout(self.embedding(input_ids) + self.position(torch.arange(T)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
