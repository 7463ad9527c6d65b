"""Titans, "memory as context": what the memory recalls is offered to the block next to attention."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Linear memory trained online by SGD with momentum and weight decay (Titans, eq. 13-14)."""

    def __init__(self, dim: int, mem_dim: int = 32):
        super().__init__()
        self.mem_dim = mem_dim
        self.to_k = nn.Linear(dim, mem_dim, bias=False)
        self.to_v = nn.Linear(dim, mem_dim, bias=False)
        self.to_q = nn.Linear(dim, mem_dim, bias=False)
        self.to_lr = nn.Linear(dim, 1)
        self.to_momentum = nn.Linear(dim, 1)
        self.to_forget = nn.Linear(dim, 1)
        nn.init.constant_(self.to_forget.bias, -4.0)
        self.to_out = nn.Linear(mem_dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, _ = x.shape
        k = F.normalize(F.silu(self.to_k(x)), dim=-1)
        v = F.silu(self.to_v(x))
        q = F.normalize(F.silu(self.to_q(x)), dim=-1)
        lr = torch.sigmoid(self.to_lr(x)).unsqueeze(-1)
        momentum = torch.sigmoid(self.to_momentum(x)).unsqueeze(-1)
        forget = torch.sigmoid(self.to_forget(x)).unsqueeze(-1)

        memory = torch.zeros(B, self.mem_dim, self.mem_dim, device=x.device, dtype=x.dtype)
        velocity = torch.zeros_like(memory)
        retrieved = []
        for t in range(T):
            # retrieve with the memory from before this token
            retrieved.append(torch.einsum("bvk,bk->bv", memory, q[:, t]))
            # "surprise": gradient of 0.5 * |M k - v|^2 with respect to M
            error = torch.einsum("bvk,bk->bv", memory, k[:, t]) - v[:, t]
            surprise = torch.einsum("bv,bk->bvk", error, k[:, t])
            velocity = momentum[:, t] * velocity - lr[:, t] * surprise
            memory = (1 - forget[:, t]) * memory + velocity
        return self.to_out(torch.stack(retrieved, dim=1))


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
        self.merge = nn.Sequential(
            nn.Linear(2 * d_model, d_model), nn.SiLU(), nn.Linear(d_model, d_model)
        )
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        context = torch.cat([self.attention(h), self.memory(h)], dim=-1)
        x = x + self.merge(context)
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
