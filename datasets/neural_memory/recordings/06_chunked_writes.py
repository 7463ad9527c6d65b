# A hand-written example of a submission, not a model's answer.
# For speed the memory works in chunks of four tokens: all of them read the matrix as it stood at
# the start of the chunk, then the sum of their outer products is written at once. The decay is
# learned and applied once per chunk; the write gate is a sigmoid of the token alone.
# Meant to fail: recurrent_update (M changes once per chunk, not at every token), surprise_gate
# (generic gate) and memory_attention_gating (two streams concatenated and projected).

import torch
import torch.nn as nn
import torch.nn.functional as F

CHUNK = 4


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int):
        super().__init__()
        self.d_mem = d_mem
        self.key = nn.Linear(d_model, d_mem, bias=False)
        self.value = nn.Linear(d_model, d_mem, bias=False)
        self.query = nn.Linear(d_model, d_mem, bias=False)
        self.importance = nn.Linear(d_model, 1)
        self.log_decay = nn.Parameter(torch.tensor(-2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = F.normalize(self.query(x), dim=-1)
        k = F.normalize(self.key(x), dim=-1)
        v = self.value(x) * torch.sigmoid(self.importance(x))
        decay = torch.exp(-F.softplus(self.log_decay))

        memory = x.new_zeros(x.size(0), self.d_mem, self.d_mem)
        out = []
        for q_c, k_c, v_c in zip(q.split(CHUNK, 1), k.split(CHUNK, 1), v.split(CHUNK, 1)):
            out.append(torch.einsum("bij,btj->bti", memory, q_c))
            memory = decay * memory + torch.einsum("bti,btj->bij", v_c, k_c)
        return torch.cat(out, dim=1)


class LocalAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float):
        super().__init__()
        self.mha = nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True)
        self.window = window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        T = x.size(1)
        ones = torch.ones(T, T, dtype=torch.bool, device=x.device)
        hidden = torch.triu(ones, 1) | torch.tril(ones, -self.window)  # True means not visible
        return self.mha(x, x, x, attn_mask=hidden, need_weights=False)[0]


class Layer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_ff: int, window: int, dropout: float):
        super().__init__()
        self.norm_a = nn.LayerNorm(d_model)
        self.norm_f = nn.LayerNorm(d_model)
        self.attn = LocalAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model, d_model)
        self.merge = nn.Linear(2 * d_model, d_model)
        self.ff1 = nn.Linear(d_model, d_ff)
        self.ff2 = nn.Linear(d_ff, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm_a(x)
        x = x + self.merge(torch.cat([self.attn(h), self.memory(h)], dim=-1))
        return x + self.drop(self.ff2(F.gelu(self.ff1(self.norm_f(x)))))


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
        self.embed = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Parameter(0.02 * torch.randn(max_seq_len, d_model))
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.embed(input_ids) + self.pos[: input_ids.size(1)])
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))
