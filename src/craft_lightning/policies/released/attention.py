"""A torch decoder whose numbers do not depend on whether gradients are wanted."""

from torch import Tensor, nn


class SteadyDecoderLayer(nn.TransformerDecoderLayer):
    """``nn.TransformerDecoderLayer`` without the fused attention that torch takes where no gradient is wanted.

    The fused kernel rounds differently, and a stored log-probability must be found again to the bit when it is scored.
    Parameters have the names of the original.
    """

    # Torch looks whether query, key and value are one object; a view is another object of the same numbers.
    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        found = self.self_attn(
            x, x.view_as(x), x.view_as(x), attn_mask=attn_mask, key_padding_mask=key_padding_mask, need_weights=False
        )[0]
        return self.dropout1(found)
