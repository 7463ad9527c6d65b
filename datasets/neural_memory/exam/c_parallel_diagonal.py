import torch
import torch.nn as nn
import torch.nn.functional as F

def band(T, window, device):
    i = torch.arange(T, device=device)
    d = i.unsqueeze(1) - i.unsqueeze(0)
    return (d >= 0).logical_and(d < window)


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem=24):
        super().__init__()
        self.d_mem = d_mem
        self.q, self.k, self.v = nn.Linear(d_model, d_mem), nn.Linear(d_model, d_mem), nn.Linear(d_model, d_mem)
        self.o = nn.Linear(d_mem, d_model)
        self.surprise = nn.Linear(d_mem, 1)
        self.decay = nn.Parameter(torch.tensor(2.0))
        self.M0 = nn.Parameter(torch.randn(d_mem, d_mem) * 0.1)

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        M = self.M0.expand(x.shape[0], -1, -1)
        y = []
        for t in range(x.shape[1]):
            s = torch.sigmoid(self.surprise(v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])))
            bound = torch.diag_embed(v[:, t] * k[:, t])
            M = torch.sigmoid(self.decay) * M + s[..., None] * bound
            y.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.o(torch.stack(y, 1))


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
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        h = self.ln(x)
        q, k, v, u = self.fused(h).split([D, D, D, self.d_ff], dim=-1)
        q, k, v = [z.reshape(B, T, self.n_heads, D // self.n_heads).transpose(1, 2) for z in (q, k, v)]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=band(T, self.window, x.device),
                                           dropout_p=self.dropout if self.training else 0.0)
        attn_out = self.attn_proj(y.transpose(1, 2).reshape(B, T, D))
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], dim=-1)))
        mix = g * attn_out + (1 - g) * mem_out
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
