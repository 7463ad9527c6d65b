import torch
import torch.nn as nn
import torch.nn.functional as F

class NeighbourhoodAttention(nn.Module):
    """Gathers each token's last `window` keys and values; a learned bias per distance and head."""

    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.H, self.W = n_heads, window
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.k = nn.Linear(d_model, d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)
        self.o = nn.Linear(d_model, d_model, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_heads, window))
        self.drop = nn.Dropout(dropout)

    def neighbours(self, z):
        # (B, T, D) -> (B, T, H, W, d), the newest token last
        z = F.pad(z, (0, 0, self.W - 1, 0)).unfold(1, self.W, 1)
        B, T, D, W = z.shape
        return z.reshape(B, T, self.H, D // self.H, W).transpose(-1, -2)

    def forward(self, x):
        B, T, D = x.shape
        q = self.q(x).view(B, T, self.H, 1, D // self.H)
        k, v = self.neighbours(self.k(x)), self.neighbours(self.v(x))
        score = (q * k).sum(-1) * (D // self.H) ** -0.5 + self.bias
        age = torch.arange(self.W - 1, -1, -1, device=x.device)
        exists = age[None, :] <= torch.arange(T, device=x.device)[:, None]
        w = self.drop(score.masked_fill(~exists[None, :, None, :], float("-inf")).softmax(-1))
        return self.o((w.unsqueeze(-1) * v).sum(-2).reshape(B, T, D))


class NeuralMemory(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.H, self.d = n_heads, d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.o = nn.Linear(d_model, d_model, bias=False)
        self.scale = nn.Parameter(torch.ones(n_heads, 1))
        self.shift = nn.Parameter(torch.zeros(n_heads, 1))
        self.rate = nn.Parameter(torch.linspace(-3.0, -0.5, n_heads))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.H, self.d).unbind(2)
        k = F.normalize(k, dim=-1)
        fade = torch.exp(-F.softplus(self.rate)).view(-1, 1, 1)
        M = x.new_zeros(B, self.H, self.d, self.d)
        y = []
        for kt, vt, qt in zip(k.unbind(1), v.unbind(1), q.unbind(1)):
            error = (vt - (M @ kt.unsqueeze(-1)).squeeze(-1)).square().mean(-1, keepdim=True)
            s = torch.sigmoid(self.scale * error + self.shift)
            M = fade * M + (s * vt).unsqueeze(-1) * kt.unsqueeze(-2)
            y.append((M @ qt.unsqueeze(-1)).reshape(B, D))
        return self.o(torch.stack(y, 1))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.norm_1 = nn.LayerNorm(d_model)
        self.norm_2 = nn.LayerNorm(d_model)
        self.attend = NeighbourhoodAttention(d_model, n_heads, window, dropout)
        self.wide = nn.Linear(d_model, d_ff)
        self.narrow = nn.Linear(d_ff, d_model)
        self.drop = nn.Dropout(dropout)
        self.memory = NeuralMemory(d_model, n_heads)
        self.norm_m = nn.LayerNorm(d_model)
        self.gate = nn.Linear(d_model, d_model)

    def forward(self, x):
        u = self.norm_m(x)
        x = x + torch.sigmoid(self.gate(u)) * self.memory(u)
        h = self.norm_1(x)
        attn_out = self.attend(h)
        mix = attn_out
        x = x + self.drop(mix)
        return x + self.drop(self.narrow(F.gelu(self.wide(self.norm_2(x)))))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.max_seq_len = max_seq_len
        self.E = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(
            [Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        self.U = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.E(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.U(self.norm(x))
