import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """M is kept flat as (B, d*d) and written with index_add; position n holds (n // d, n % d)."""

    def __init__(self, d_model, d_mem=12):
        super().__init__()
        self.d = d_mem
        self.enc = nn.Linear(d_model, 3 * d_mem)
        self.dec = nn.Linear(d_mem, d_model)
        grid = torch.cartesian_prod(torch.arange(d_mem), torch.arange(d_mem))
        self.register_buffer("row", grid[:, 0])
        self.register_buffer("col", grid[:, 1])
        self.forget_w = nn.Parameter(torch.zeros(d_mem, d_mem))
        self.s_w = nn.Parameter(torch.tensor([1.0, 1.0, -0.3]))

    def retrieve(self, M, a):
        products = M * a[:, self.col]
        return torch.zeros(M.size(0), self.d).index_add(1, self.row, products)

    def forward(self, x):
        B = x.size(0)
        k, v, q = self.enc(x).tensor_split(3, dim=-1)
        k = F.normalize(k.relu() + 1e-3, dim=-1)
        q = F.normalize(q.relu() + 1e-3, dim=-1)
        keep = torch.exp(-F.softplus(self.forget_w - 2)).flatten()
        M = torch.zeros(B, self.d * self.d)
        everything = torch.arange(self.d * self.d)
        reads = []
        for t in range(x.size(1)):
            e = v[:, t] - self.retrieve(M, k[:, t])
            u = e.square().sum(-1, keepdim=True).add(1e-6).sqrt()
            s = torch.sigmoid(self.s_w[0] * u + self.s_w[1] * (1 - torch.exp(-u)) + self.s_w[2])
            pair = (s * v[:, t])[:, self.row] * k[:, t][:, self.col]
            M = (M * keep).index_add(1, everything, pair)
            reads.append(self.retrieve(M, q[:, t]))
        return self.dec(torch.stack(reads, 1))


class NeighbourAttention(nn.Module):
    """Gathers the last `window` keys of every position by unfolding, so no T x T score is built."""

    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.H, self.W = n_heads, window
        self.q = nn.Linear(d_model, d_model)
        self.k = nn.Linear(d_model, d_model)
        self.v = nn.Linear(d_model, d_model)
        self.o = nn.Linear(d_model, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, D = x.shape
        q = self.q(x).view(B, T, self.H, 1, -1)
        k, v = (
            F.pad(f(x), (0, 0, self.W - 1, 0)).unfold(1, self.W, 1).reshape(B, T, self.H, D // self.H, self.W)
            for f in (self.k, self.v)
        )
        s = (q @ k).squeeze(-2) / (D // self.H) ** 0.5
        real = torch.arange(T)[:, None] + torch.arange(self.W)[None] >= self.W - 1
        p = self.drop(s.masked_fill(~real[None, :, None], float("-inf")).softmax(-1))
        return self.o(torch.einsum("bthw,bthdw->bthd", p, v).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.ln1 = nn.LayerNorm(d_model)
        self.ln2 = nn.LayerNorm(d_model)
        self.attn = NeighbourAttention(d_model, n_heads, window, dropout)
        self.mem = NeuralMemory(d_model)
        self.gate = nn.GRUCell(d_model, d_model)
        self.to_gate = nn.Linear(d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))

    def forward(self, x):
        n = self.ln1(x)
        a, m = self.attn(n), self.mem(n)
        B, T, D = x.shape
        mixed = self.gate(m.reshape(-1, D), a.reshape(-1, D)).view(B, T, D)
        g = torch.sigmoid(self.to_gate(mixed))
        x = x + torch.addcmul(m, g, a - m)
        return x + self.ff(self.ln2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.ln = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        h = self.emb(input_ids) + self.pos(torch.arange(input_ids.shape[1]))[None]
        for b in self.blocks:
            h = b(h)
        return self.head(self.ln(h))
