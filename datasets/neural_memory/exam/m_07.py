"""A transformer with a matrix-valued LSTM cell as its long-term memory.

The cell state is the memory matrix M (d_mem x d_mem). As in an LSTM there is an input gate and a
forget gate, but the gates look at the token *together with what the memory predicted for it*, so
the input gate can open when the two disagree (surprise) and stay shut when the memory already
knows the answer.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemoryCell(nn.Module):
    """One step of the recurrent memory."""

    def __init__(self, d_model: int, d_mem: int):
        super().__init__()
        self.d_mem = d_mem
        self.kvq = nn.Linear(d_model, 3 * d_mem, bias=False)
        # [value ; memory's prediction] -> input gate, forget gate (one per memory row)
        self.gates = nn.Sequential(
            nn.Linear(2 * d_mem, d_mem), nn.Tanh(), nn.Linear(d_mem, 2 * d_mem)
        )
        # Remember by default, as in the usual LSTM initialisation.
        with torch.no_grad():
            self.gates[-1].bias[d_mem:] += 2.0

    def forward(self, x_t: torch.Tensor, M: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        k, v, q = self.kvq(x_t).chunk(3, dim=-1)
        k = F.normalize(k, dim=-1)
        q = F.normalize(q, dim=-1)
        predicted = torch.matmul(M, k.unsqueeze(-1)).squeeze(-1)
        i, f = torch.sigmoid(self.gates(torch.cat([v, predicted], dim=-1))).chunk(2, dim=-1)
        candidate = torch.tanh(v)
        M = f.unsqueeze(-1) * M + torch.einsum("bi,bj->bij", i * candidate, k)
        return torch.matmul(M, q.unsqueeze(-1)).squeeze(-1), M


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int):
        super().__init__()
        self.cell = NeuralMemoryCell(d_model, d_mem)
        self.norm = nn.LayerNorm(d_mem)
        self.project = nn.Linear(d_mem, d_model)

    def initial_state(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(x.shape[0], self.cell.d_mem, self.cell.d_mem)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        M = self.initial_state(x)
        reads = []
        for x_t in x.unbind(dim=1):
            r, M = self.cell(x_t, M)
            reads.append(r)
        return self.project(self.norm(torch.stack(reads, dim=1)))


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
        self.fusion_gate = nn.Linear(3 * d_model, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        attended = self.attention(h)
        recalled = self.memory(h)
        g = torch.sigmoid(self.fusion_gate(torch.cat([h, attended, recalled], dim=-1)))
        x = x + (g * attended + (1.0 - g) * recalled)
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
