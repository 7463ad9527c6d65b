import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.d = d_model
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.val = nn.Linear(d_model, d_model, bias=False)
        self.qry = nn.Linear(d_model, d_model, bias=False)
        self.persistence = nn.Parameter(torch.tensor(2.0))
        self.surprise_mlp = nn.Sequential(nn.Linear(2 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, 1), nn.Sigmoid())

    def forward(self, x):
        B, T, D = x.shape
        k, v, q = F.normalize(self.key(x), dim=-1), self.val(x), F.normalize(self.qry(x), dim=-1)
        M = torch.zeros(B, D, D)
        y = []
        for t in range(T):
            pred = torch.einsum("bij,bj->bi", M, k[:, t])
            s = self.surprise_mlp(torch.cat([pred, v[:, t] - pred], dim=-1))
            M = torch.sigmoid(self.persistence) * M + torch.einsum("bi,bj->bij", s * v[:, t], k[:, t])
            y.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return torch.stack(y, dim=1)


class Gate(nn.Module):
    """Per-channel mix, from mostly local in the low channels to mostly recalled in the high ones."""

    def __init__(self, d_model):
        super().__init__()
        self.register_buffer("logits", torch.linspace(-2, 2, d_model))

    def forward(self, local, recalled):
        g = torch.sigmoid(self.logits)
        return (1 - g) * local + g * recalled


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.h, self.window = n_heads, window
        self.n1, self.n2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))
        self.memory, self.gate = NeuralMemory(d_model), Gate(d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))
        self.drop = nn.Dropout(dropout)

    def attention(self, x):
        B, T, D = x.shape
        split = lambda z: z.reshape(B, T, self.h, D // self.h).permute(0, 2, 1, 3)
        s = split(self.q(x)) @ split(self.k(x)).mT / (D / self.h) ** 0.5
        far = torch.arange(T)[:, None] - torch.arange(T)
        w = s.masked_fill((far < 0) | (far >= self.window), float("-inf")).softmax(-1)
        return self.o((self.drop(w) @ split(self.v(x))).permute(0, 2, 1, 3).reshape(B, T, D))

    def forward(self, x):
        h = self.n1(x)
        x = x + self.gate(self.attention(h), self.memory(h))
        return x + self.ff(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab_size, d_model), nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size)

    def forward(self, input_ids):
        x = self.emb(input_ids) + self.pos(torch.arange(input_ids.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
