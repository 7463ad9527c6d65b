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
    def __init__(self, d_model, d_mem=24):
        super().__init__()
        self.d_mem = d_mem
        self.keys = nn.Linear(d_model, d_mem, bias=False)
        self.values = nn.Linear(d_model, d_mem, bias=False)
        self.queries = nn.Linear(d_model, d_mem, bias=False)
        self.out = nn.Linear(d_mem, d_model)
        self.surprise_net = nn.Sequential(nn.Linear(d_mem, 8), nn.SiLU(), nn.Linear(8, 1))
        self.log_half_life = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        fade = torch.pow(0.5, torch.exp(-self.log_half_life))
        M = torch.zeros(x.shape[0], self.d_mem, self.d_mem, device=x.device)
        info = {"surprise": [], "read": []}
        for token in torch.unbind(x, 1):
            k = F.normalize(self.keys(token), dim=-1)
            v = self.values(token)
            surprise = torch.sigmoid(self.surprise_net(v - (M @ k.unsqueeze(-1)).squeeze(-1)))
            M = fade * M + surprise.unsqueeze(-1) * (v.unsqueeze(-1) @ k.unsqueeze(-2))
            info["surprise"].append(surprise.squeeze(-1))
            info["read"].append((M @ self.queries(token).unsqueeze(-1)).squeeze(-1))
        return self.out(torch.stack(info["read"], 1)), torch.stack(info["surprise"], 1)


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
        self.gate = nn.Linear(d_model, d_model)

    def forward(self, input_ids):
        h = self.drop(self.embed(input_ids) + self.place[: input_ids.shape[1]])
        x = h
        for layer in self.layers:
            x = layer(x)
        attn_out = self.norm_stack(x)
        mem_out, surprise = self.memory(h)
        g = torch.sigmoid(self.gate(h))
        mix = g * attn_out + (1 - g) * mem_out
        return {"surprise": surprise, "logits": self.head(self.norm_out(mix))}
