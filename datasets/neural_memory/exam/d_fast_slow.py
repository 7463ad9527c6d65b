import torch
import torch.nn as nn
import torch.nn.functional as F
from typing import NamedTuple


class State(NamedTuple):
    fast: torch.Tensor
    slow: torch.Tensor


class NeuralMemory(nn.Module):
    """Two matrices with different time constants share keys, values and surprise."""

    def __init__(self, d_model, d_mem=None):
        super().__init__()
        d_mem = d_mem or d_model
        self.d_mem = d_mem
        self.norm = nn.LayerNorm(d_model)
        self.k = nn.Linear(d_model, d_mem)
        self.v = nn.Linear(d_model, d_mem)
        self.q = nn.Linear(d_model, d_mem)
        self.rates = nn.Parameter(torch.tensor([0.5, 3.5]))
        self.blend = nn.Parameter(torch.zeros(2))
        self.critic = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
        self.back = nn.Linear(d_mem, d_model)

    def recall(self, state, a):
        w = self.blend.softmax(0)
        return torch.einsum("...ij,...j->...i", w[0] * state.fast + w[1] * state.slow, a)

    def step(self, state, k, v):
        delta = v - self.recall(state, k)
        loss = F.mse_loss(self.recall(state, k), v, reduction="none").mean(-1, keepdim=True)
        s = torch.sigmoid(self.critic(loss))
        retain = torch.sigmoid(self.rates)
        binding = torch.einsum("...i,...j->...ij", v, k)
        correction = torch.einsum("...i,...j->...ij", delta, k)
        return State(
            retain[0] * state.fast + s[:, 0, None, None] * correction,
            retain[1] * state.slow + s[:, 1, None, None] * binding,
        )

    def forward(self, x):
        x = self.norm(x)
        q, v = self.q(x).tanh(), self.v(x)
        k = F.softmax(self.k(x), -1)
        z = x.new_zeros(x.size(0), self.d_mem, self.d_mem)
        state = State(z, z)
        out = []
        for t in range(x.size(1)):
            state = self.step(state, k[:, t], v[:, t])
            out.append(self.recall(state, q[:, t]))
        return self.back(torch.stack(out, 1))


class Block(nn.Module):
    def __init__(self, d, h, ff, w, p):
        super().__init__()
        self.h, self.w, self.p = h, w, p
        self.n1 = nn.LayerNorm(d)
        self.n2 = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.o = nn.Linear(d, d)
        self.mem = NeuralMemory(d)
        self.arbiter = nn.Linear(d, 2 * d)
        self.f1 = nn.Linear(d, ff)
        self.f2 = nn.Linear(ff, d)

    def attend(self, x):
        B, T, D = x.shape
        q, k, v = [z.reshape(B, T, self.h, -1).transpose(1, 2) for z in self.qkv(x).split(D, -1)]
        r = torch.arange(T)
        d = r.view(-1, 1) - r.view(1, -1)
        bias = torch.zeros(T, T).masked_fill((d < 0) | (d >= self.w), -1e9)
        att = torch.softmax(q @ k.mT / (D // self.h) ** 0.5 + bias, -1)
        return self.o((F.dropout(att, self.p, self.training) @ v).transpose(1, 2).reshape(B, T, D))

    def forward(self, x):
        u = self.n1(x)
        streams = torch.stack([self.attend(u), self.mem(x)], dim=-2)
        B, T, D = x.shape
        w = self.arbiter(u).view(B, T, 2, D).softmax(dim=2)
        x = x + (w * streams).sum(2)
        return x + self.f2(F.dropout(F.gelu(self.f1(self.n2(x))), self.p, self.training))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1, **_):
        super().__init__()
        self.e = nn.Embedding(vocab_size, d_model)
        self.p = nn.Embedding(max_seq_len, d_model)
        self.net = nn.Sequential(
            *[Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)]
        )
        self.n = nn.LayerNorm(d_model)
        self.u = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.e(input_ids) + self.p.weight[: input_ids.size(1)]
        return {"logits": self.u(self.n(self.net(x)))}
