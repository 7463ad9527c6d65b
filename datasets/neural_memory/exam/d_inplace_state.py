import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.Wk, self.Wv, self.Wq = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        self.Ws = nn.Linear(d_model, 1)
        self.decay = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        B, T, D = x.shape
        k, q, v = F.normalize(self.Wk(x), dim=-1), F.normalize(self.Wq(x), dim=-1), self.Wv(x)
        M = torch.zeros(B, D, D)
        out = []
        for t in range(T):
            read = torch.bmm(M, k[:, t].unsqueeze(-1)).squeeze(-1)
            s = torch.sigmoid(self.Ws((v[:, t] - read).pow(2)))
            M.mul_(torch.sigmoid(self.decay))
            M.add_((s * v[:, t]).unsqueeze(-1) * k[:, t].unsqueeze(1))
            out.append(torch.bmm(M, q[:, t].unsqueeze(-1)).squeeze(-1))
        return torch.stack(out, 1)


class Layer(nn.Module):
    def __init__(self, d, h, ff, window, p):
        super().__init__()
        self.h, self.window, self.p = h, window, p
        self.norm1, self.norm2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.qkv, self.o = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.memory = NeuralMemory(d)
        self.gate = nn.Linear(d, d)
        self.ff = nn.Sequential(nn.Linear(d, ff), nn.SiLU(), nn.Linear(ff, d), nn.Dropout(p))

    def forward(self, x):
        B, T, D = x.shape
        n = self.norm1(x)
        q, k, v = self.qkv(n).view(B, T, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
        i = torch.arange(T)
        mask = (i[:, None] >= i) & (i[:, None] - i < self.window)
        a = F.scaled_dot_product_attention(q, k, v, mask, self.p if self.training else 0.0)
        a = self.o(a.transpose(1, 2).reshape(B, T, D))
        m = self.memory(n)
        g = torch.sigmoid(self.gate(n))
        x = x + torch.lerp(a, m, g)
        return x + self.ff(self.norm2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.lm = nn.RMSNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.tok(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for layer in self.layers:
            x = layer(x)
        return self.lm(self.norm(x))
