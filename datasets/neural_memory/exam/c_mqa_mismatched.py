import math
import torch
import torch.nn as nn
import torch.nn.functional as F

class MultiQueryAttention(nn.Module):
    """Every head has its own queries; one key and one value head serve them all."""

    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float):
        super().__init__()
        self.n_heads, self.dh, self.window, self.dropout = n_heads, d_model // n_heads, window, dropout
        self.q = nn.Linear(d_model, d_model)
        self.kv = nn.Linear(d_model, 2 * self.dh)
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q = self.q(x).view(B, T, self.n_heads, self.dh)
        k, v = self.kv(x).split(self.dh, dim=-1)
        score = torch.einsum("bthd,bsd->bhts", q, k).div(math.sqrt(self.dh))
        i = torch.arange(T, device=x.device)
        keep = (i[:, None] >= i) & (i[:, None] < i + self.window)
        p = score.where(keep, score.new_tensor(float("-inf"))).softmax(dim=-1)
        p = F.dropout(p, self.dropout, self.training)
        return self.proj(torch.einsum("bhts,bsd->bthd", p, v).reshape(B, T, D))


class NeuralMemory(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.H, self.d = n_heads, d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.o = nn.Linear(d_model, d_model, bias=False)
        self.scale = nn.Parameter(torch.ones(n_heads, 1))
        self.shift = nn.Parameter(torch.zeros(n_heads, 1))
        self.rate = nn.Parameter(torch.linspace(-3.0, -0.5, n_heads))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.H, self.d).unbind(2)
        k = F.normalize(k, dim=-1)
        fade = torch.exp(-F.softplus(self.rate)).view(-1, 1, 1)
        M = x.new_zeros(B, self.H, self.d, self.d)
        y = []
        for kt, vt, qt in zip(k.unbind(1), v.unbind(1), q.unbind(1)):
            error = (vt - (M @ kt.unsqueeze(-1)).squeeze(-1)).square().mean(-1, keepdim=True)
            s = torch.sigmoid(self.scale * error + self.shift)
            M = fade * M + (s * vt).unsqueeze(-1) * kt.unsqueeze(-2)
            y.append((M @ qt.unsqueeze(-1)).reshape(B, D))
        return self.o(torch.stack(y, 1))


class Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_ff: int, window: int, dropout: float):
        super().__init__()
        self.pre = nn.LayerNorm(d_model)
        self.attention = MultiQueryAttention(d_model, n_heads, window, dropout)
        self.ffn = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, d_ff), nn.SiLU(),
                                 nn.Linear(d_ff, d_model), nn.Dropout(dropout))
        self.memory = NeuralMemory(d_model, n_heads)
        self.gate_a = nn.Linear(2 * d_model, 1)
        self.gate_m = nn.Linear(2 * d_model, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.pre(x)
        attn_out = self.attention(h)
        m = self.memory(h)
        both = torch.cat([attn_out, m], dim=-1)
        g_attn = torch.sigmoid(self.gate_a(both))
        g_mem = torch.sigmoid(self.gate_m(both))
        mix = g_attn * attn_out + (1 - g_mem) * m
        x = x + mix
        return x + self.ffn(x)


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size: int = 256, d_model: int = 64, n_heads: int = 4, n_layers: int = 2,
                 d_ff: int = 256, max_seq_len: int = 512, attention_window: int = 32, dropout: float = 0.1):
        super().__init__()
        self.token = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Parameter(torch.zeros(1, max_seq_len, d_model))
        nn.init.trunc_normal_(self.pos, std=0.1)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.token(input_ids) + self.pos[:, : input_ids.size(1)])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
