"""The starter with an associative memory beside every window of attention.

Each block has two readers of the same normalised input. Attention sees the last
`attention_window` tokens; the memory sees every token so far through a matrix M which it
rewrites once per token. A learned gate interpolates between what the two have read.

Shapes use B for batch, T for sequence length, D for d_model, V for vocab_size, K for the size of
the memory's keys and values (d_mem).
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """A matrix M (B, K, K) per sequence that maps keys to values: it recalls M @ k for a key k.

    Every token updates it once:

        recalled = M k                              what memory expects of this token
        surprise = sigmoid(W (v - recalled) + b)    how much that expectation was wrong
        M <- decay * M + surprise * v k^T           fade what is old, write what is new
    """

    def __init__(self, d_model: int, d_mem: int | None = None):
        super().__init__()
        self.d_mem = d_mem or d_model
        self.query = nn.Linear(d_model, self.d_mem, bias=False)
        self.key = nn.Linear(d_model, self.d_mem, bias=False)
        self.value = nn.Linear(d_model, self.d_mem, bias=False)
        self.surprise = nn.Linear(self.d_mem, 1)
        # The sigmoid keeps the decay in (0, 1); 3.0 starts it at 0.95, a half-life of 14 tokens.
        self.decay_logit = nn.Parameter(torch.tensor(3.0))
        self.out = nn.Linear(self.d_mem, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reads memory at every position of x (B, T, D); position t sees tokens 0 to t."""
        B, T, _ = x.shape
        # Keys and queries of length 1 keep M k on the scale of the values that were stored.
        queries = F.normalize(self.query(x), dim=-1)
        keys = F.normalize(self.key(x), dim=-1)
        values = self.value(x)
        decay = torch.sigmoid(self.decay_logit)

        M = x.new_zeros(B, self.d_mem, self.d_mem)
        reads = []
        for t in range(T):
            q, k, v = queries[:, t], keys[:, t], values[:, t]
            recalled = torch.einsum("bij,bj->bi", M, k)
            surprise = torch.sigmoid(self.surprise(v - recalled))
            M = decay * M + surprise[:, :, None] * torch.einsum("bi,bj->bij", v, k)
            reads.append(torch.einsum("bij,bj->bi", M, q))
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
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        attended, recalled = self.attention(h), self.memory(h)
        gate = torch.sigmoid(self.gate(torch.cat([attended, recalled], dim=-1)))
        x = x + gate * attended + (1 - gate) * recalled
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
