import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, d_model, d_mem):
        super().__init__()
        self.d_mem = d_mem
        self.key_net = nn.Linear(d_model, d_mem, bias=False)
        self.val_net = nn.Linear(d_model, d_mem, bias=False)
        self.qry_net = nn.Linear(d_model, d_mem, bias=False)
        self.out_net = nn.Linear(d_mem, d_model, bias=False)
        self.decay = nn.Parameter(torch.tensor(3.0))
        self.w_s = nn.Parameter(torch.tensor(1.5))
        self.b_s = nn.Parameter(torch.tensor(-0.5))

    @staticmethod
    def gradient_magnitude(M, k, v):
        """Norm of d/dM 0.5*||Mk - v||^2 per sequence; a signal, so no graph is kept."""
        with torch.enable_grad():
            probe = M.detach().requires_grad_(True)
            loss = 0.5 * (torch.einsum("bij,bj->bi", probe, k.detach()) - v.detach()).pow(2).sum()
            (grad,) = torch.autograd.grad(loss, probe)
        return grad.flatten(1).norm(dim=1)

    def forward(self, x):
        B, T, _ = x.shape
        k = F.normalize(self.key_net(x), dim=-1)
        v = self.val_net(x)
        q = F.normalize(self.qry_net(x), dim=-1)
        M = x.new_zeros(B, self.d_mem, self.d_mem)
        alpha = torch.sigmoid(self.decay)
        out = []
        for t in range(T):
            g = self.gradient_magnitude(M, k[:, t], v[:, t])
            s = torch.sigmoid(self.w_s * g + self.b_s)
            M = alpha * M + s.view(B, 1, 1) * torch.einsum("bi,bj->bij", v[:, t], k[:, t])
            out.append(torch.einsum("bij,bj->bi", M, q[:, t]))
        return self.out_net(torch.stack(out, 1))


class WindowAttention(nn.Module):
    def __init__(self, d_model, n_heads, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout = n_heads, window, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        i = torch.arange(T, device=x.device)
        vis = (i[:, None] >= i) & (i[:, None] < i + self.window)
        y = F.scaled_dot_product_attention(q, k, v, vis, self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n1 = nn.LayerNorm(d_model)
        self.n2 = nn.LayerNorm(d_model)
        self.attn = WindowAttention(d_model, n_heads, window, dropout)
        self.memory = NeuralMemory(d_model, d_model)
        self.gate = nn.Parameter(torch.tensor(0.5))
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model), nn.Dropout(dropout))

    def forward(self, x):
        n = self.n1(x)
        g = self.gate.clamp(0.0, 1.0)
        x = x + g * self.attn(n) + (1.0 - g) * self.memory(n)
        return x + self.ffn(self.n2(x))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_seq_len, d_model)
        self.blocks = nn.ModuleList(
            Block(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        x = self.embedding(input_ids) + self.position.weight[: input_ids.shape[1]]
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))
