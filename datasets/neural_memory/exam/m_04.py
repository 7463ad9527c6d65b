import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Long-term memory matrix updated token by token.

    - surprise: prediction error of the memory decides how strongly to write
    - decay: learned forgetting factor
    - binding: outer product of value and key
    """

    def __init__(self, d_model, d_mem=64):
        super().__init__()
        self.d_mem = d_mem
        self.W_k = nn.Linear(d_model, d_mem, bias=False)
        self.W_v = nn.Linear(d_model, d_mem, bias=False)
        self.W_q = nn.Linear(d_model, d_mem, bias=False)
        self.W_o = nn.Linear(d_mem, d_model, bias=False)

        self.decay = nn.Parameter(torch.tensor(2.0))
        self.surprise_scale = nn.Parameter(torch.tensor(1.0))
        self.surprise_bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        B, T, D = x.shape
        M = torch.zeros(B, self.d_mem, self.d_mem, device=x.device, dtype=x.dtype)
        K = F.normalize(self.W_k(x), dim=-1)
        V = self.W_v(x)
        Q = F.normalize(self.W_q(x), dim=-1)
        decay = torch.sigmoid(self.decay)
        outs = []
        for t in range(T):
            k, v, q = K[:, t], V[:, t], Q[:, t]

            # retrieve first: what does the memory know before seeing this token?
            outs.append(torch.bmm(M, q.unsqueeze(2)).squeeze(2))

            # surprise = how wrong was the memory about v given k
            pred = torch.bmm(M, k.unsqueeze(2)).squeeze(2)
            err = (v - pred).pow(2).mean(dim=-1, keepdim=True)
            gate = torch.sigmoid(self.surprise_scale * err + self.surprise_bias)

            M = decay * M + gate.unsqueeze(2) * torch.bmm(v.unsqueeze(2), k.unsqueeze(1))
        return self.W_o(torch.stack(outs, dim=1))


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
        self.norm_mem = nn.LayerNorm(d_model)
        self.memory = NeuralMemory(d_model)
        self.mem_gate = nn.Linear(d_model, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        # blend in long-term memory
        h = self.norm_mem(x)
        x = x + torch.sigmoid(self.mem_gate(h)) * self.memory(h)
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
            [
                TransformerBlock(d_model, n_heads, d_ff, attention_window, dropout)
                for _ in range(n_layers)
            ]
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
