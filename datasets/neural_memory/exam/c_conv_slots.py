import torch
import torch.nn as nn
import torch.nn.functional as F

class CausalConv(nn.Module):
    """Depthwise convolution over the last few tokens."""

    def __init__(self, d_model, width=3):
        super().__init__()
        self.width = width
        self.conv = nn.Conv1d(d_model, d_model, width, groups=d_model)

    def forward(self, x):
        return self.conv(F.pad(x.transpose(1, 2), (self.width - 1, 0))).transpose(1, 2)


class ConvAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.h, self.window, self.p = n_heads, window, dropout
        self.short = CausalConv(3 * d_model)
        self.inp = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.short(self.inp(x)).view(b, t, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
        m = torch.ones(t, t, dtype=torch.bool, device=x.device)
        m = m.tril() & ~m.tril(-self.window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=m, dropout_p=self.p if self.training else 0.0)
        return self.out(y.permute(0, 2, 1, 3).reshape(b, t, d))


class NeuralMemory(nn.Module):
    """A table of slots: tokens write their value at a soft address."""

    def __init__(self, d_model, slots=12):
        super().__init__()
        self.slots = slots
        self.write_addr = nn.Linear(d_model, slots)
        self.read_addr = nn.Linear(d_model, slots)
        self.value = nn.Linear(d_model, d_model)
        self.surprise = nn.Linear(2 * d_model, 1)
        self.slot_decay = nn.Parameter(torch.full((slots, 1), 3.0))
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x):
        b, t, d = x.shape
        wa, ra, val = self.write_addr(x).softmax(-1), self.read_addr(x).softmax(-1), self.value(x)
        table = x.new_zeros(b, self.slots, d)
        y = []
        for i in range(t):
            found = torch.einsum("bn,bnd->bd", wa[:, i], table)
            s = torch.sigmoid(self.surprise(torch.cat([found, val[:, i] - found], -1)))
            table = torch.sigmoid(self.slot_decay) * table + torch.einsum("bn,bd->bnd", s * wa[:, i], val[:, i])
            y.append(torch.einsum("bn,bnd->bd", ra[:, i], table))
        return self.out(torch.stack(y, 1))


class Layer(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.norm = nn.ModuleList([nn.LayerNorm(d_model) for _ in range(3)])
        self.conv = CausalConv(d_model)
        self.attn = ConvAttention(d_model, n_heads, window, dropout)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Dropout(dropout), nn.Linear(d_ff, d_model))
        self.memory = NeuralMemory(d_model)
        self.alpha = nn.Linear(d_model, d_model)

    def forward(self, x):
        x = x + F.silu(self.conv(self.norm[0](x)))
        h = self.norm[1](x)
        attn_out = self.attn(h)
        g = torch.sigmoid(self.alpha(h))
        mix = (1 - g) * attn_out + g * self.memory(h)
        x = x + mix
        return x + self.ff(self.norm[2](x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.max_seq_len = max_seq_len
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList([Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        self.classifier = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.embedding(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.classifier(self.norm(x))
