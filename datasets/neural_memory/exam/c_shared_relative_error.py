import math
import torch
import torch.nn as nn
import torch.nn.functional as F

class NeuralMemory(nn.Module):
    """Surprise relative to a running level of the error."""

    def __init__(self, d_model, d_mem=20):
        super().__init__()
        self.d_mem = d_mem
        self.q = nn.Linear(d_model, d_mem)
        self.k = nn.Linear(d_model, d_mem)
        self.v = nn.Linear(d_model, d_mem)
        self.o = nn.Linear(d_mem, d_model)
        self.level_rate = nn.Parameter(torch.tensor(-1.0))
        self.slope = nn.Parameter(torch.tensor(2.0))
        self.decay = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        B, T, _ = x.shape
        state = (x.new_zeros(B, self.d_mem, self.d_mem), x.new_ones(B, 1))
        ys = []
        for t in range(T):
            M, level = state
            k, v = F.normalize(self.k(x[:, t]), dim=-1), self.v(x[:, t])
            error = (v - torch.bmm(M, k.unsqueeze(2)).squeeze(2)).norm(dim=-1, keepdim=True)
            s = torch.sigmoid(self.slope * (error / (level + 1e-6) - 1.0))
            M = torch.sigmoid(self.decay) * M + torch.bmm((s * v).unsqueeze(2), k.unsqueeze(1))
            rate = torch.sigmoid(self.level_rate)
            state = (M, (1 - rate) * level + rate * error)
            ys.append(torch.bmm(M, self.q(x[:, t]).unsqueeze(2)).squeeze(2))
        return self.o(torch.stack(ys, 1))


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.heads = n_heads
        self.window = window
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, D = x.shape
        outs = []
        d = D // self.heads
        i = torch.arange(T, device=x.device)
        hide = (i > i[:, None]) | (i <= i[:, None] - self.window)
        for q, k, v in zip(*(z.split(d, -1) for z in self.in_proj(x).split(D, -1))):
            s = torch.bmm(q, k.transpose(1, 2)) / math.sqrt(d)
            outs.append(torch.bmm(self.drop(s.masked_fill(hide, float("-inf")).softmax(-1)), v))
        return self.out_proj(torch.cat(outs, -1))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.norm_attn = nn.LayerNorm(d_model)
        self.norm_ffn = nn.LayerNorm(d_model)
        self.attn = Attention(d_model, n_heads, window, dropout)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x, blend):
        h = self.norm_attn(x)
        x = x + blend(h, self.attn(h))
        return x + self.ffn(self.norm_ffn(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(2 * d_model, d_model)

    def blend(self, h, attn_out):
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], dim=-1)))
        mix = mem_out - g * (mem_out - attn_out)
        return mix

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position.weight[: input_ids.size(1)]
        x = self.drop(x)
        for block in self.blocks:
            x = block(x, self.blend)
        return self.head(self.norm(x))
