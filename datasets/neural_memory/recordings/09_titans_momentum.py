# A hand-written example of a submission, not a model's answer.
# Test-time learning in the manner of Titans: the gradient of the recall loss, with momentum, is the
# write, and one linear map of the token gives learning rate, momentum and forgetting. The error is
# therefore WHAT is written; no gate decides from the error HOW MUCH is. The read multiplies the
# attention output.
# Meant to fail: surprise_gate (rates are sigmoids of the token alone) and memory_attention_gating
# (attn * sigmoid(memory) is a modulation, not an interpolation).

import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """M <- (1 - alpha) M + S with S <- eta S - theta dL/dM and L = 1/2 |M k - v|^2."""

    def __init__(self, d_model: int):
        super().__init__()
        self.to_k = nn.Linear(d_model, d_model, bias=False)
        self.to_v = nn.Linear(d_model, d_model, bias=False)
        self.to_q = nn.Linear(d_model, d_model, bias=False)
        self.rates = nn.Linear(d_model, 3)
        with torch.no_grad():
            # eta 0.5, theta 0.27, alpha 0.02 at the start: forget slowly
            self.rates.bias.copy_(torch.tensor([0.0, -1.0, -4.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        k = F.normalize(self.to_k(x), dim=-1)
        q = F.normalize(self.to_q(x), dim=-1)
        v = self.to_v(x)
        eta, theta, alpha = torch.sigmoid(self.rates(x)).unsqueeze(-1).unbind(dim=2)

        M = torch.zeros(B, D, D, device=x.device, dtype=x.dtype)
        S = torch.zeros_like(M)
        ys = []
        for t in range(T):
            kt = k[:, t].unsqueeze(-1)
            error = M @ kt - v[:, t].unsqueeze(-1)
            grad = error @ kt.transpose(1, 2)
            S = eta[:, t].unsqueeze(-1) * S - theta[:, t].unsqueeze(-1) * grad
            M = (1 - alpha[:, t].unsqueeze(-1)) * M + S
            ys.append((M @ q[:, t].unsqueeze(-1)).squeeze(-1))
        return torch.stack(ys, dim=1)


class SlidingAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, D // self.n_heads).permute(2, 0, 3, 1, 4)
        band = torch.ones(T, T, dtype=torch.bool, device=x.device).tril().triu(1 - self.window)
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=band, dropout_p=p)
        return self.proj(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_ff: int, window: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.norm_m = nn.LayerNorm(d_model)
        self.attn = SlidingAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.SiLU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        x = x + self.attn(h) * torch.sigmoid(self.norm_m(self.memory(h)))
        return x + self.mlp(self.norm2(x))


class SimpleTransformer(nn.Module):
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
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(
            [Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)]
        )
        self.ln_f = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        pos = torch.arange(input_ids.size(1), device=input_ids.device)
        x = self.drop(self.wte(input_ids) + self.wpe(pos))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))
