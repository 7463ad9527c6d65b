import torch
import torch.nn as nn
import torch.nn.functional as F

def band(T, window, device):
    i = torch.arange(T, device=device)
    d = i.unsqueeze(1) - i.unsqueeze(0)
    return (d >= 0).logical_and(d < window)


class NeuralMemory(nn.Module):
    """Test-time training in mini-batches of tokens."""

    def __init__(self, d_model, d_mem=16, batch=4):
        super().__init__()
        self.d_mem, self.batch = d_mem, batch
        self.kvq = nn.Linear(d_model, 3 * d_mem, bias=False)
        self.o = nn.Linear(d_mem, d_model)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(0.0))
        self.keep = nn.Parameter(torch.tensor(1.5))

    def inner_gradient(self, M, k, v):
        with torch.enable_grad():
            W = M if M.requires_grad else M.detach().requires_grad_()
            error = torch.einsum("bij,btj->bti", W, k) - v
            size = error.detach().square().sum(-1, keepdim=True)
            weight = torch.sigmoid(self.gain * size + self.shift)
            loss = 0.5 * (weight * error.square()).sum()
            return torch.autograd.grad(loss, W, create_graph=True)[0]

    def forward(self, x):
        k, v, q = self.kvq(x).chunk(3, -1)
        k = F.normalize(k, dim=-1)
        M = x.new_zeros(x.shape[0], self.d_mem, self.d_mem)
        y = []
        for k_b, v_b, q_b in zip(*(z.split(self.batch, 1) for z in (k, v, q))):
            y.append(torch.einsum("bij,btj->bti", M, q_b))
            M = torch.sigmoid(self.keep) * M - self.inner_gradient(M, k_b, v_b)
        return self.o(torch.cat(y, 1))


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
        self.gate = nn.Linear(2 * d_model, d_model)

    def forward(self, x):
        B, T, D = x.shape
        h = self.ln(x)
        q, k, v, u = self.fused(h).split([D, D, D, self.d_ff], dim=-1)
        q, k, v = [z.reshape(B, T, self.n_heads, D // self.n_heads).transpose(1, 2) for z in (q, k, v)]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=band(T, self.window, x.device),
                                           dropout_p=self.dropout if self.training else 0.0)
        attn_out = self.attn_proj(y.transpose(1, 2).reshape(B, T, D))
        mem_out = self.memory(h)
        g = torch.sigmoid(self.gate(torch.cat([attn_out, mem_out], dim=-1)))
        mix = g * attn_out + (1 - g) * mem_out
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
