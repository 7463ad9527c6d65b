import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Fast weights: the inner update is online learning and is not differentiated through."""

    def __init__(self, d_model):
        super().__init__()
        self.d_model = d_model
        self.k_proj, self.v_proj, self.q_proj = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        self.decay_logit = nn.Parameter(torch.tensor(3.0))
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.o_proj = nn.Linear(d_model, d_model)

    @torch.no_grad()
    def write(self, M, k, v):
        err = v - torch.einsum("bij,bj->bi", M, k)
        s = torch.sigmoid(self.gain * err.norm(dim=-1) + self.bias)
        M = torch.sigmoid(self.decay_logit) * M
        return M + s[:, None, None] * v[:, :, None] * k[:, None, :]

    def forward(self, x):
        k = F.normalize(self.k_proj(x), dim=-1)
        q = F.normalize(self.q_proj(x), dim=-1)
        v = self.v_proj(x)
        M = x.new_zeros(x.size(0), self.d_model, self.d_model)
        reads = []
        for t in range(x.size(1)):
            M = self.write(M, k[:, t], v[:, t])
            reads.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.o_proj(torch.stack(reads, 1))


class LocalAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.h, self.window, self.dropout = n_heads, window, nn.Dropout(dropout)
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (p(x).reshape(B, T, self.h, D // self.h).permute(0, 2, 1, 3) for p in (self.q, self.k, self.v))
        s = q @ k.permute(0, 1, 3, 2) / (D // self.h) ** 0.5
        ok = torch.ones(T, T).tril() - torch.ones(T, T).tril(-self.window)
        p = self.dropout(s.masked_fill(ok == 0, -1e9).softmax(-1))
        return self.o((p @ v).permute(0, 2, 1, 3).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.ln = nn.ModuleList([nn.LayerNorm(d_model), nn.LayerNorm(d_model)])
        self.attention = LocalAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.fusion = nn.Linear(d_model * 2, 1)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        h = self.ln[0](x)
        a, m = self.attention(h), self.memory(h)
        g = torch.sigmoid(self.fusion(torch.cat((a, m), -1)))
        x = x + g * a + (1 - g) * m
        return x + self.ffn(self.ln[1](x))


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
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
