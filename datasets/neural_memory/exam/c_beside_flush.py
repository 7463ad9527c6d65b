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
    """Writes are collected and consolidated every few tokens."""

    def __init__(self, d_model, d_mem=20, every=4):
        super().__init__()
        self.d_mem, self.every = d_mem, every
        self.q, self.k, self.v = (nn.Linear(d_model, d_mem, bias=False) for _ in range(3))
        self.o = nn.Linear(d_mem, d_model)
        self.surprise = nn.Linear(d_mem, 1)
        self.decay = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        waiting, y = [], []
        for t in range(x.shape[1]):
            k, v = F.normalize(self.k(x[:, t]), dim=-1), self.v(x[:, t])
            s = torch.sigmoid(self.surprise(v - torch.einsum("bij,bj->bi", M, k)))
            waiting.append(torch.einsum("bi,bj->bij", s * v, k))
            y.append(torch.einsum("bij,bj->bi", M, self.q(x[:, t])))
            if len(waiting) == self.every:
                M = torch.sigmoid(self.decay) * M + torch.stack(waiting).sum(0)
                waiting.clear()
        return self.o(torch.stack(y, dim=1))


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
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, input_ids):
        h = self.drop(self.embed(input_ids) + self.place[: input_ids.shape[1]])
        x = h
        for layer in self.layers:
            x = layer(x)
        attn_out = self.norm_stack(x)
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], dim=-1)))
        mix = g * attn_out + (1 - g) * mem_out
        return self.head(self.norm_out(mix))
