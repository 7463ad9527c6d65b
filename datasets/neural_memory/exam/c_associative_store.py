import torch
import torch.nn as nn
import torch.nn.functional as F

class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.scale


def apply_rope(x, positions):
    # x: (B, H, T, d); an odd last channel is left alone
    half = x.shape[-1] // 2
    if half == 0:
        return x
    freqs = 10000.0 ** (-torch.arange(half, device=x.device, dtype=x.dtype) / half)
    angle = positions.to(x.dtype)[:, None] * freqs
    cos, sin = angle.cos(), angle.sin()
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


class RotaryAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        assert d_model % n_heads == 0
        self.n_heads = n_heads
        self.window = window
        self.wq = nn.Linear(d_model, d_model, bias=False)
        self.wk = nn.Linear(d_model, d_model, bias=False)
        self.wv = nn.Linear(d_model, d_model, bias=False)
        self.wo = nn.Linear(d_model, d_model, bias=False)
        self.p = dropout

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (w(x).view(B, T, self.n_heads, -1).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        pos = torch.arange(T, device=x.device)
        q, k = apply_rope(q, pos), apply_rope(k, pos)
        mask = (pos[:, None] >= pos) & (pos[:, None] - pos < self.window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.p if self.training else 0.0)
        return self.wo(y.transpose(1, 2).reshape(B, T, D))


class SwiGLU(nn.Module):
    def __init__(self, d_model, d_ff, dropout):
        super().__init__()
        self.up = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        a, b = self.up(x).chunk(2, dim=-1)
        return self.drop(self.down(F.silu(a) * b))


class AssociativeStore(nn.Module):
    def __init__(self, d_model, d_mem=20):
        super().__init__()
        self.d_mem = d_mem
        self.qkv = nn.Linear(d_model, 3 * d_mem, bias=False)
        self.out = nn.Linear(d_mem, d_model, bias=False)
        self.novelty = nn.Linear(d_mem, 1)
        self.forget = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        k = F.normalize(k, dim=-1)
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        y = []
        for t in range(x.shape[1]):
            s = torch.sigmoid(self.novelty(v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])))
            M = torch.sigmoid(self.forget) * M + torch.einsum("bi,bj->bij", s * v[:, t], k[:, t])
            y.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.out(torch.stack(y, 1))


class DecoderLayer(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.norm_mix = RMSNorm(d_model)
        self.norm_ff = RMSNorm(d_model)
        self.attn = RotaryAttention(d_model, n_heads, window, dropout)
        self.ff = SwiGLU(d_model, d_ff, dropout)
        self.store = AssociativeStore(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, x):
        h = self.norm_mix(x)
        attn_out = self.attn(h)
        mem_out = self.store(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], -1)))
        mix = g * attn_out + (1 - g) * mem_out
        x = x + mix
        return x + self.ff(self.norm_ff(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.max_seq_len = max_seq_len
        self.embed = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.final_norm = RMSNorm(d_model)
        self.unembed = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.unembed(self.final_norm(x))
