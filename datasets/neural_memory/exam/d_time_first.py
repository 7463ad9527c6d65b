import torch
from torch import nn
from torch.nn import functional as F


class NeuralMemory(nn.Module):
    # inputs and outputs are (T, B, D)
    def __init__(self, D, heads):
        super().__init__()
        self.H = heads
        self.qkvf = nn.Linear(D, 4 * D)
        self.ln = nn.LayerNorm(D // heads)
        self.rho = nn.Parameter(torch.zeros(heads))
        self.surprise = nn.Linear(D // heads, 1)
        self.eta = nn.Parameter(torch.tensor(-1.0))

    def forward(self, x):
        T, B, D = x.shape
        q, k, v, f = (z.reshape(T, B, self.H, D // self.H) for z in self.qkvf(x).split(D, dim=2))
        k = F.normalize(k, dim=3)
        M = torch.zeros(B, self.H, D // self.H, D // self.H)
        S = torch.zeros_like(M)
        inertia = torch.sigmoid(self.rho)[None, :, None, None]
        y = []
        for t in range(T):
            e = v[t] - torch.einsum("bhvk,bhk->bhv", M, k[t])
            grad_norm = e.norm(dim=-1, keepdim=True) * k[t].norm(dim=-1, keepdim=True)
            theta = torch.sigmoid(self.surprise(e) + grad_norm * self.eta)
            S = inertia * S + theta.unsqueeze(-1) * torch.einsum("bhv,bhk->bhvk", e, k[t])
            M = (1 - torch.sigmoid(f[t] - 4)).unsqueeze(-1) * M + S
            y.append(self.ln(torch.einsum("bhvk,bhk->bhv", M, q[t])))
        return torch.stack(y).reshape(T, B, D)


class LocalMHA(nn.Module):
    def __init__(self, D, heads, window, p):
        super().__init__()
        self.window = window
        self.mha = nn.MultiheadAttention(D, heads, dropout=p)

    def forward(self, x):
        T = x.shape[0]
        m = torch.ones(T, T, dtype=torch.bool)
        m = m.triu(1) | m.tril(-self.window)
        return self.mha(x, x, x, attn_mask=m, need_weights=False)[0]


class Layer(nn.Module):
    def __init__(self, D, heads, ff, window, p):
        super().__init__()
        self.a, self.b = nn.LayerNorm(D), nn.LayerNorm(D)
        self.local = LocalMHA(D, heads, window, p)
        self.longterm = NeuralMemory(D, heads)
        self.gl = nn.Linear(2 * D, D, bias=False)
        self.ff = nn.Sequential(nn.Linear(D, ff), nn.GELU(), nn.Dropout(p), nn.Linear(ff, D))

    def forward(self, x):
        y = self.a(x)
        loc, mem = self.local(y), self.longterm(y)
        gate = self.gl(torch.cat((loc, mem), dim=-1))
        mixed = F.glu(torch.cat((loc - mem, gate), dim=-1), dim=-1) + mem
        x = x + mixed
        return x + self.ff(self.b(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256, max_seq_len=512,
                 attention_window=32, dropout=0.1):
        super().__init__()
        self.E = nn.Embedding(vocab_size, d_model)
        self.P = nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.N = nn.LayerNorm(d_model)
        self.U = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        ids = input_ids.transpose(0, 1)
        x = self.E(ids) + self.P(torch.arange(ids.shape[0])).unsqueeze(1)
        for layer in self.layers:
            x = layer(x)
        return self.U(self.N(x)).transpose(0, 1)
