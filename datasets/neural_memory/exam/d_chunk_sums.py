import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Chunked memory: all tokens of a chunk see the matrix from before the chunk."""

    def __init__(self, d_model, chunk_size=4):
        super().__init__()
        self.c = chunk_size
        self.d = d_model
        self.Wk, self.Wv, self.Wq = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        self.log_decay = nn.Parameter(torch.tensor(-1.5))
        self.gate = nn.Linear(d_model, 1)

    def forward(self, x):
        B, T, D = x.shape
        M = x.new_zeros(B, D, D)
        keep = torch.exp(-F.softplus(self.log_decay))
        outs = []
        for chunk in x.split(self.c, dim=1):
            k, q = F.normalize(self.Wk(chunk), dim=-1), F.normalize(self.Wq(chunk), dim=-1)
            v = self.Wv(chunk)
            outs.append(q @ M.mT)
            error = v - k @ M.mT
            s = torch.sigmoid(self.gate(error.square()))
            M = keep * M + torch.einsum("bcv,bck->bvk", s * v, k)
        return torch.cat(outs, dim=1)


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.in_proj, self.out_proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.memory = NeuralMemory(d_model)
        self.alpha = nn.Linear(d_model, d_model)
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def attend(self, x):
        B, T, D = x.shape
        q, k, v = self.in_proj(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        rows, cols = torch.arange(T).unsqueeze(1), torch.arange(T).unsqueeze(0)
        mask = (cols <= rows) & (cols > rows - self.window)
        y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, D))

    def forward(self, x):
        z = self.n1(x)
        a, m = self.attend(z), self.memory(z)
        g = self.alpha(z).sigmoid()
        x = x + g * a + (1 - g) * m
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.tokens(input_ids) + self.positions(torch.arange(input_ids.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
