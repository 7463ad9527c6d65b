import torch
import torch.nn as nn
import torch.nn.functional as F


def dense(*shape):
    return nn.Parameter(torch.randn(*shape) / shape[-1] ** 0.5)


def memory_step(M, q, k, v, w):
    wrong = v - (M @ k[..., None]).squeeze(-1)
    s = torch.special.expit(wrong @ w["surprise"] + w["surprise_bias"])
    M = torch.special.expit(w["decay"]) * M + s[:, None, None] * v[:, :, None] * k[:, None, :]
    return M, (M @ q[..., None]).squeeze(-1)


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem):
        super().__init__()
        self.d_mem = d_mem
        self.w = nn.ParameterDict({
            "qkv": dense(3 * d_mem, d_model), "out": dense(d_model, d_mem),
            "surprise": dense(d_mem), "surprise_bias": nn.Parameter(torch.zeros(())),
            "decay": nn.Parameter(torch.tensor(2.0)),
        })

    def forward(self, x):
        q, k, v = F.linear(x, self.w["qkv"]).split(self.d_mem, -1)
        q, k = q / q.norm(dim=-1, keepdim=True).clamp_min(1e-6), k / k.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        M, y = x.new_zeros(len(x), self.d_mem, self.d_mem), []
        for t in range(x.shape[1]):
            M, r = memory_step(M, q[:, t], k[:, t], v[:, t], self.w)
            y.append(r)
        return F.linear(torch.stack(y, 1), self.w["out"])


def attention(x, w, n_heads, window, p):
    B, T, D = x.shape
    q, k, v = F.linear(x, w["qkv"]).view(B, T, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
    a = torch.baddbmm(
        torch.zeros(1), q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5
    )
    i = torch.arange(T, device=x.device)
    a = a.masked_fill((i > i[:, None]) | (i[:, None] - i >= window), float("-inf"))
    y = F.dropout(torch.softmax(a, -1), p) @ v.flatten(0, 1)
    return F.linear(y.view(B, n_heads, T, -1).transpose(1, 2).reshape(B, T, D), w["proj"])


def norm(x, scale):
    return F.layer_norm(x, x.shape[-1:], scale)


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256, max_seq_len=512,
                 attention_window=32, dropout=0.1, d_mem=16):
        super().__init__()
        self.n_heads, self.window, self.p = n_heads, attention_window, dropout
        self.embed = nn.Parameter(torch.randn(vocab_size, d_model) * 0.5)
        self.place = nn.Parameter(torch.randn(max_seq_len, d_model) * 0.1)
        self.unembed = dense(vocab_size, d_model)
        self.final = nn.Parameter(torch.ones(d_model))
        self.weights = nn.ModuleList([nn.ParameterDict({
            "n1": nn.Parameter(torch.ones(d_model)), "n2": nn.Parameter(torch.ones(d_model)),
            "qkv": dense(3 * d_model, d_model), "proj": dense(d_model, d_model),
            "gate": dense(d_model, 2 * d_model), "up": dense(d_ff, d_model), "down": dense(d_model, d_ff),
        }) for _ in range(n_layers)])
        self.memories = nn.ModuleList([NeuralMemory(d_model, d_mem) for _ in range(n_layers)])

    def forward(self, input_ids):
        p = self.p if self.training else 0.0
        x = F.dropout(F.embedding(input_ids, self.embed) + self.place[: input_ids.shape[1]], p)
        for w, memory in zip(self.weights, self.memories):
            h = norm(x, w["n1"])
            a, m = attention(h, w, self.n_heads, self.window, p), memory(h)
            g = torch.special.expit(F.linear(torch.cat([a, m], -1), w["gate"]))
            x = x + torch.stack([g * a, (1 - g) * m]).sum(0)
            x = x + F.dropout(F.linear(F.gelu(F.linear(norm(x, w["n2"]), w["up"])), w["down"]), p)
        return F.linear(norm(x, self.final), self.unembed)
