# A hand-written example of a submission, not a model's answer.
# Surprise-gated outer products, one token at a time, but memory fades by a constant of 0.99 that no
# training can change. Attention and memory each have a gate of their own, and nothing makes the two
# sum to one: both can be open, or both shut.
# Meant to fail: learnable_decay (a constant) and memory_attention_gating (independent gates).

import torch
import torch.nn as nn
import torch.nn.functional as F


class SurpriseGate(nn.Module):
    """How strongly to write, from what the memory recalled and what really came."""

    def __init__(self, d_mem: int, d_hidden: int = 32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * d_mem, d_hidden), nn.ReLU(), nn.Linear(d_hidden, 1), nn.Sigmoid()
        )

    def forward(self, actual: torch.Tensor, recalled: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([recalled, actual - recalled], dim=-1))


class NeuralMemory(nn.Module):
    DECAY = 0.99

    def __init__(self, d_model: int, d_mem: int = 32):
        super().__init__()
        self.d_mem = d_mem
        self.project = nn.ModuleDict(
            {name: nn.Linear(d_model, d_mem, bias=False) for name in ("query", "key", "value")}
        )
        self.surprise = SurpriseGate(d_mem)
        self.output = nn.Linear(d_mem, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        M = torch.zeros(x.shape[0], self.d_mem, self.d_mem, device=x.device, dtype=x.dtype)
        reads = []
        for token in x.unbind(dim=1):
            query = F.normalize(self.project["query"](token), dim=-1).unsqueeze(-1)
            key = F.normalize(self.project["key"](token), dim=-1).unsqueeze(-1)
            value = self.project["value"](token)
            recalled = torch.bmm(M, key).squeeze(-1)
            s = self.surprise(value, recalled)
            M = self.DECAY * M + torch.bmm((s * value).unsqueeze(-1), key.transpose(1, 2))
            reads.append(torch.bmm(M, query).squeeze(-1))
        return self.output(torch.stack(reads, dim=1))


class WindowedSelfAttention(nn.Module):
    """Causal multi-head self-attention over the last `attention_window` positions."""

    def __init__(self, d_model: int, n_heads: int, attention_window: int, dropout: float):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model={d_model} is not divisible by n_heads={n_heads}")
        self.n_heads = n_heads
        self.attention_window = attention_window
        self.dropout = dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, D // self.n_heads).permute(2, 0, 3, 1, 4)
        distance = torch.arange(T, device=x.device)[:, None] - torch.arange(T, device=x.device)
        visible = (distance >= 0) & (distance < self.attention_window)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=dropout)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class TransformerBlock(nn.Module):
    def __init__(
        self, d_model: int, n_heads: int, d_ff: int, attention_window: int, dropout: float
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = WindowedSelfAttention(d_model, n_heads, attention_window, dropout)
        self.memory = NeuralMemory(d_model)
        self.attention_gate = nn.Linear(d_model, d_model)
        self.memory_gate = nn.Linear(d_model, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        attended = torch.sigmoid(self.attention_gate(h)) * self.attention(h)
        recalled = torch.sigmoid(self.memory_gate(h)) * self.memory(h)
        x = x + attended + recalled
        return x + self.ffn(self.norm2(x))


class SimpleTransformer(nn.Module):
    """Maps input_ids (B, T) int64 to logits (B, T, V)."""

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
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(d_model, n_heads, d_ff, attention_window, dropout)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        T = input_ids.shape[1]
        x = self.embedding(input_ids) + self.position(torch.arange(T, device=input_ids.device))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
