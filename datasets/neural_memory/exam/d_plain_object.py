import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory:
    """Stateless recurrence over a matrix; the weights it needs are handed in by the caller."""

    def __init__(self, weights: nn.ParameterDict):
        self.w = weights

    def step(self, M, x):
        w = self.w
        k = F.normalize(x @ w["key"], dim=-1)
        v = x @ w["value"]
        recalled = torch.einsum("bij,bj->bi", M, k)
        s = torch.sigmoid((v - recalled).pow(2) @ w["surprise"] + w["surprise_bias"])
        M = torch.sigmoid(w["decay"]) * M + torch.einsum("bi,bj->bij", s * v, k)
        return M, torch.einsum("bij,bj->bi", M, F.normalize(x @ w["query"], dim=-1))

    def run(self, x):
        d = self.w["key"].shape[0]
        M = x.new_zeros(x.shape[0], d, d)
        ys = []
        for t in range(x.shape[1]):
            M, y = self.step(M, x[:, t])
            ys.append(y)
        return torch.stack(ys, dim=1)


def memory_weights(d):
    init = lambda *shape: nn.Parameter(torch.randn(*shape) / d**0.5)
    return nn.ParameterDict(
        {
            "key": init(d, d), "value": init(d, d), "query": init(d, d), "surprise": init(d, 1),
            "surprise_bias": nn.Parameter(torch.zeros(1)), "decay": nn.Parameter(torch.tensor(3.0)),
        }
    )


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv, self.proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.memory_params = memory_weights(d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        B, T, D = x.shape
        h = self.n1(x)
        q, k, v = self.qkv(h).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        lag = torch.arange(T)[:, None] - torch.arange(T)
        a = F.scaled_dot_product_attention(
            q, k, v, (lag >= 0) & (lag < self.window), self.dropout if self.training else 0.0
        )
        a = self.proj(a.transpose(1, 2).reshape(B, T, D))
        m = NeuralMemory(self.memory_params).run(h)
        g = torch.sigmoid(self.gate(h))
        x = x + g * a + (1 - g) * m
        return x + self.ffn(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position(torch.arange(input_ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
