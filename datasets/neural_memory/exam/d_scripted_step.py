from typing import Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


@torch.jit.script
def memory_step(M: Tensor, k: Tensor, v: Tensor, q: Tensor, decay: Tensor, a: Tensor, b: Tensor) -> Tuple[Tensor, Tensor]:
    pred = torch.einsum("bvk,bk->bv", M, k)
    err = torch.norm(v - pred, dim=-1, keepdim=True)
    size = torch.norm(v, dim=-1, keepdim=True) + 1e-3
    s = torch.sigmoid(a * torch.log1p(err / size) + b)
    M = decay * M + (s * v).unsqueeze(2) * k.unsqueeze(1)
    return M, torch.einsum("bvk,bk->bv", M, q)


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int) -> None:
        super().__init__()
        self.d_mem = d_mem
        self.kv = nn.Linear(d_model, 2 * d_mem)
        self.q = nn.Linear(d_model, d_mem)
        self.decay_logit = nn.Parameter(torch.tensor(2.0))
        self.a = nn.Parameter(torch.tensor(2.0))
        self.b = nn.Parameter(torch.tensor(-1.0))
        self.up = nn.Linear(d_mem, d_model)

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.kv(x).chunk(2, dim=-1)
        k, q = F.normalize(k, dim=-1), F.normalize(self.q(x), dim=-1)
        M = torch.zeros(x.shape[0], self.d_mem, self.d_mem, device=x.device)
        outs = []
        for t in range(x.shape[1]):
            M, y = memory_step(M, k[:, t], v[:, t], q[:, t], torch.sigmoid(self.decay_logit), self.a, self.b)
            outs.append(y)
        return self.up(torch.stack(outs, dim=1))


class CausalWindow(nn.Module):
    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads = n_heads
        self.window = window
        self.mix = nn.Linear(d_model, d_model * 3, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.mix(x).view(B, T, self.heads, -1).transpose(1, 2).chunk(3, dim=-1)
        logits = q.matmul(k.transpose(2, 3)).div((D / self.heads) ** 0.5)
        keep = torch.ones(T, T).tril().triu(-(self.window - 1)).bool()
        w = self.drop(logits.where(keep, torch.tensor(float("-inf"))).softmax(dim=-1))
        return self.out(w.matmul(v).transpose(1, 2).reshape(B, T, D))


class MemoryBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = CausalWindow(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model, max(4, d_model // 2))
        self.alpha = nn.Parameter(torch.zeros(d_model))
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        a = self.attn(self.ln1(x))
        m = self.memory(a)
        g = self.alpha.sigmoid()
        x = x + g * a + (1 - g) * m
        return x + self.mlp(self.ln2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size: int = 256, d_model: int = 64, n_heads: int = 4, n_layers: int = 2,
                 d_ff: int = 256, max_seq_len: int = 512, attention_window: int = 32, dropout: float = 0.1):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.register_buffer("phase", self.sinusoid(max_seq_len, d_model))
        self.body = nn.ModuleList(MemoryBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    @staticmethod
    def sinusoid(length: int, dim: int) -> Tensor:
        angle = torch.arange(length)[:, None] * torch.exp(-9.0 * torch.arange(dim)[None] / dim)
        return torch.where(torch.arange(dim) % 2 == 0, angle.sin(), angle.cos())

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed(input_ids) + self.phase[: input_ids.shape[1]]
        for layer in self.body:
            x = layer(x)
        return self.head(self.norm(x))
