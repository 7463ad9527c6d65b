import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem):
        super().__init__()
        self.M0 = nn.Parameter(torch.randn(d_mem, d_mem) * 0.02)
        self.Wk = nn.Linear(d_model, d_mem, bias=False)
        self.Wv = nn.Linear(d_model, d_mem, bias=False)
        self.Wq = nn.Linear(d_model, d_mem, bias=False)
        self.Wo = nn.Linear(d_mem, d_model, bias=False)
        self.surprise = nn.Linear(1, 1)
        self.decay = nn.Parameter(torch.zeros(()) + 3)

    def forward(self, x):
        k = F.normalize(self.Wk(x), dim=-1)
        v, q = self.Wv(x), self.Wq(x)
        M = self.M0.repeat(x.size(0), 1, 1)
        y = []
        for t in range(x.size(1)):
            err = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            s = torch.sigmoid(self.surprise(err.norm(dim=-1, keepdim=True)))
            M = torch.sigmoid(self.decay) * M + torch.einsum("bi,bj->bij", s * v[:, t], k[:, t])
            y.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.Wo(torch.stack(y, 1))


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
    def __init__(self, d_model, n_heads, d_ff, attention_window, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = WindowedSelfAttention(d_model, n_heads, attention_window, dropout)
        self.memory = NeuralMemory(d_model, d_model)
        self.gate = nn.Parameter(torch.zeros(d_model))
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x):
        h = self.norm1(x)
        g = torch.sigmoid(self.gate)
        x = x + g * self.attention(h) + (1 - g) * self.memory(h)
        return x + self.ffn(self.norm2(x))


class SimpleTransformer(nn.Module):
    def __init__(
        self,
        vocab_size=256,
        d_model=64,
        n_heads=4,
        n_layers=2,
        d_ff=256,
        max_seq_len=512,
        attention_window=32,
        dropout=0.1,
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

    def forward(self, input_ids):
        T = input_ids.shape[1]
        x = self.embedding(input_ids) + self.position(torch.arange(T, device=input_ids.device))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
