import torch
import torch.nn as nn
import torch.nn.functional as F

class CausalWindowAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.rate = n_heads, window, dropout
        self.to_qkv = nn.Linear(d_model, d_model * 3, bias=False)
        self.to_out = nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (z.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for z in self.to_qkv(x).chunk(3, -1))
        sim = q @ k.mT * (D // self.n_heads) ** -0.5
        t = torch.arange(T, device=x.device)
        far = (t[:, None] - t).ge(self.window) | (t[:, None] - t).lt(0)
        p = F.dropout(sim.masked_fill(far, -torch.finfo(sim.dtype).max).softmax(-1), self.rate, self.training)
        return self.to_out((p @ v).transpose(1, 2).flatten(-2))


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem=20):
        super().__init__()
        self.d_mem = d_mem
        self.q, self.k, self.v = (nn.Linear(d_model, d_mem, bias=False) for _ in range(3))
        self.o = nn.Linear(d_mem, d_model)
        self.surprise = nn.Linear(d_mem, 1)
        self.decay = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        q, k, v = self.q(x), F.normalize(self.k(x), dim=-1), self.v(x)
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        reads = []
        for t in range(x.shape[1]):
            s = torch.sigmoid(self.surprise(v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])))
            M = torch.sigmoid(self.decay) * M + torch.einsum("bi,bj->bij", s * v[:, t], k[:, t])
            reads.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.o(torch.stack(reads, dim=1))


class PlainBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = CausalWindowAttention(d_model, n_heads, window, dropout)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def mixer(self, h):
        return self.attn(h)

    def forward(self, x):
        x = x + self.mixer(self.ln1(x))
        return x + self.ffn(self.ln2(x))


class MemoryBlock(PlainBlock):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__(d_model, n_heads, d_ff, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.register_buffer("gate", torch.linspace(0.2, 0.8, d_model))

    def mixer(self, h):
        attn_out = self.attn(h)
        mix = self.gate * attn_out + (1 - self.gate) * self.memory(h)
        return mix


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.dropout = nn.Dropout(dropout)
        middle = n_layers // 2
        self.blocks = nn.ModuleList()
        for i in range(n_layers):
            kind = MemoryBlock if i == middle else PlainBlock
            self.blocks.append(kind(d_model, n_heads, d_ff, attention_window, dropout))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        pos = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.dropout(self.embedding(input_ids) + self.position(pos))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
