import torch
from torch import nn, Tensor
import torch.nn.functional as F


def rope_table(dim: int, length: int, base: float = 10000.0) -> Tensor:
    freqs = base ** (-torch.arange(0, dim, 2).float() / dim)
    angles = torch.outer(torch.arange(length).float(), freqs)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    pad = x.shape[-1] % 2
    if pad:
        x = F.pad(x, (0, 1))
    xc = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    y = torch.view_as_real(xc * table).flatten(-2)
    return y[..., :-1] if pad else y


class NeuralMemory(nn.Module):
    """Recurrent associative cell, used like nn.LSTMCell."""

    def __init__(self, input_size: int, d_mem: int):
        super().__init__()
        self.d_mem = d_mem
        self.weight_ih = nn.Parameter(torch.empty(3 * d_mem, input_size))
        self.weight_err = nn.Parameter(torch.empty(1, d_mem))
        self.bias_err = nn.Parameter(torch.zeros(1))
        self.retention = nn.Parameter(torch.tensor(2.5))
        nn.init.xavier_uniform_(self.weight_ih)
        nn.init.normal_(self.weight_err, std=0.3)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = x.new_zeros(x.size(0), self.d_mem, self.d_mem)
        k, v, q = F.linear(x, self.weight_ih).chunk(3, dim=-1)
        k = F.normalize(k, dim=-1)
        q = F.normalize(q, dim=-1)
        predicted = torch.bmm(state, k.unsqueeze(-1)).squeeze(-1)
        mismatch = (v - predicted).abs()
        novelty = torch.sigmoid(F.linear(mismatch, self.weight_err, self.bias_err))
        write = torch.bmm((novelty * v).unsqueeze(-1), k.unsqueeze(1))
        state = torch.sigmoid(self.retention) * state + write
        return torch.bmm(state, q.unsqueeze(-1)).squeeze(-1), state


class RotaryAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, max_len, p):
        super().__init__()
        self.h, self.window, self.p = n_heads, window, p
        self.dh = d_model // n_heads
        self.to_q = nn.Linear(d_model, d_model, bias=False)
        self.to_kv = nn.Linear(d_model, 2 * d_model, bias=False)
        self.proj = nn.Linear(d_model, d_model, bias=False)
        self.register_buffer("table", rope_table(self.dh + self.dh % 2, max_len), persistent=False)

    def forward(self, x):
        B, T, D = x.shape
        q = self.to_q(x).view(B, T, self.h, self.dh).transpose(1, 2)
        k, v = self.to_kv(x).view(B, T, 2, self.h, self.dh).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, self.table[:T]), rotate(k, self.table[:T])
        i = torch.arange(T)
        band = (i[:, None] >= i[None]) & (i[:, None] - i[None] < self.window)
        s = (q @ k.transpose(-1, -2)) * self.dh**-0.5
        a = s.masked_fill(~band, float("-inf")).softmax(-1)
        a = F.dropout(a, self.p, self.training)
        return self.proj((a @ v).transpose(1, 2).reshape(B, T, D))


class Layer(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, max_len, p):
        super().__init__()
        self.ln_a, self.ln_b = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.attn = RotaryAttention(d_model, n_heads, window, max_len, p)
        self.cell = NeuralMemory(d_model, d_model)
        self.mix = nn.Linear(2 * d_model, d_model)
        self.up, self.gate = nn.Linear(d_model, d_ff), nn.Linear(d_model, d_ff)
        self.down = nn.Linear(d_ff, d_model)
        self.drop = nn.Dropout(p)

    def forward(self, x):
        u = self.ln_a(x)
        a = self.attn(u)
        state, outs = None, []
        for token in u.unbind(1):
            y, state = self.cell(token, state)
            outs.append(y)
        m = torch.stack(outs, 1)
        w = torch.sigmoid(self.mix(torch.cat((a, m), -1)))
        x = x + torch.lerp(m, a, w)
        z = self.ln_b(x)
        return x + self.drop(self.down(F.silu(self.gate(z)) * self.up(z)))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(
            [Layer(d_model, n_heads, d_ff, attention_window, max_seq_len, dropout) for _ in range(n_layers)]
        )
        self.final = nn.RMSNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.tok(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.final(x))
