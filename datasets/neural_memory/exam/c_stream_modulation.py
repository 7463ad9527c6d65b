import math
import torch
import torch.nn as nn
import torch.nn.functional as F

class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem=16):
        super().__init__()
        self.d_mem = d_mem
        self.inp = nn.Linear(d_model, 3 * d_mem, bias=False)
        self.out = nn.Linear(d_mem, d_model)
        self.surprise = nn.Linear(d_mem, 1)
        self.decay = nn.Parameter(torch.tensor(2.0))

    def start(self, x):
        return x.new_zeros(x.shape[0], self.d_mem, self.d_mem)

    def step(self, x, M):
        q, k, v = self.inp(x).chunk(3, dim=-1)
        k = F.normalize(k, dim=-1)
        s = torch.sigmoid(self.surprise(v - torch.einsum("bij,bj->bi", M, k)))
        M = torch.sigmoid(self.decay) * M + torch.einsum("bi,bj->bij", s * v, k)
        return self.out(torch.einsum("bij,bj->bi", M, q)), M


class StreamLayer(nn.Module):
    """Processes one token; attention looks at a cache of the last `window` keys and values."""

    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.d_head, self.window = n_heads, d_model // n_heads, window
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.q = nn.Linear(d_model, d_model)
        self.kv = nn.Linear(d_model, 2 * d_model)
        self.o = nn.Linear(d_model, d_model)
        self.attn_drop = nn.Dropout(dropout)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(d_model, d_model)

    def start(self, x):
        return {"k": [], "v": [], "mem": self.memory.start(x)}

    def attend(self, h, cache):
        B = h.shape[0]
        k, v = self.kv(h).view(B, 2, self.n_heads, self.d_head).unbind(1)
        cache["k"] = (cache["k"] + [k])[-self.window:]
        cache["v"] = (cache["v"] + [v])[-self.window:]
        keys, vals = torch.stack(cache["k"], 2), torch.stack(cache["v"], 2)  # (B, H, W, d)
        q = self.q(h).view(B, self.n_heads, 1, self.d_head)
        w = torch.softmax((q * keys).sum(-1) / math.sqrt(self.d_head), dim=-1)
        y = (self.attn_drop(w).unsqueeze(-1) * vals).sum(2)
        return self.o(y.reshape(B, -1))

    def forward(self, x, cache):
        h = self.norm1(x)
        attn_out = self.attend(h, cache)
        mem_out, cache["mem"] = self.memory.step(h, cache["mem"])
        mix = attn_out * torch.sigmoid(self.gate(mem_out)) + mem_out
        x = x + mix
        return x + self.ffn(self.norm2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            [StreamLayer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        caches = None
        logits = []
        for t in range(input_ids.shape[1]):
            x = self.drop(self.tok(input_ids[:, t]) + self.pos.weight[t])
            if caches is None:
                caches = [layer.start(x) for layer in self.layers]
            for layer, cache in zip(self.layers, caches):
                x = layer(x, cache)
            logits.append(self.head(self.norm(x)))
        return torch.stack(logits, dim=1)
