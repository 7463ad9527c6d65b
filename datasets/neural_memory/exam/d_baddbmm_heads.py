from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab_size: int
    d_model: int
    n_heads: int
    n_layers: int
    d_ff: int
    max_seq_len: int
    attention_window: int
    dropout: float

    @property
    def d_head(self):
        return self.d_model // self.n_heads


class NeuralMemory(nn.Module):
    """One d_head x d_head matrix per head; heads are folded in the batch axis."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        H, d = cfg.n_heads, cfg.d_head
        self.in_proj = nn.Linear(cfg.d_model, 3 * H * d)
        self.surprise_w = nn.Parameter(torch.randn(H, d) * 0.2)
        self.surprise_b = nn.Parameter(torch.zeros(H))
        self.forget = nn.Linear(cfg.d_model, H)
        nn.init.constant_(self.forget.bias, 3.0)

    def forward(self, x):
        B, T, _ = x.shape
        H, d = self.cfg.n_heads, self.cfg.d_head
        q, k, v = self.in_proj(x).view(B, T, 3, H, d).permute(2, 1, 0, 3, 4)
        k = F.normalize(F.elu(k) + 1, dim=-1)
        q = F.normalize(F.elu(q) + 1, dim=-1)
        keep = torch.sigmoid(self.forget(x)).permute(1, 0, 2)
        M = x.new_zeros(B * H, d, d)
        ys = []
        for qt, kt, vt, ft in zip(q, k, v, keep):
            kt_ = kt.reshape(B * H, 1, d)
            err = vt - torch.bmm(M, kt_.mT).view(B, H, d)
            beta = torch.sigmoid((err.pow(2) * self.surprise_w).sum(-1) + self.surprise_b)
            decayed = M * ft.reshape(B * H, 1, 1)
            M = torch.baddbmm(decayed, (beta.unsqueeze(-1) * err).reshape(B * H, d, 1), kt_)
            ys.append(torch.bmm(M, qt.reshape(B * H, d, 1)).view(B, H, d))
        return torch.stack(ys, dim=1)


class MemoryAttention(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.qkv = nn.Linear(cfg.d_model, 3 * cfg.d_model)
        self.memory = NeuralMemory(cfg)
        self.head_gate = nn.Parameter(torch.zeros(cfg.n_heads, 1))
        self.o = nn.Linear(cfg.n_heads * cfg.d_head, cfg.d_model)

    def forward(self, x, mask):
        B, T, _ = x.shape
        H, d = self.cfg.n_heads, self.cfg.d_head
        q, k, v = (t.view(B, T, H, d).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        p = self.cfg.dropout if self.training else 0.0
        local = F.scaled_dot_product_attention(q, k, v, mask, p).transpose(1, 2)
        recalled = self.memory(x)
        g = self.head_gate.sigmoid()
        return self.o((g * recalled + (1 - g) * local).flatten(2))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        c = Config(vocab_size, d_model, n_heads, n_layers, d_ff, max_seq_len, attention_window, dropout)
        self.cfg = c
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.mixers = nn.ModuleList(MemoryAttention(c) for _ in range(n_layers))
        self.ffs = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, d_ff), nn.GELU(),
                          nn.Linear(d_ff, d_model), nn.Dropout(dropout))
            for _ in range(n_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(n_layers + 1))

    def forward(self, input_ids):
        T = input_ids.shape[-1]
        idx = torch.arange(T, device=input_ids.device)
        mask = torch.ones(T, T, dtype=torch.bool, device=input_ids.device).tril()
        mask = mask.triu(1 - self.cfg.attention_window)
        x = self.emb(input_ids) + self.pos(idx)
        for norm, mixer, ff in zip(self.norms, self.mixers, self.ffs):
            x = x + mixer(norm(x), mask)
            x = x + ff(x)
        return F.linear(self.norms[-1](x), self.emb.weight)
