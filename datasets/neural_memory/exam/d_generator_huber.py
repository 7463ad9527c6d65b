import typing as tp

import torch
import torch.nn as nn
import torch.nn.functional as F


class LMOutput(tp.NamedTuple):
    logits: torch.Tensor
    surprise: torch.Tensor


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.maps = nn.ModuleDict({name: nn.Linear(d_model, d_model, bias=name == "v") for name in "qkv"})
        self.forget = nn.Linear(d_model, d_model)
        self.register_buffer("blank", torch.zeros(1, d_model, d_model), persistent=False)
        self.surprise_scale = nn.Parameter(torch.tensor(1.0))
        self.surprise_floor = nn.Parameter(torch.tensor(0.1))

    def walk(self, x):
        k = torch.tanh(self.maps["k"](x))
        k = k / (k.norm(dim=-1, keepdim=True) + 1e-4)
        q = torch.tanh(self.maps["q"](x))
        v = self.maps["v"](x)
        keep = torch.exp(-F.softplus(self.forget(x) - 3.0))
        M = self.blank.expand(x.size(0), -1, -1)
        for t in range(x.size(1)):
            expect = torch.matmul(M, k[:, t, :, None]).squeeze(-1)
            miss = F.huber_loss(expect, v[:, t], reduction="none").mean(-1)
            s = torch.sigmoid((miss - self.surprise_floor) * self.surprise_scale)
            M = keep[:, t, :, None] * M
            M = M + torch.einsum("b,bi,bj->bij", s, v[:, t], k[:, t])
            yield torch.matmul(M, q[:, t, :, None]).squeeze(-1), s

    def forward(self, x):
        reads, s = zip(*self.walk(x))
        return torch.stack(reads, dim=1), torch.stack(s, dim=1)


class SlidingHeads(nn.Module):
    def __init__(self, d_model, n_heads, window, drop):
        super().__init__()
        self.n = n_heads
        self.window = window
        self.p = drop
        self.inp = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x):
        b, t, d = x.shape
        qkv = self.inp(x).reshape(b, t, self.n, 3, d // self.n)
        q, k, v = qkv.transpose(1, 2).unbind(3)
        steps = torch.arange(t, device=x.device)
        lag = steps.unsqueeze(-1) - steps
        ok = torch.where(lag >= 0, lag < self.window, torch.zeros_like(lag, dtype=torch.bool))
        p = self.p if self.training else 0.0
        return self.out(F.scaled_dot_product_attention(q, k, v, ok, p).transpose(1, 2).reshape(b, t, d))


class Layer(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, drop):
        super().__init__()
        self.attn, self.mem = SlidingHeads(d_model, n_heads, window, drop), NeuralMemory(d_model)
        self.ln = nn.ModuleList([nn.LayerNorm(d_model) for _ in range(4)])
        self.w_gate = nn.Linear(d_model, 1)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.SiLU(), nn.Linear(d_ff, d_model), nn.Dropout(drop))

    def forward(self, x):
        h = self.ln[0](x)
        a = self.ln[1](self.attn(h))
        m, s = self.mem(h)
        m = self.ln[2](m)
        z = self.w_gate(h)
        x = x + a * torch.sigmoid(z) + m * torch.sigmoid(-z)
        return x + self.mlp(self.ln[3](x)), s


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.stack = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.ln = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1), device=input_ids.device))
        trace = []
        for layer in self.stack:
            x, s = layer(x)
            trace.append(s)
        return LMOutput(self.head(self.ln(x)), torch.stack(trace))
