import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Forgetting is a rank-one matrix of rates: one vector for rows, one for columns."""

    def __init__(self, d_model: int):
        super().__init__()
        self.size = d_model
        self.wk = nn.Linear(d_model, d_model)
        self.wv = nn.Linear(d_model, d_model)
        self.wq = nn.Linear(d_model, d_model)
        self.row_rate = nn.Parameter(torch.full((d_model, 1), 3.0))
        self.col_rate = nn.Parameter(torch.full((1, d_model), 3.0))
        self.expect_norm = nn.LayerNorm(d_model)
        self.amp = nn.Parameter(torch.tensor(2.0))
        self.level = nn.Linear(d_model, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keep = self.row_rate.sigmoid() @ self.col_rate.sigmoid()
        level = self.level(x).squeeze(-1)
        K, V, Q = F.normalize(self.wk(x), dim=-1), self.wv(x), F.normalize(self.wq(x), dim=-1)
        M = torch.zeros(x.size(0), self.size, self.size, dtype=x.dtype)
        out = x.new_empty(x.shape[0], 0, x.shape[2])
        for t in range(x.size(1)):
            guess = torch.tensordot(M, torch.eye(self.size), dims=([2], [0])).matmul(K[:, t, :, None])[..., 0]
            err = F.smooth_l1_loss(self.expect_norm(guess), self.expect_norm(V[:, t]), reduction="none").sum(-1)
            s = torch.sigmoid(self.amp * torch.log1p(err) - level[:, t])
            M = torch.mul(M, keep).add((s[:, None] * V[:, t]).unsqueeze(2).matmul(K[:, t].unsqueeze(1)))
            out = torch.cat((out, M.matmul(Q[:, t, :, None]).transpose(1, 2)), dim=1)
        return out


class Attention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.w = nn.Linear(d_model, 3 * d_model, bias=False)
        self.o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x):
        N, L, E = x.shape
        q, k, v = torch.tensor_split(self.w(x), 3, dim=2)
        q, k, v = (z.contiguous().view(N, L, self.n_heads, E // self.n_heads).swapaxes(1, 2) for z in (q, k, v))
        i, j = torch.arange(L)[:, None], torch.arange(L)[None, :]
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=torch.logical_and(j <= i, i - j < self.window),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.o(y.swapaxes(1, 2).reshape(N, L, E))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn, self.mem = Attention(d_model, n_heads, window, dropout), NeuralMemory(d_model)
        self.weigh_attn, self.weigh_mem = nn.Linear(d_model, 1), nn.Linear(d_model, 1)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.n1(x)
        a, m = self.attn(n), self.mem(n)
        wa, wm = self.weigh_attn(n).exp(), self.weigh_mem(n).exp()
        x = x + (wa * a + wm * m) / (wa + wm)
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
