import torch
import torch.nn as nn
import torch.nn.functional as F

class LocalAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.inner = nn.MultiheadAttention(d_model, n_heads, dropout=dropout, batch_first=True)
        self.window = window

    def forward(self, x):
        i = torch.arange(x.shape[1], device=x.device)
        blocked = (i[None, :] > i[:, None]) | (i[None, :] <= i[:, None] - self.window)
        y, _ = self.inner(x, x, x, attn_mask=blocked, need_weights=False)
        return y


class Layer(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.attn = LocalAttention(d_model, n_heads, window, dropout)
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.ff(self.n2(x))


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.proj_k = nn.Linear(d_model, d_model)
        self.proj_v = nn.Linear(d_model, d_model)
        self.proj_q = nn.Linear(d_model, d_model)
        self.surprise = nn.Linear(d_model, d_model)
        self.decay = nn.Parameter(torch.full((d_model,), 2.0))

    def forward(self, x):
        y = x.flip(1)  # the oldest token comes last, and is handled first
        ks, vs, qs = F.normalize(self.proj_k(y), dim=-1), self.proj_v(y), F.normalize(self.proj_q(y), dim=-1)
        M = torch.zeros(x.shape[0], self.d, self.d, dtype=x.dtype, device=x.device)
        res = [None] * x.shape[1]
        for i in range(x.shape[1] - 1, -1, -1):
            k = ks[:, i]
            err = vs[:, i] - torch.matmul(M, k.unsqueeze(-1)).squeeze(-1)
            s = torch.sigmoid(self.surprise(err))
            M = torch.sigmoid(self.decay)[:, None] * M + (s * vs[:, i]).unsqueeze(-1) * k.unsqueeze(-2)
            res[i] = torch.matmul(M, qs[:, i].unsqueeze(-1)).squeeze(-1)
        return torch.stack(res, 1).flip(1)


class SimpleTransformer(nn.Module):
    """A plain windowed stack on one side, the memory over the embeddings on the other."""

    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.place = nn.Parameter(torch.randn(max_seq_len, d_model) * 0.1)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm_stack = nn.LayerNorm(d_model)
        self.norm_out = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.memory = NeuralMemory(d_model)
        self.chooser = nn.Sequential(nn.Linear(2 * d_model, d_model), nn.GELU(), nn.Linear(d_model, 1))

    def forward(self, input_ids):
        h = self.drop(self.embed(input_ids) + self.place[: input_ids.shape[1]])
        x = h
        for layer in self.layers:
            x = layer(x)
        attn_out = self.norm_stack(x)
        mem_out = self.memory(h)
        g = torch.sigmoid(self.chooser(torch.cat([attn_out, mem_out], dim=-1)))
        mix = g * mem_out + (1 - g) * attn_out
        return self.head(self.norm_out(mix))
