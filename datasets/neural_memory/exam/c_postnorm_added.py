import math
import torch
import torch.nn as nn
import torch.nn.functional as F

def sinusoids(length, dim):
    pos = torch.arange(length, dtype=torch.float32)[:, None]
    i = torch.arange(dim, dtype=torch.float32)[None, :]
    angle = pos / torch.pow(10000.0, 2 * torch.floor(i / 2) / dim)
    return torch.where(torch.arange(dim) % 2 == 0, angle.sin(), angle.cos())


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.h = n_heads
        self.dk = d_model // n_heads
        self.window = window
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.o_proj = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        b, t, d = x.size()
        q = self.q_proj(x).view(b, t, self.h, self.dk).permute(0, 2, 1, 3)
        k = self.k_proj(x).view(b, t, self.h, self.dk).permute(0, 2, 1, 3)
        v = self.v_proj(x).view(b, t, self.h, self.dk).permute(0, 2, 1, 3)
        logits = torch.matmul(q, k.transpose(2, 3)) * self.dk ** -0.5
        ones = torch.ones(t, t, device=x.device)
        allowed = torch.tril(ones) - torch.tril(ones, -self.window)
        logits = logits.masked_fill(allowed == 0, -1e9)
        weights = self.dropout(torch.softmax(logits, dim=-1))
        return self.o_proj(torch.matmul(weights, v).permute(0, 2, 1, 3).reshape(b, t, d))


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


class PostNormBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads, window, dropout)
        self.ln_a = nn.LayerNorm(d_model)
        self.ln_b = nn.LayerNorm(d_model)
        self.fc1 = nn.Linear(d_model, d_ff)
        self.fc2 = nn.Linear(d_ff, d_model)
        self.drop = nn.Dropout(dropout)
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, h):
        attn_out = self.attention(h)
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], -1)))
        mix = attn_out + g * mem_out
        h = self.ln_a(h + self.drop(mix))
        return self.ln_b(h + self.drop(self.fc2(torch.relu(self.fc1(h)))))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.d_model = d_model
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model ** -0.5)
        self.register_buffer("pe", sinusoids(max_seq_len, d_model), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            [PostNormBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.out = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        h = self.embedding(input_ids) * math.sqrt(self.d_model) + self.pe[: input_ids.size(1)]
        h = self.dropout(h)
        for block in self.blocks:
            h = block(h)
        return self.out(h)
