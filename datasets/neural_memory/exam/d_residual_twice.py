import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.size = d_model
        self.kv = nn.Linear(d_model, 2 * d_model)
        self.q = nn.Linear(d_model, d_model)
        self.tau = nn.Parameter(torch.tensor(2.0))
        self.w = nn.Parameter(torch.tensor(0.7))
        self.c = nn.Parameter(torch.tensor(-0.7))

    def forward(self, x):
        x = x.transpose(0, 1)
        k, v = self.kv(x).chunk(2, -1)
        k = k.softmax(-1)
        q = self.q(x).softmax(-1)
        M = torch.zeros(x.size(1), self.size, self.size)
        keep = torch.exp(-torch.exp(-self.tau))
        history = []
        for kt, vt, qt in zip(k, v, q):
            distance = F.l1_loss((M @ kt.unsqueeze(-1)).squeeze(-1), vt, reduction="none").sum(-1)
            s = torch.sigmoid(self.w * torch.log1p(distance) + self.c)
            M = keep * M + s.view(-1, 1, 1) * (vt.unsqueeze(-1) @ kt.unsqueeze(1))
            history.append((M @ qt.unsqueeze(-1)).squeeze(-1))
        return torch.stack(history).transpose(0, 1)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.p = n_heads, window, dropout
        self.ln_attn, self.ln_mem, self.ln_ff = nn.LayerNorm(d_model), nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.memory = NeuralMemory(d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def attention(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        i = torch.arange(T)
        mask = (i[:, None] >= i[None, :]) & (i[:, None] - i[None, :] < self.window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.p if self.training else 0.0)
        return self.out(y.transpose(1, 2).reshape(B, T, D))

    def forward(self, x):
        attn_out = self.attention(self.ln_attn(x))
        x = x + attn_out
        normed = self.ln_mem(x)
        mem_out = self.memory(normed)
        g = torch.sigmoid(self.gate(normed))
        x = x + (g * attn_out + (1 - g) * mem_out)
        return x + self.ff(self.ln_ff(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.tok_emb(input_ids) + self.pos_emb(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
