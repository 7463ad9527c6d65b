import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Linear associative memory trained online: S_t = eta S - theta grad, M_t = (1 - alpha) M + S."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.to_kvq = nn.Linear(dim, 3 * dim, bias=False)
        self.to_rates = nn.Linear(dim, 3)
        with torch.no_grad():
            self.to_rates.bias.copy_(torch.tensor([0.0, 0.0, -4.0]))

    def forward(self, x):
        k, v, q = self.to_kvq(x).chunk(3, -1)
        k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
        eta, theta, alpha = torch.sigmoid(self.to_rates(x)).unsqueeze(-1).unbind(2)
        M = x.new_zeros(x.size(0), self.dim, self.dim)
        S = torch.zeros_like(M)
        out = []
        for t in range(x.size(1)):
            kt = k[:, t].unsqueeze(1)
            surprise = torch.baddbmm(-v[:, t].unsqueeze(2), M, kt.mT)
            grad = surprise @ kt
            S = eta[:, t, :, None] * S - theta[:, t, :, None] * grad
            M = (1 - alpha[:, t, :, None]) * M + S
            out.append((M @ q[:, t].unsqueeze(2)).squeeze(2))
        return torch.stack(out, 1)


class SWA(nn.Module):
    def __init__(self, dim, heads, window, dropout):
        super().__init__()
        self.heads, self.window, self.dropout = heads, window, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        i, j = torch.arange(n).unsqueeze(1), torch.arange(n).unsqueeze(0)
        keep = (j <= i) & (i - j < self.window)
        o = F.scaled_dot_product_attention(q, k, v, keep, self.dropout if self.training else 0.0)
        return self.out(o.transpose(1, 2).reshape(b, n, d))


class MAGBlock(nn.Module):
    def __init__(self, dim, heads, ff, window, dropout):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.na, self.nm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mem = SWA(dim, heads, window, dropout), NeuralMemory(dim)
        self.gate = nn.Linear(dim, dim)
        self.ff = nn.Sequential(nn.Linear(dim, ff), nn.SiLU(), nn.Linear(ff, dim), nn.Dropout(dropout))

    def forward(self, x):
        h = self.n1(x)
        a, m = self.na(self.attn(h)), self.nm(self.mem(h))
        g = self.gate(h).sigmoid()
        x = x + a * g + m * (1 - g)
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(MAGBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.shape[1]))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
