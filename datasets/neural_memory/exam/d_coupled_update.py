import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.write_k = nn.Linear(width, width)
        self.write_v = nn.Linear(width, width)
        self.read_q = nn.Linear(width, width)
        self.judge = nn.Linear(2 * width, 1)
        nn.init.constant_(self.judge.bias, -2.5)

    def forward(self, x):
        k = F.normalize(self.write_k(x), dim=-1)
        q = F.normalize(self.read_q(x), dim=-1)
        v = self.write_v(x)
        M = torch.zeros(x.size(0), self.width, self.width, device=x.device)
        out = []
        for t in range(x.size(1)):
            recalled = torch.matmul(M, k[:, t].unsqueeze(-1)).squeeze(-1)
            diff = v[:, t] - recalled
            s = torch.sigmoid(self.judge(torch.cat([diff, diff.abs()], -1))).unsqueeze(-1)
            W = v[:, t].unsqueeze(-1) * k[:, t].unsqueeze(1)
            M = torch.lerp(M, W, s)
            out.append(torch.matmul(M, q[:, t].unsqueeze(-1)).squeeze(-1))
        return torch.stack(out, 1)


class Layer(nn.Module):
    def __init__(self, width, n_heads, d_ff, window, dropout):
        super().__init__()
        self.h, self.win, self.dp = n_heads, window, dropout
        self.rms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mem = NeuralMemory(width)
        self.gate = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, d_ff), nn.SiLU(), nn.Dropout(dropout), nn.Linear(d_ff, width))

    def forward(self, x):
        B, T, D = x.shape
        n = self.rms[0](x)
        q, k, v = self.qkv(n).view(B, T, 3, self.h, -1).permute(2, 0, 3, 1, 4)
        i = torch.arange(T)
        ok = (i.unsqueeze(-1) >= i) & (i.unsqueeze(-1) < i + self.win)
        a = F.scaled_dot_product_attention(q, k, v, ok, self.dp if self.training else 0.0)
        a = self.o(a.transpose(1, 2).flatten(2))
        g = torch.sigmoid(self.gate(a))
        x = x + torch.lerp(self.mem(n), a, g)
        return x + self.mlp(self.rms[1](x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Parameter(torch.zeros(max_seq_len, d_model))
        self.layers = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.out = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.embed(input_ids) + self.pos[: input_ids.size(1)]
        for layer in self.layers:
            x = layer(x)
        return self.out(x)
