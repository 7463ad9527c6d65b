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
    """Every entry of M has its own rate of decay."""

    def __init__(self, d_model, d_mem=14):
        super().__init__()
        self.d_mem = d_mem
        self.q = nn.Linear(d_model, d_mem, bias=False)
        self.k = nn.Linear(d_model, d_mem, bias=False)
        self.v = nn.Linear(d_model, d_mem, bias=False)
        self.o = nn.Linear(d_mem, d_model)
        self.D = nn.Parameter(torch.randn(d_mem, d_mem) + 2.0)
        self.surprise = nn.Bilinear(d_mem, d_mem, 1)

    def forward(self, x):
        B, T, _ = x.shape
        out = x.new_empty(B, T, self.d_mem)
        M = x.new_zeros(B, self.d_mem, self.d_mem)
        D = torch.sigmoid(self.D)
        for t in range(T):
            k, v = F.normalize(self.k(x[:, t]), dim=-1), self.v(x[:, t])
            s = torch.sigmoid(self.surprise(v, torch.einsum("bij,bj->bi", M, k)))
            M = (D * M).add_(torch.einsum("bi,bj->bij", s * v, k))
            out[:, t] = torch.einsum("bij,bj->bi", M, self.q(x[:, t]))
        return self.o(out)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.norm_1 = nn.LayerNorm(d_model)
        self.norm_2 = nn.LayerNorm(d_model)
        self.attend = NeighbourhoodAttention(d_model, n_heads, window, dropout)
        self.wide = nn.Linear(d_model, d_ff)
        self.narrow = nn.Linear(d_ff, d_model)
        self.drop = nn.Dropout(dropout)
        self.memory = NeuralMemory(d_model)
        self.a_score = nn.Linear(d_model, 1)
        self.m_score = nn.Linear(d_model, 1)

    def forward(self, x):
        h = self.norm_1(x)
        attn_out = self.attend(h)
        mem_out = self.memory(h)
        w = torch.softmax(torch.cat([self.a_score(attn_out), self.m_score(mem_out)], -1), -1)
        wa, wm = w.split(1, -1)
        mix = wa * attn_out + wm * mem_out
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
