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
    """Stores key by value (K x V) and reads with a left product; keys are recurrent too."""

    def __init__(self, d_model, d_k=12, d_v=28):
        super().__init__()
        self.d_k, self.d_v = d_k, d_v
        self.wk, self.wq = nn.Linear(d_model, d_k), nn.Linear(d_model, d_k)
        self.wv = nn.Linear(d_model, d_v)
        self.wo = nn.Linear(d_v, d_model)
        self.ema = nn.Parameter(torch.tensor(-1.0))
        self.novel = nn.Sequential(nn.Linear(2 * d_v, 16), nn.ReLU(), nn.Linear(16, 1))
        self.decay = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        B, T, _ = x.shape
        M = x.new_zeros(B, self.d_k, self.d_v)
        k = x.new_zeros(B, self.d_k)
        mu = torch.sigmoid(self.ema)
        y = []
        for t in range(T):
            k = F.normalize(mu * k + (1 - mu) * self.wk(x[:, t]), dim=-1)
            v = self.wv(x[:, t])
            told = torch.einsum("bk,bkv->bv", k, M)
            s = torch.sigmoid(self.novel(torch.cat([v - told, told], -1)))
            M = torch.sigmoid(self.decay) * M + k.unsqueeze(2) * (s * v).unsqueeze(1)
            y.append(torch.einsum("bk,bkv->bv", self.wq(x[:, t]), M))
        return self.wo(torch.stack(y, 1))


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
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], -1)))
        mix = g * attn_out + (1 - g) * mem_out
        return self.head(self.norm_out(mix))
