import torch
import torch.nn as nn
import torch.nn.functional as F

def band(T, window, device):
    i = torch.arange(T, device=device)
    d = i.unsqueeze(1) - i.unsqueeze(0)
    return (d >= 0).logical_and(d < window)


class NeuralMemory(nn.Module):
    """Delta rule: what a key already recalls is replaced rather than piled up."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.H, self.d = n_heads, d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.o = nn.Linear(d_model, d_model, bias=False)
        self.beta = nn.Linear(self.d, 1)
        self.alpha = nn.Parameter(torch.full((n_heads, 1, 1), 3.0))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.H, self.d).unbind(2)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        M = x.new_zeros(B, self.H, self.d, self.d)
        ys = []
        for t in range(T):
            faded = torch.sigmoid(self.alpha) * M
            delta = v[:, t] - torch.einsum("bhij,bhj->bhi", faded, k[:, t])
            beta = torch.sigmoid(self.beta(delta))
            M = faded + torch.einsum("bhi,bhj->bhij", beta * delta, k[:, t])
            ys.append(torch.einsum("bhij,bhj->bhi", M, q[:, t]).reshape(B, D))
        return self.o(torch.stack(ys, 1))


class ParallelBlock(nn.Module):
    """One norm, then attention and feed-forward side by side from one fused projection."""

    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout, self.d_ff = n_heads, window, dropout, d_ff
        self.ln = nn.LayerNorm(d_model)
        self.fused = nn.Linear(d_model, 3 * d_model + d_ff)
        self.attn_proj = nn.Linear(d_model, d_model)
        self.ff_proj = nn.Linear(d_ff, d_model)
        self.ff_drop = nn.Dropout(dropout)
        self.memory = NeuralMemory(d_model, n_heads)
        self.gate = nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        h = self.ln(x)
        q, k, v, u = self.fused(h).split([D, D, D, self.d_ff], dim=-1)
        q, k, v = [z.reshape(B, T, self.n_heads, D // self.n_heads).transpose(1, 2) for z in (q, k, v)]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=band(T, self.window, x.device),
                                           dropout_p=self.dropout if self.training else 0.0)
        attn_out = self.attn_proj(y.transpose(1, 2).reshape(B, T, D))
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(mem_out))
        mix = (1 - g) * attn_out + g * mem_out
        return x + mix + self.ff_drop(self.ff_proj(F.gelu(u)))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(
            [ParallelBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.ln_f = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        self.apply(self._init)

    @staticmethod
    def _init(m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            nn.init.normal_(m.weight, std=0.08)

    def forward(self, input_ids):
        T = input_ids.size(1)
        x = self.drop(self.wte(input_ids) + self.wpe(torch.arange(T, device=input_ids.device)))
        for blk in self.h:
            x = blk(x)
        return self.lm_head(self.ln_f(x))
