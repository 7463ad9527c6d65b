import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import vmap


def write(M, k, v, q, keep, gamma, beta):
    """One sequence, one token: M (d, d), vectors (d,)."""
    err = v - M @ k
    s = torch.sigmoid(gamma * torch.dot(err, err) / (torch.dot(v, v) + 1.0) + beta)
    M = torch.addr(keep * M, s * v, k)
    return M, M @ q


class NeuralMemory(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.d = d
        self.phi = nn.Sequential(nn.Linear(d, d), nn.ReLU())
        self.val = nn.Linear(d, d)
        self.keep = nn.Parameter(torch.tensor(0.9))
        self.gamma = nn.Parameter(torch.tensor(2.0))
        self.beta = nn.Parameter(torch.tensor(0.0))
        self.batched = vmap(write, in_dims=(0, 0, 0, 0, None, None, None))

    def forward(self, x, context):
        k = F.normalize(self.phi(x) + 1e-2, dim=-1)
        q = F.normalize(self.phi(context) + 1e-2, dim=-1)
        v = self.val(x)
        M = torch.zeros(x.size(0), self.d, self.d)
        keep = self.keep.clamp(0.0, 0.999)
        ys = []
        for t in range(x.size(1)):
            M, y = self.batched(M, k[:, t], v[:, t], q[:, t], keep, self.gamma, self.beta)
            ys.append(y)
        return torch.stack(ys, dim=1)


class GroupedAttention(nn.Module):
    """Multi-query attention: heads share one key/value projection."""

    def __init__(self, d, n_heads, window, p):
        super().__init__()
        self.n_heads, self.window = n_heads, window
        self.dh = d // n_heads
        self.q = nn.Linear(d, d)
        self.kv = nn.Linear(d, 2 * self.dh)
        self.o = nn.Linear(d, d)
        self.p = p

    def forward(self, x):
        B, T, D = x.shape
        q = self.q(x).view(B, T, self.n_heads, self.dh).transpose(1, 2)
        k, v = self.kv(x).unsqueeze(1).chunk(2, -1)
        lag = torch.arange(T).view(T, 1) - torch.arange(T).view(1, T)
        s = (q @ k.mT) / self.dh**0.5
        s = torch.where((lag >= 0) & (lag < self.window), s, torch.finfo(s.dtype).min)
        w = F.dropout(torch.softmax(s.double(), -1).to(x.dtype), self.p, self.training)
        return self.o((w @ v).transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d, n_heads, d_ff, window, p):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = GroupedAttention(d, n_heads, window, p)
        self.mem = NeuralMemory(d)
        self.g = nn.Linear(d, n_heads)
        self.n_heads = n_heads
        self.ff = nn.Sequential(nn.Linear(d, d_ff), nn.GELU(), nn.Linear(d_ff, d), nn.Dropout(p))

    def forward(self, x):
        z = self.n1(x)
        a = self.attn(z)
        m = self.mem(z, a)
        g = torch.sigmoid(self.g(a)).repeat_interleave(x.size(-1) // self.n_heads, dim=-1)
        x = x + (g * m + (1 - g) * a)
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList([Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.fin = nn.LayerNorm(d_model)
        self.lm = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.embed(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return {"logits": self.lm(self.fin(x)), "hidden": x}
