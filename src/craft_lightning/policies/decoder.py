"""A transformer decoder whose queries do not see each other: a candidate's score depends on itself and on the state."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossAttentionLayer(nn.Module):
    """Pre-norm cross-attention from queries to the state's tokens, then a feed-forward block.

    There is no attention among the queries, so leaving candidates out changes nothing for the others.

    Args:
        width: features of queries and tokens.
        heads: attention heads; divides ``width``.
        feedforward: hidden features of the feed-forward block.
        dropout: dropout after both blocks; zero outside pre-training.

    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feedforward), nn.ReLU(inplace=True), nn.Linear(feedforward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return updated queries.

        Args:
            queries: [B, K, width], or [1, K, width] while they do not depend on the state: then they are projected
                once for the whole batch.
            tokens: [B, S, width] of the states.

        Returns:
            [B, K, width].

        """
        states, width = len(tokens), queries.shape[-1]
        query = self._split(self.query(self.query_norm(queries))).expand(states, -1, -1, -1)
        key, value = (self._split(part) for part in self.key_value(tokens).chunk(2, -1))
        attended = functional.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(1, 2).reshape(states, -1, width)
        queries = queries + self.dropout(self.output(attended))
        return queries + self.dropout(self.feedforward(queries))

    def _split(self, features: Tensor) -> Tensor:
        """[B, N, width] to [B, heads, N, width / heads]."""
        return features.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CandidateDecoder(nn.Module):
    """Cross-attention layers over embedded candidates, with raster features read along each candidate.

    Args:
        width: features of a candidate.
        layers: cross-attention layers.
        heads: attention heads.
        feedforward: hidden features of the feed-forward blocks.
        path_features: raster features read along one candidate; 0 for none.
        dropout: see ``CrossAttentionLayer``.

    """

    def __init__(
        self, width: int, layers: int, heads: int, feedforward: int, path_features: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CrossAttentionLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.path = nn.Linear(path_features, width, bias=False) if path_features else None
        self.norm = nn.LayerNorm(width)

    def forward(self, embedded: Tensor, tokens: Tensor, path: Tensor | None = None) -> Tensor:
        """Return features [B, K, width].

        Args:
            embedded: [1, K, width] embedded candidates, or [B, K, width] where each state has its own.
            tokens: [B, S, width] of the states.
            path: [B, K, path_features] raster features along the candidates.

        """
        queries = embedded
        for number, layer in enumerate(self.layers):
            queries = layer(queries, tokens)
            if number == 0 and self.path is not None and path is not None:
                # After the first layer, so that its queries are still shared by all states.
                queries = queries + self.path(path)
        return self.norm(queries)


def embedding_network(inputs: int, width: int) -> nn.Sequential:
    """Return the two-layer network that embeds small vectors into ``width`` features."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(inplace=True), nn.Linear(width, width))


def half_rounded(features: Tensor) -> Tensor:
    """Round to half precision: stored contexts and live ones then hold the very same numbers.

    Returns:
        float16 where nothing is differentiated; otherwise float32 of the rounded numbers, the gradient passing through.

    """
    rounded = features.detach().half()
    if not features.requires_grad:
        return rounded
    # The bracket is exactly zero; adding the rounding error to the features would round once more.
    return rounded.float() + (features - features.detach())


def full(features: Tensor) -> Tensor:
    """Return stored features as float32 (a no-op for float32)."""
    return features.to(torch.float32)
