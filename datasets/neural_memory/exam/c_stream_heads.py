import math
import torch
import torch.nn as nn

class NeuralMemory(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.H, self.d = n_heads, d_model // n_heads
        self.inp = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model)
        self.ctrl = nn.Linear(d_model, n_heads)
        nn.init.constant_(self.ctrl.bias, 2.0)
        self.sharp = nn.Parameter(torch.ones(n_heads, 1))
        self.bias = nn.Parameter(torch.zeros(n_heads, 1))

    def start(self, x):
        return torch.zeros(x.shape[0], self.H, self.d, self.d, device=x.device)

    def step(self, x, M):
        B = x.shape[0]
        q, k, v = self.inp(x).view(B, 3, self.H, self.d).unbind(1)
        q, k = q.softmax(-1), k.softmax(-1)
        keep = torch.sigmoid(self.ctrl(x)).view(B, self.H, 1, 1)
        recall = (M * k.unsqueeze(-2)).sum(-1)
        s = torch.sigmoid(self.sharp * torch.linalg.vector_norm(v - recall, dim=-1, keepdim=True) + self.bias)
        M = keep * M + (s * v).unsqueeze(-1) * k.unsqueeze(-2)
        return self.out((M * q.unsqueeze(-2)).sum(-1).reshape(B, -1)), M


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
        self.memory = NeuralMemory(d_model, n_heads)
        self.tilt = nn.Linear(2 * d_model, d_model)

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
        z = self.tilt(torch.cat([attn_out, mem_out], dim=-1))
        mix = (attn_out + mem_out) / 2 + torch.tanh(z) / 2 * (attn_out - mem_out)
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
