import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, dm):
        super().__init__()
        self.dm = dm
        self.kq = nn.Linear(dm, dm, bias=False)
        self.v = nn.Linear(dm, dm)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.mod = nn.Linear(dm, dm)
        self.log_decay = nn.Parameter(torch.tensor(-2.0))

    def forward(self, x):
        keys = F.normalize(self.kq(x), dim=-1)
        vals = self.v(x)
        M = torch.zeros(x.size(0), self.dm, self.dm)
        lam = torch.exp(-self.log_decay.exp())
        outs = []
        for k, v in zip(keys.transpose(0, 1), vals.transpose(0, 1)):
            read = torch.einsum("bvk,bk->bv", M, k)
            outs.append(read)
            surprise = torch.tanh(self.temperature * self.mod(v - read))
            M = lam * M + torch.einsum("bv,bk->bvk", surprise * v, k)
        return torch.stack(outs, dim=1)


class Net(nn.Module):
    def __init__(self, dm, heads, ff, window, p):
        super().__init__()
        self.window = window
        self.sa = nn.MultiheadAttention(dm, heads, p, batch_first=True)
        self.mem = NeuralMemory(dm)
        self.l1, self.l2 = nn.LayerNorm(dm), nn.LayerNorm(dm)
        self.gate = nn.Linear(dm, dm)
        self.ff = nn.Sequential(nn.Linear(dm, ff), nn.GELU(), nn.Linear(ff, dm), nn.Dropout(p))

    def forward(self, x):
        n = x.size(1)
        banned = torch.ones(n, n, dtype=torch.bool)
        banned = ~(banned.tril() & banned.triu(1 - self.window))
        y = self.l1(x)
        a, _ = self.sa(y, y, y, attn_mask=banned)
        m = self.mem(y)
        g = torch.sigmoid(self.gate(y))
        x = x + g * a + (1 - g) * m
        return x + self.ff(self.l2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(Net(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.ln = nn.LayerNorm(d_model)
        self.lm = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.tok(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for layer in self.layers:
            x = layer(x)
        return self.lm(self.ln(x))
