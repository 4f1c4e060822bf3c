"""Action tokens: their names, and the rows of the embedding and of the output layer that are theirs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.errors import CraftError


def action_names(**sizes: int) -> list[str]:
    """Return names such as ``<path_0>``: ``action_names(path=16, speed=8)``, one after the other."""
    return [f"<{kind}_{number}>" for kind, size in sizes.items() for number in range(size)]


def find_actions(tokenizer: Any, names: Sequence[str], where: str, add: bool = False) -> list[int]:
    """Return the token ids of the action tokens.

    Args:
        tokenizer: the model's tokenizer; changed where tokens are added.
        names: the action tokens.
        where: directory or file, named in errors.
        add: give a tokenizer that has none of them all of them.

    Raises:
        CraftError: some are missing, or all are and ``add`` is False.

    """
    known = tokenizer.get_vocab()
    missing = [name for name in names if name not in known]
    if missing and (len(missing) < len(names) or not add):
        remedy = (
            "save it again with all of them"
            if len(missing) < len(names)
            else "set model.adapter.init_args.add_action_tokens to true to give it untrained ones"
        )
        raise CraftError(
            f"the tokenizer of {where} has no action token {missing[0]} ({len(missing)} missing); {remedy}"
        )
    if missing:
        tokenizer.add_tokens(list(names), special_tokens=True)
    return [int(tokenizer.convert_tokens_to_ids(name)) for name in names]


class ActionRows(nn.Module):
    """The rows of action tokens as parameters of their own.

    Logits are computed of these rows alone. So no probability can leak to words: the softmax never sees them, neither
    where actions are drawn nor where they are learned from. And input and output rows both learn: in a model whose
    output layer is not tied to its embedding, training the embedding's rows alone would leave the output's as they are.

    Args:
        embedding: [N, H] rows of the embedding.
        output: [N, H] rows of the output layer.

    """

    def __init__(self, embedding: Tensor, output: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Parameter(embedding.detach().clone())
        self.output = nn.Parameter(output.detach().clone())

    @classmethod
    def of(cls, model: Any, tokens: Sequence[int]) -> "ActionRows":
        """Return the rows of a model's tokens; tokens beyond its tables get the mean row with a little noise."""
        rows = []
        for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            mean = table.detach().mean(0)
            known = [table.detach()[token] if token < len(table) else _near(mean) for token in tokens]
            rows.append(torch.stack(known))
        return cls(*rows)

    def logits(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Return logits [..., stop - start] of a run of action tokens after ``hidden`` [..., H]."""
        return functional.linear(hidden, self.output[start:stop])


def _near(mean: Tensor) -> Tensor:
    return mean + 0.02 * torch.randn_like(mean)
