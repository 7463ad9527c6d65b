# A hand-written example of a submission, not a model's answer.
# The memory itself is complete: surprise-gated writes of outer products, a learned decay, one
# update per token. What it recalls is added to the residual stream on top of attention, scaled by
# a sigmoid of its own, so attention is never traded for memory.
# Meant to fail: memory_attention_gating (x + attention + g * memory is no interpolation).

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Associative memory: M is a (d_mem x d_mem) matrix per sequence."""

    def __init__(self, d_model: int, d_mem: int):
        super().__init__()
        self.d_mem = d_mem
        self.W_q = nn.Linear(d_model, d_mem, bias=False)
        self.W_k = nn.Linear(d_model, d_mem, bias=False)
        self.W_v = nn.Linear(d_model, d_mem, bias=False)
        self.W_o = nn.Linear(d_mem, d_model, bias=False)

        # Surprise = sigmoid(scale * (error - threshold)), both learned.
        self.surprise_scale = nn.Parameter(torch.tensor(2.0))
        self.surprise_threshold = nn.Parameter(torch.tensor(0.5))

        # Learnable forgetting
        self.decay = nn.Parameter(torch.tensor(2.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, seq_len, _ = x.shape
        M = torch.zeros(batch, self.d_mem, self.d_mem, device=x.device, dtype=x.dtype)
        outputs = []
        for t in range(seq_len):
            x_t = x[:, t, :]
            q_t = self.W_q(x_t)
            k_t = F.normalize(self.W_k(x_t), dim=-1)
            v_t = self.W_v(x_t)

            # How wrong was the memory about this token?
            predicted = torch.bmm(M, k_t.unsqueeze(-1)).squeeze(-1)
            error = torch.norm(v_t - predicted, dim=-1, keepdim=True)
            surprise = torch.sigmoid(self.surprise_scale * (error - self.surprise_threshold))

            # Fade, then write
            write = torch.bmm(v_t.unsqueeze(-1), k_t.unsqueeze(1))
            M = torch.sigmoid(self.decay) * M + surprise.unsqueeze(-1) * write

            outputs.append(torch.bmm(M, q_t.unsqueeze(-1)).squeeze(-1))
        return self.W_o(torch.stack(outputs, dim=1))


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
        self.norm_mem = nn.LayerNorm(d_model)
        self.memory = NeuralMemory(d_model, d_mem=d_model)
        self.mem_gate = nn.Linear(d_model, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Immediate context
        x = x + self.attention(self.norm1(x))
        # Long-term memory, gated
        h = self.norm_mem(x)
        x = x + torch.sigmoid(self.mem_gate(h)) * self.memory(h)
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
