import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Memory matrix with *relative* surprise.

    What counts as surprising depends on what one is used to. The error energy of a token is
    therefore compared with a running average of the errors seen so far in the sequence, and only
    the log-ratio drives the write gate.
    """

    def __init__(self, d_model, d_mem):
        super().__init__()
        self.d_mem = d_mem
        self.q = nn.Linear(d_model, d_mem, bias=False)
        self.k = nn.Linear(d_model, d_mem, bias=False)
        self.v = nn.Linear(d_model, d_mem, bias=False)
        self.o = nn.Linear(d_mem, d_model, bias=False)
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.expectation_rate = nn.Parameter(torch.tensor(-1.0))
        self.forget = nn.Parameter(torch.tensor(-3.0))

    def forward(self, x):
        B, T, _ = x.shape
        q = F.normalize(self.q(x), dim=-1)
        k = F.normalize(self.k(x), dim=-1)
        v = self.v(x)
        rho = torch.sigmoid(self.expectation_rate)
        keep = 1.0 - torch.sigmoid(self.forget)

        M = x.new_zeros(B, self.d_mem, self.d_mem)
        usual = x.new_ones(B, 1)
        out = []
        for t in range(T):
            error = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            energy = error.pow(2).mean(-1, keepdim=True) + 1e-6
            surprise = torch.sigmoid(self.gain * (energy / usual).log() + self.bias)
            usual = (1 - rho) * usual + rho * energy
            M = keep * M + torch.einsum("bi,bj->bij", surprise * error, k[:, t])
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.o(torch.stack(out, dim=1))


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
        # router over the two memory systems: [short-term, long-term]
        self.router = nn.Linear(d_model, 2)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x):
        h = self.norm1(x)
        streams = torch.stack([self.attention(h), self.memory(h)], dim=-1)  # (B, T, D, 2)
        weights = torch.softmax(self.router(h), dim=-1).unsqueeze(2)  # (B, T, 1, 2)
        x = x + (streams * weights).sum(dim=-1)
        return x + self.ffn(self.norm2(x))


class SimpleTransformer(nn.Module):
    """Maps input_ids (B, T) int64 to logits (B, T, V)."""

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
