import torch
import torch.nn as nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    """Writes in proportion to how far the error exceeds its own running average."""

    def __init__(self, hidden):
        super().__init__()
        self.hidden = hidden
        self.W = nn.Linear(hidden, 3 * hidden, bias=False)
        self.sensitivity = nn.Parameter(torch.tensor(4.0))
        self.offset = nn.Parameter(torch.tensor(0.0))
        self.log_rate = nn.Parameter(torch.tensor(-2.0))
        self.baseline_rate = nn.Parameter(torch.tensor(-1.0))

    def forward(self, h):
        batch = h.size(0)
        M = torch.zeros(batch, 1, self.hidden, self.hidden)
        ema = torch.zeros(batch, 1)
        rho = torch.sigmoid(self.baseline_rate)
        kept = torch.exp(-torch.exp(self.log_rate))
        reads = []
        for x in h.unbind(dim=1):
            k, v, q = self.W(x).chunk(3, dim=-1)
            k = k / k.norm(dim=-1, keepdim=True).clamp_min(1e-3)
            q = q / q.norm(dim=-1, keepdim=True).clamp_min(1e-3)
            predicted = (M[:, 0] @ k[..., None])[..., 0]
            error = (v - predicted).norm(dim=-1, keepdim=True)
            gate = torch.sigmoid(self.sensitivity * (error - ema) + self.offset)
            ema = rho * ema + (1 - rho) * error
            M = torch.lerp(torch.zeros_like(M), M, kept)
            M = M + (gate * v)[:, None, :, None].mul(k[:, None, None, :])
            reads.append((M[:, 0] @ q[..., None])[..., 0])
        return torch.stack(reads, dim=1)


class GPTBlock(nn.Module):
    def __init__(self, n_embd, n_head, n_inner, window, pdrop):
        super().__init__()
        self.n_head, self.window = n_head, window
        self.ln_1 = nn.LayerNorm(n_embd)
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.ln_2 = nn.LayerNorm(n_embd)
        self.c_fc = nn.Linear(n_embd, n_inner)
        self.c_out = nn.Linear(n_inner, n_embd)
        self.attn_drop, self.resid_drop = nn.Dropout(pdrop), nn.Dropout(pdrop)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(self.ln_1(x)).split(C, dim=2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / k.size(-1) ** 0.5)
        bias = torch.tril(torch.ones(T, T)) * torch.triu(torch.ones(T, T), diagonal=1 - self.window)
        att = att.masked_fill(bias == 0, float("-inf"))
        att = self.attn_drop(F.softmax(att, dim=-1))
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        x = x + self.resid_drop(self.c_proj(y))
        return x + self.resid_drop(self.c_out(F.gelu(self.c_fc(self.ln_2(x)))))


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Embedding(max_seq_len, d_model)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(GPTBlock(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.ln_m = nn.LayerNorm(d_model)
        self.memory = NeuralMemory(d_model)
        self.mem_gate = nn.Linear(2 * d_model, d_model)
        self.ln_f = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        self.apply(self._init)

    def _init(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.05)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)

    def forward(self, input_ids):
        x = self.drop(self.wte(input_ids) + self.wpe(torch.arange(input_ids.size(1))))
        for block in self.h:
            x = block(x)
        m = self.memory(self.ln_m(x))
        g = torch.sigmoid(self.mem_gate(torch.cat([x, m], dim=-1)))
        x = g * x + (1 - g) * m
        return self.lm_head(self.ln_f(x))
