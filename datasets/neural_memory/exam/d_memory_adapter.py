import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.norm = nn.LayerNorm(d_model)
        self.kvq = nn.Linear(d_model, 3 * d_model, bias=False)
        self.decay = nn.Parameter(torch.linspace(0.5, 4.0, d_model))
        self.surprise = nn.Linear(d_model + 1, 1)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x):
        h = self.norm(x)
        k, v, q = self.kvq(h).chunk(3, -1)
        k, q = F.normalize(k, dim=-1), F.normalize(q, dim=-1)
        M = torch.zeros(x.size(0), self.d, self.d)
        lam = torch.sigmoid(self.decay).unsqueeze(0)
        ys = []
        for t in range(x.size(1)):
            e = (v[:, t] - (M @ k[:, t, :, None])[..., 0]).norm(dim=-1, keepdim=True)
            s = torch.sigmoid(self.surprise(torch.cat([e, h[:, t]], -1)))
            M = lam * M + (s * v[:, t])[..., None] * k[:, t, None]
            ys.append((M @ q[:, t, :, None])[..., 0])
        return self.out(torch.stack(ys, 1))


class GatedResidual(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.lin = nn.Linear(2 * d_model, d_model)
        nn.init.constant_(self.lin.bias, -1.0)

    def forward(self, base, extra):
        return base + torch.sigmoid(self.lin(torch.cat([base, extra], -1))) * extra


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.window = window
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True)
        self.memory, self.merge = NeuralMemory(d_model), GatedResidual(d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        T = x.shape[1]
        hide = ~torch.ones(T, T, dtype=torch.bool).tril().triu(1 - self.window)
        n = self.n1(x)
        x = x + self.attn(n, n, n, attn_mask=hide, need_weights=False)[0]
        x = self.merge(x, self.memory(x))
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
