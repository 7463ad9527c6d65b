import math
import torch
import torch.nn as nn
import torch.nn.functional as F

class MultiQueryAttention(nn.Module):
    """Every head has its own queries; one key and one value head serve them all."""

    def __init__(self, d_model: int, n_heads: int, window: int, dropout: float):
        super().__init__()
        self.n_heads, self.dh, self.window, self.dropout = n_heads, d_model // n_heads, window, dropout
        self.q = nn.Linear(d_model, d_model)
        self.kv = nn.Linear(d_model, 2 * self.dh)
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q = self.q(x).view(B, T, self.n_heads, self.dh)
        k, v = self.kv(x).split(self.dh, dim=-1)
        score = torch.einsum("bthd,bsd->bhts", q, k).div(math.sqrt(self.dh))
        i = torch.arange(T, device=x.device)
        keep = (i[:, None] >= i) & (i[:, None] < i + self.window)
        p = score.where(keep, score.new_tensor(float("-inf"))).softmax(dim=-1)
        p = F.dropout(p, self.dropout, self.training)
        return self.proj(torch.einsum("bhts,bsd->bthd", p, v).reshape(B, T, D))


class NeuralMemory(nn.Module):
    def __init__(self, d_model: int, d_mem: int = 20):
        super().__init__()
        self.d_mem = d_mem
        self.k, self.v, self.q = (nn.Linear(d_model, d_mem, bias=False) for _ in range(3))
        self.o = nn.Linear(d_mem, d_model)
        self.decay = nn.Parameter(torch.full((d_mem, 1), 2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x), F.normalize(self.k(x), dim=-1), self.v(x)
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        y = []
        for t in range(x.shape[1]):
            error = v[:, t] - torch.einsum("bij,bj->bi", M, k[:, t])
            s = torch.sigmoid(torch.linalg.vector_norm(error, dim=-1, keepdim=True) - 1.0)
            M = torch.sigmoid(self.decay) * M + torch.einsum("bi,bj->bij", s * v[:, t], k[:, t])
            y.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.o(torch.stack(y, dim=1))


class Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_ff: int, window: int, dropout: float):
        super().__init__()
        self.pre = nn.LayerNorm(d_model)
        self.attention = MultiQueryAttention(d_model, n_heads, window, dropout)
        self.ffn = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, d_ff), nn.SiLU(),
                                 nn.Linear(d_ff, d_model), nn.Dropout(dropout))
        self.memory = NeuralMemory(d_model)
        self.balance = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.pre(x)
        attn_out = self.attention(h)
        mix = torch.lerp(attn_out, self.memory(h), torch.sigmoid(self.balance))
        x = x + mix
        return x + self.ffn(x)


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size: int = 256, d_model: int = 64, n_heads: int = 4, n_layers: int = 2,
                 d_ff: int = 256, max_seq_len: int = 512, attention_window: int = 32, dropout: float = 0.1):
        super().__init__()
        self.token = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Parameter(torch.zeros(1, max_seq_len, d_model))
        nn.init.trunc_normal_(self.pos, std=0.1)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.token(input_ids) + self.pos[:, : input_ids.size(1)])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
