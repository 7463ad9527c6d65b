import torch
from torch import nn
import torch.nn.functional as F


class NeuralMemory(nn.Module):
    def __init__(self, embed_dim: int):
        super().__init__()
        self.embed_dim = embed_dim
        self.projections = nn.ModuleDict({n: nn.Linear(embed_dim, embed_dim) for n in ["key", "value", "query"]})
        self.decay_param = nn.Parameter(torch.tensor(0.95))
        self.surprise_net = nn.Sequential(nn.Linear(embed_dim, embed_dim // 2), nn.ReLU(), nn.Linear(embed_dim // 2, 1))

    def forward(self, hidden_states):
        batch_size, seq_len, _ = hidden_states.shape
        keys = F.normalize(self.projections["key"](hidden_states), p=2, dim=-1)
        values = self.projections["value"](hidden_states)
        queries = F.normalize(self.projections["query"](hidden_states), p=2, dim=-1)
        memory = torch.zeros(batch_size, self.embed_dim, self.embed_dim, device=hidden_states.device)
        decay = min(max(float(self.decay_param), 0.0), 1.0)
        retrieved = []
        for step in range(seq_len):
            key, value, query = keys[:, step], values[:, step], queries[:, step]
            prediction = torch.bmm(memory, key.unsqueeze(2)).squeeze(2)
            surprise = torch.sigmoid(self.surprise_net(value - prediction))
            association = torch.bmm(value.unsqueeze(2), key.unsqueeze(1))
            memory = decay * memory + surprise.unsqueeze(2) * association
            retrieved.append(torch.bmm(memory, query.unsqueeze(2)).squeeze(2))
        return torch.stack(retrieved, dim=1)


class HybridLayer(nn.Module):
    def __init__(self, embed_dim, num_heads, ffn_dim, window, dropout):
        super().__init__()
        self.window = window
        self.self_attn = nn.MultiheadAttention(embed_dim, num_heads, dropout=dropout, batch_first=True)
        self.memory = NeuralMemory(embed_dim)
        self.fusion_gate = nn.Linear(2 * embed_dim, embed_dim)
        self.self_attn_layer_norm = nn.LayerNorm(embed_dim)
        self.final_layer_norm = nn.LayerNorm(embed_dim)
        self.fc1, self.fc2 = nn.Linear(embed_dim, ffn_dim), nn.Linear(ffn_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states):
        seq_len = hidden_states.size(1)
        idx = torch.arange(seq_len, device=hidden_states.device)
        delta = idx[:, None] - idx[None, :]
        attn_mask = torch.zeros(seq_len, seq_len).masked_fill((delta < 0) | (delta >= self.window), float("-inf"))
        residual = hidden_states
        hidden_states = self.self_attn_layer_norm(hidden_states)
        attn_output, _ = self.self_attn(hidden_states, hidden_states, hidden_states, attn_mask=attn_mask)
        memory_output = self.memory(hidden_states)
        gate = torch.sigmoid(self.fusion_gate(torch.cat([attn_output, memory_output], dim=-1)))
        hidden_states = residual + self.dropout(gate * attn_output + (1 - gate) * memory_output)
        residual = hidden_states
        hidden_states = self.fc2(F.gelu(self.fc1(self.final_layer_norm(hidden_states))))
        return residual + self.dropout(hidden_states)


class SimpleTransformer(nn.Module):
    def __init__(self, vocab_size=256, d_model=64, n_heads=4, n_layers=2, d_ff=256,
                 max_seq_len=512, attention_window=32, dropout=0.1):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, d_model)
        self.embed_positions = nn.Embedding(max_seq_len, d_model)
        self.layers = nn.ModuleList(HybridLayer(d_model, n_heads, d_ff, attention_window, dropout) for _ in range(n_layers))
        self.layer_norm = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, input_ids):
        hidden_states = self.embed_tokens(input_ids) + self.embed_positions(torch.arange(input_ids.size(1)))
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return self.lm_head(self.layer_norm(hidden_states))
