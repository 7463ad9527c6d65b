import math
import torch
import torch.nn as nn
import torch.nn.functional as F

from dataclasses import dataclass, field


@dataclass
class ModelConfig:
    vocab_size: int = 256
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int = 256
    max_seq_len: int = 512
    attention_window: int = 32
    dropout: float = 0.1
    d_mem: int = field(default=24)


class Projections(nn.Module):
    def __init__(self, d_in, d_out, names, bias=False):
        super().__init__()
        self.names = tuple(names)
        self.linears = nn.ModuleDict({n: nn.Linear(d_in, d_out, bias=bias) for n in names})

    def forward(self, x):
        return [self.linears[n](x) for n in self.names]


class SoftmaxAttention(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.cfg = cfg
        self.proj = Projections(cfg.d_model, cfg.d_model, ("q", "k", "v"), bias=True)
        self.out = nn.Linear(cfg.d_model, cfg.d_model)
        self.register_buffer("mask", self._mask(cfg.max_seq_len, cfg.attention_window), persistent=False)

    @staticmethod
    def _mask(n, window):
        i = torch.arange(n)
        gap = i[:, None] - i[None, :]
        return torch.zeros(n, n).masked_fill((gap < 0) | (gap >= window), float("-inf"))

    def forward(self, x):
        B, T, D = x.shape
        H = self.cfg.n_heads
        q, k, v = (z.view(B, T, H, D // H).transpose(1, 2) for z in self.proj(x))
        w = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(D // H) + self.mask[:T, :T], -1)
        w = F.dropout(w, self.cfg.dropout, self.training)
        return self.out((w @ v).transpose(1, 2).contiguous().view(B, T, D))


class NeuralMemory(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.d_mem = cfg.d_mem
        self.proj = Projections(cfg.d_model, cfg.d_mem, ("q", "k", "v"))
        self.write = nn.Linear(cfg.d_model, 1)
        self.surprise = nn.Linear(cfg.d_mem, 1)
        self.decay = nn.Parameter(torch.tensor(2.0))
        self.out = nn.Linear(cfg.d_mem, cfg.d_model)

    def forward(self, x):
        q, k, v = self.proj(x)
        k = F.normalize(k, dim=-1)
        write = torch.sigmoid(self.write(x))
        M = x.new_zeros(x.size(0), self.d_mem, self.d_mem)
        out = []
        for t in range(x.size(1)):
            error = v[:, t] - (M @ k[:, t].unsqueeze(-1)).squeeze(-1)
            surprise = torch.sigmoid(self.surprise(error))
            M = torch.sigmoid(self.decay) * M + (write[:, t] * v[:, t]).unsqueeze(-1) * k[:, t].unsqueeze(1)
            out.append(surprise * (M @ q[:, t].unsqueeze(-1)).squeeze(-1))
        return self.out(torch.stack(out, 1))


class Mixer(nn.Module):
    """Token mixing: the window of attention, and what the memory says."""

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        d_model = cfg.d_model
        self.attn = SoftmaxAttention(cfg)
        self.memory = NeuralMemory(cfg)
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, h):
        attn_out = self.attn(h)
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], dim=-1)))
        mix = g * attn_out + (1 - g) * mem_out
        return mix


class Residual(nn.Module):
    def __init__(self, d_model, inner):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.inner = inner

    def forward(self, x):
        return x + self.inner(self.norm(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1, **extra):
        super().__init__()
        cfg = ModelConfig(vocab_size, d_model, n_heads, n_layers, d_ff, max_seq_len, attention_window, dropout, **extra)
        self.cfg = cfg
        self.tok = nn.Embedding(cfg.vocab_size, cfg.d_model)
        self.pos = nn.Embedding(cfg.max_seq_len, cfg.d_model)
        body = []
        for _ in range(cfg.n_layers):
            body.append(Residual(cfg.d_model, Mixer(cfg)))
            body.append(Residual(cfg.d_model, nn.Sequential(
                nn.Linear(cfg.d_model, cfg.d_ff), nn.GELU(), nn.Linear(cfg.d_ff, cfg.d_model), nn.Dropout(cfg.dropout))))
        self.body = nn.Sequential(nn.Dropout(cfg.dropout), *body, nn.LayerNorm(cfg.d_model))
        self.head = nn.Linear(cfg.d_model, cfg.vocab_size, bias=False)

    def forward(self, input_ids):
        pos = torch.arange(input_ids.size(1), device=input_ids.device).unsqueeze(0)
        return self.head(self.body(self.tok(input_ids) + self.pos(pos)))
