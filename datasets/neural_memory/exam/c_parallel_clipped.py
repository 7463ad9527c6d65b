import torch
import torch.nn as nn
import torch.nn.functional as F

def band(T, window, device):
    i = torch.arange(T, device=device)
    d = i.unsqueeze(1) - i.unsqueeze(0)
    return (d >= 0).logical_and(d < window)


class NeuralMemory(nn.Module):
    """The matrix is kept inside a ball of learned radius."""

    def __init__(self, d_model, d_mem=20):
        super().__init__()
        self.d_mem = d_mem
        self.norm = nn.LayerNorm(d_model)
        self.q, self.k, self.v = nn.Linear(d_model, d_mem), nn.Linear(d_model, d_mem), nn.Linear(d_model, d_mem)
        self.o = nn.Linear(d_mem, d_model)
        self.w = nn.Linear(d_mem, 1)
        self.decay = nn.Parameter(torch.tensor(2.0))
        self.log_radius = nn.Parameter(torch.tensor(0.5))

    def limit(self, M):
        size = M.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None]
        return M * torch.clamp(self.log_radius.exp() / size, max=1.0)

    def forward(self, x):
        x = self.norm(x)
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        ys = []
        for t in range(x.shape[1]):
            k, v = F.normalize(self.k(x[:, t]), dim=-1), self.v(x[:, t])
            s = torch.sigmoid(self.w(v - torch.bmm(M, k[..., None])[..., 0]))
            M = self.limit(torch.sigmoid(self.decay) * M + torch.bmm((s * v)[..., None], k[:, None]))
            ys.append(torch.bmm(M, self.q(x[:, t])[..., None])[..., 0])
        return self.o(torch.stack(ys, 1))


class ParallelBlock(nn.Module):
    """One norm, then attention and feed-forward side by side from one fused projection."""

    def __init__(self, d_model, n_heads, d_ff, window, dropout):
        super().__init__()
        self.n_heads, self.window, self.dropout, self.d_ff = n_heads, window, dropout, d_ff
        self.ln = nn.LayerNorm(d_model)
        self.fused = nn.Linear(d_model, 3 * d_model + d_ff)
        self.attn_proj = nn.Linear(d_model, d_model)
        self.ff_proj = nn.Linear(d_ff, d_model)
        self.ff_drop = nn.Dropout(dropout)
        self.memory = NeuralMemory(d_model)
        self.logit = nn.Parameter(torch.zeros(2, 1, 1, d_model))

    def forward(self, x):
        B, T, D = x.shape
        h = self.ln(x)
        q, k, v, u = self.fused(h).split([D, D, D, self.d_ff], dim=-1)
        q, k, v = [z.reshape(B, T, self.n_heads, D // self.n_heads).transpose(1, 2) for z in (q, k, v)]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=band(T, self.window, x.device),
                                           dropout_p=self.dropout if self.training else 0.0)
        attn_out = self.attn_proj(y.transpose(1, 2).reshape(B, T, D))
        w = self.logit.softmax(0)
        mix = (w * torch.stack([attn_out, self.memory(h)])).sum(0)
        return x + mix + self.ff_drop(self.ff_proj(F.gelu(u)))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(
            [ParallelBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers)])
        self.ln_f = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        self.apply(self._init)

    @staticmethod
    def _init(m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            nn.init.normal_(m.weight, std=0.08)

    def forward(self, input_ids):
        T = input_ids.size(1)
        x = self.drop(self.wte(input_ids) + self.wpe(torch.arange(T, device=input_ids.device)))
        for blk in self.h:
            x = blk(x)
        return self.lm_head(self.ln_f(x))
