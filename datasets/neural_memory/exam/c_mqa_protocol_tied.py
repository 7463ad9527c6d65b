import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from typing import Protocol, runtime_checkable

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


State = torch.Tensor


@runtime_checkable
class Recurrent(Protocol):
    def initial(self, x: torch.Tensor) -> State: ...

    def step(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]: ...


def unroll(cell: Recurrent, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(cell, Recurrent)
    state = cell.initial(x)
    outputs: list[torch.Tensor] = []
    for x_t in x.unbind(dim=1):
        y, state = cell.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1)


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int = 20):
        super().__init__()
        self.d_mem = d_mem
        self.enc = nn.Linear(d_model, 3 * d_mem)
        self.dec = nn.Linear(d_mem, d_model)
        self.surprise = nn.Linear(d_mem, d_mem)
        self.keep = nn.Parameter(torch.full((1, 1, d_mem), 2.5))

    def initial(self, x: torch.Tensor) -> State:
        return x.new_zeros(x.shape[0], self.d_mem, self.d_mem)

    def step(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        q, k, v = self.enc(x).chunk(3, dim=-1)
        k = k.softmax(dim=-1)
        wrong = v - torch.einsum("bij,bj->bi", state, k)
        gate = torch.sigmoid(self.surprise(wrong))
        state = torch.sigmoid(self.keep) * state + torch.einsum("bi,bj->bij", gate * v, k)
        return self.dec(torch.einsum("bij,bj->bi", state, q)), state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return unroll(self, x)


class Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_ff: int, window: int, dropout: float):
        super().__init__()
        self.pre = nn.LayerNorm(d_model)
        self.attention = MultiQueryAttention(d_model, n_heads, window, dropout)
        self.ffn = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, d_ff), nn.SiLU(),
                                 nn.Linear(d_ff, d_model), nn.Dropout(dropout))
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.pre(x)
        attn_out = self.attention(h)
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], dim=-1)))
        mix = g * attn_out + (1 - g) * mem_out
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
        self.head.weight = self.token.weight
        nn.init.normal_(self.token.weight, std=0.5)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.token(input_ids) + self.pos[:, : input_ids.size(1)])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
