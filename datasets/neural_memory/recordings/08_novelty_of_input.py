# A hand-written example of a submission, not a model's answer.
# The only one of the failing recordings with a true interpolation of attention and memory. Its
# write gate asks how far a token is from the token before it; the memory is never asked what it
# expected, so a pattern it knows by heart still counts as new.
# Meant to fail: surprise_gate.

from typing import Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F


def l2norm(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, p=2, dim=-1)


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int = 48):
        super().__init__()
        self.d_mem = d_mem
        self.w_q = nn.Parameter(torch.empty(d_mem, d_model))
        self.w_k = nn.Parameter(torch.empty(d_mem, d_model))
        self.w_v = nn.Parameter(torch.empty(d_mem, d_model))
        self.w_o = nn.Parameter(torch.empty(d_model, d_mem))
        self.novelty = nn.Linear(d_model, 1)
        self.decay_raw = nn.Parameter(torch.full((d_mem,), 3.0))
        for w in (self.w_q, self.w_k, self.w_v, self.w_o):
            nn.init.xavier_uniform_(w)

    def init_state(self, batch: int, like: torch.Tensor) -> torch.Tensor:
        return like.new_zeros(batch, self.d_mem, self.d_mem)

    def forward(
        self, x: torch.Tensor, state: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """x (B, T, D) -> reads (B, T, D), final state (B, d_mem, d_mem)."""
        B, T, _ = x.shape
        M = self.init_state(B, x) if state is None else state
        decay = torch.sigmoid(self.decay_raw).view(1, -1, 1)
        previous = torch.zeros_like(x[:, 0])
        reads = []
        for t in range(T):
            xt = x[:, t]
            q, k, v = l2norm(xt @ self.w_q.T), l2norm(xt @ self.w_k.T), xt @ self.w_v.T
            gate = torch.sigmoid(self.novelty((xt - previous).abs()))
            M = decay * M + gate.unsqueeze(-1) * torch.einsum("bi,bj->bij", v, k)
            reads.append(torch.einsum("bij,bj->bi", M, q))
            previous = xt
        return torch.stack(reads, 1) @ self.w_o.T, M


class Attention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float):
        super().__init__()
        self.n_heads, self.window, self.p = n_heads, window, dropout
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        heads = self.in_proj(x).view(B, T, 3 * self.n_heads, -1).transpose(1, 2)
        q, k, v = heads.chunk(3, dim=1)
        pos = torch.arange(T, device=x.device)
        mask = (pos[None, :] <= pos[:, None]) & (pos[None, :] > pos[:, None] - self.window)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.p if self.training else 0.0
        )
        return self.out_proj(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_ff: int, window: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = Attention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.mix = nn.Linear(2 * d_model, 1)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        a = self.attn(h)
        m, _ = self.memory(h)
        x = x + torch.lerp(m, a, torch.sigmoid(self.mix(torch.cat((a, m), -1))))
        return x + self.mlp(self.norm2(x))


class SimpleTransformer(nn.Module):
    def __init__(
        self,
        vocab_size: int = 256,
        d_model: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        d_ff: int = 256,
        max_seq_len: int = 512,
        attention_window: int = 32,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList()
        for _ in range(n_layers):
            self.blocks.append(Block(d_model, n_heads, d_ff, attention_window, dropout))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        where = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.drop(self.tokens(input_ids) + self.positions(where))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
