import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """A single set of memory weights reused by all layers (each layer keeps its own state)."""

    def __init__(self, d):
        super().__init__()
        self.d = d
        self.Wk, self.Wv, self.Wq = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.decay = nn.Parameter(torch.tensor(0.95))
        self.gain, self.thresh = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.panic = nn.Parameter(torch.tensor([-4.0, 0.5]))

    def forward(self, x):
        def update(M, k, v):
            p = torch.tensordot(M.view(-1, self.d, self.d), torch.eye(self.d), dims=1)
            p = (p * k[:, None, :]).sum(-1)
            e = (p - v).abs().mean(-1)
            s = torch.sigmoid(self.gain * (e - self.thresh))
            wipe = torch.sigmoid(self.panic[0] + self.panic[1] * e)
            kept = self.decay.clamp(0, 1) * (1 - wipe)
            outer = torch.stack([torch.outer(vi, ki).reshape(-1) for vi, ki in zip(v, k)])
            return M * kept[:, None] + s[:, None] * outer

        k, q = F.normalize(self.Wk(x), dim=-1), F.normalize(self.Wq(x), dim=-1)
        v = self.Wv(x)
        M = torch.zeros(x.shape[0], self.d * self.d)
        reads = []
        for t in range(x.shape[1]):
            M = update(M, k[:, t], v[:, t])
            reads.append(torch.bmm(M.view(-1, self.d, self.d), q[:, t, :, None])[:, :, 0])
        return torch.stack(reads, 1)


class Attention(nn.Module):
    def __init__(self, d, n, w, p):
        super().__init__()
        self.n, self.w, self.p = n, w, p
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))

    def forward(self, x):
        B, T, d = x.shape
        view = lambda z: z.view(B, T, self.n, d // self.n).transpose(1, 2)
        idx = torch.arange(T)
        rel = idx[:, None] - idx
        y = F.scaled_dot_product_attention(
            view(self.q(x)), view(self.k(x)), view(self.v(x)),
            attn_mask=(rel > -1) & (rel < self.w), dropout_p=self.p if self.training else 0.0,
        )
        return self.o(y.transpose(1, 2).reshape(B, T, d))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.inp = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.memory = NeuralMemory(d_model)
        self.attn = nn.ModuleList(Attention(d_model, n_heads, attention_window, dropout) for _ in range(n_layers))
        self.ffn = nn.ModuleList(
            nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model)) for _ in range(n_layers)
        )
        self.mix = nn.Parameter(torch.zeros(n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2 * n_layers + 1))
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.drop(self.inp(input_ids) + self.pos(torch.arange(input_ids.shape[1])))
        for i, (attn, ffn) in enumerate(zip(self.attn, self.ffn)):
            h = self.norms[2 * i](x)
            a = attn(h)
            m = self.memory(h)
            g = torch.sigmoid(self.mix[i])
            x = x + self.drop(m + g * (a - m))
            x = x + self.drop(ffn(self.norms[2 * i + 1](x)))
        return self.out(self.norms[-1](x))
