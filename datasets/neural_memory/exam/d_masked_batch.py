import torch
import torch.nn as nn
import torch.nn.functional as F


def l2(x, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + eps)


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d_model = d_model
        self.W_K = nn.Linear(d_model, d_model, bias=False)
        self.W_V = nn.Linear(d_model, d_model, bias=False)
        self.W_Q = nn.Linear(d_model, d_model, bias=False)
        self.W_G = nn.Linear(d_model, d_model)
        self.similarity = nn.Parameter(torch.tensor(-3.0))
        self.bias = nn.Parameter(torch.tensor(1.0))
        self.lambda_ = nn.Parameter(torch.zeros(d_model) + 2.0)

    def forward(self, x, live=None):
        B, T, D = x.shape
        if live is None:
            live = torch.ones(B, T, dtype=torch.bool, device=x.device)
        memories = [torch.zeros(D, D, device=x.device) for _ in range(B)]
        out = torch.zeros(T, B, D, device=x.device)
        K, V, Q = l2(self.W_K(x)), self.W_V(x), l2(self.W_Q(x))
        column_decay = torch.diag(torch.sigmoid(self.lambda_))
        rows = []
        for t in range(T):
            row = []
            for b in range(B):
                M, k, v = memories[b], K[b, t], V[b, t]
                agreement = torch.dot(M.mv(k), v) / (v.norm() + 1e-3)
                s = torch.sigmoid(self.similarity * agreement + self.bias)
                new = M.mm(column_decay) + s * torch.kron(v.view(-1, 1), k.view(1, -1))
                memories[b] = torch.where(live[b, t], new, M)
                row.append(memories[b].mv(Q[b, t]))
            rows.append(torch.stack(row))
        out = torch.stack(rows) + out
        return out.transpose(0, 1) * F.silu(self.W_G(x))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.window = window
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))
        self.attn = nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True, bias=False)
        self.memory = NeuralMemory(d_model)
        self.beta = nn.Linear(d_model, 1)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        T = x.shape[1]
        i, j = torch.meshgrid(torch.arange(T), torch.arange(T), indexing="ij")
        n = self.norms[0](x)
        a = self.attn(n, n, n, attn_mask=(j > i) | (i - j >= self.window), need_weights=False)[0]
        m = self.memory(self.norms[1](x))
        alpha = 1 / (1 + torch.exp(-self.beta(x)))
        x = x + a - alpha * (a - m)
        return x + self.mlp(self.norms[2](x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.head = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False))

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(x)
