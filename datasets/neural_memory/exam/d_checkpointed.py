import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


class NeuralMemory(nn.Module):
    SEGMENT = 8

    def __init__(self, d_model, d_mem=16):
        super().__init__()
        self.pk = nn.Linear(d_model, d_mem)
        self.pv = nn.Linear(d_model, d_mem)
        self.pq = nn.Linear(d_model, d_mem)
        self.po = nn.Linear(d_mem, d_model)
        self.gates = nn.Linear(d_mem, d_mem)
        self.fade = nn.Parameter(torch.full((d_mem,), 0.05))
        self.d_mem = d_mem

    def segment(self, M, k, v, q):
        keep = (1 - self.fade.abs()).clamp(0, 1)
        ys = []
        for t in range(k.shape[1]):
            kt, vt, qt = k[:, t], v[:, t], q[:, t]
            residual = vt - torch.einsum("bij,bj->bi", M, kt)
            i_t = torch.sigmoid(self.gates(residual))
            M = torch.addcmul(M * keep, (i_t * vt).unsqueeze(-1), kt.unsqueeze(-2))
            ys.append(torch.einsum("bij,bj->bi", M, qt))
        return M, torch.stack(ys, 1)

    def forward(self, x):
        k = F.softmax(self.pk(x), dim=-1)
        q = F.softmax(self.pq(x), dim=-1)
        v = self.pv(x)
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        chunks = []
        for ks, vs, qs in zip(*(z.split(self.SEGMENT, dim=1) for z in (k, v, q))):
            if self.training and torch.is_grad_enabled():
                M, y = checkpoint(self.segment, M, ks, vs, qs, use_reentrant=False)
            else:
                M, y = self.segment(M, ks, vs, qs)
            chunks.append(y)
        return self.po(torch.cat(chunks, dim=1))


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.wq = nn.Linear(d_model, d_model, bias=False)
        self.wk = nn.Linear(d_model, d_model, bias=False)
        self.wv = nn.Linear(d_model, d_model, bias=False)
        self.wo = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x):
        B, T, D = x.shape
        shape = (B, T, self.n_heads, D // self.n_heads)
        q, k, v = (w(x).view(shape).movedim(1, 2) for w in (self.wq, self.wk, self.wv))
        pos = torch.arange(T, device=x.device)
        rel = pos[:, None] - pos[None, :]
        mask = (rel >= 0) & (rel < self.window)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0)
        return self.wo(out.movedim(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1, self.n2, self.n3 = (nn.LayerNorm(d_model) for _ in range(3))
        self.attn = Attention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model)
        self.choose = nn.Sequential(nn.Linear(d_model, 16), nn.ReLU(), nn.Linear(16, d_model))
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Dropout(dropout), nn.Linear(d_ff, d_model))

    def forward(self, x):
        h = x + self.attn(self.n1(x))
        z = self.n2(h)
        m = self.memory(z)
        g = torch.sigmoid(self.choose(z))
        h = (1 - g) * h + g * m
        return h + self.ffn(self.n3(h))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256, max_seq_len=512,
                 attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(
            Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.shape[1]))
        for b in self.blocks:
            x = b(x)
        return self.norm(x) @ self.embedding.weight.t()
