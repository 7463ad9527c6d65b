from typing import Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Recurrent associative memory.

    The surprise signal is treated like a neuromodulator: it is measured without gradient (the
    memory should not learn to look surprised), and a learned gain and threshold turn it into the
    write gate.
    """

    def __init__(self, d_model: int, d_mem: int):
        super().__init__()
        self.d_mem = d_mem
        self.key = nn.Linear(d_model, d_mem, bias=False)
        self.value = nn.Linear(d_model, d_mem, bias=False)
        self.query = nn.Linear(d_model, d_mem, bias=False)
        self.out = nn.Linear(d_mem, d_model, bias=False)
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.threshold = nn.Parameter(torch.tensor(0.5))
        self.decay = nn.Parameter(torch.tensor(4.0))

    def forward(
        self, x: torch.Tensor, state: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        B, T, _ = x.shape
        if state is None:
            state = x.new_zeros(B, self.d_mem, self.d_mem)
        k = F.normalize(self.key(x), dim=-1)
        v = self.value(x)
        q = self.query(x)
        decay = torch.sigmoid(self.decay)
        reads = []
        for t in range(T):
            with torch.no_grad():
                expected = torch.einsum("bij,bj->bi", state, k[:, t])
                error = (v[:, t] - expected).norm(dim=-1)
            gate = torch.sigmoid(self.gain * (error - self.threshold))
            state = decay * state + gate[:, None, None] * torch.einsum(
                "bi,bj->bij", v[:, t], k[:, t]
            )
            reads.append(torch.einsum("bij,bj->bi", state, q[:, t]))
        return self.out(torch.stack(reads, dim=1)), state


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
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class MemoryBlock(TransformerBlock):
    """The last block: attention and memory are blended before the residual connection."""

    def __init__(
        self, d_model: int, n_heads: int, d_ff: int, attention_window: int, dropout: float
    ):
        super().__init__(d_model, n_heads, d_ff, attention_window, dropout)
        self.memory = NeuralMemory(d_model, d_model)
        self.blend = nn.Linear(2 * d_model, d_model)

    def forward(
        self, x: torch.Tensor, state: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        h = self.norm1(x)
        attn = self.attention(h)
        mem, state = self.memory(h, state)
        g = torch.sigmoid(self.blend(torch.cat([attn, mem], dim=-1)))
        x = x + (1 - g) * attn + g * mem
        return x + self.ffn(self.norm2(x)), state


class SimpleTransformer(nn.Module):
    """Maps input_ids (B, T) int64 to logits (B, T, V).

    With `return_memory=True` the final memory state is returned too, so that a long document can
    be fed segment by segment.
    """

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
            for _ in range(n_layers - 1)
        )
        self.memory_block = MemoryBlock(d_model, n_heads, d_ff, attention_window, dropout)
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(
        self,
        input_ids: torch.Tensor,
        memory: Optional[torch.Tensor] = None,
        return_memory: bool = False,
    ):
        T = input_ids.shape[1]
        x = self.embedding(input_ids) + self.position(torch.arange(T, device=input_ids.device))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        x, memory = self.memory_block(x, memory)
        logits = self.head(self.norm(x))
        return (logits, memory) if return_memory else logits
