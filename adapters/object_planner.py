"""A planner that sees a list of objects and the route, and no picture: tokens, a small BERT, path and speed queries."""

import torch
from torch import Tensor, nn

from craft_lightning.conventions import EGO_FEATURES, MAX_CLOSED_LINES, MAX_OBJECTS, ROUTE_FEATURE_POINTS
from craft_lightning.policies.decoder import embedding_network, full, half_rounded
from craft_lightning.policies.hierarchical_family import HierarchicalPolicy
from craft_lightning.policies.objects import OBJECT_COLUMNS, normalised_objects
from craft_lightning.policies.observation import check_observation, normalised_ego, normalised_route
from craft_lightning.policies.plan_decoder import PlanDecoder
from craft_lightning.policies.plan_grid import travelled
from craft_lightning.structures import Context, Observation

_ROUTE_TOKENS = 5


class ObjectPlanner(HierarchicalPolicy):
    """Objects + ego + route in; one logit a path and one a speed profile on each path.

    Road users, closed stop lines, pieces of the route and the ego become tokens of a transformers BERT without words,
    built from its configuration and frozen in fine-tuning. Objects carry their speed, so one moment shows motion; the
    drivable area is not seen, only the route. The context of a state is the encoded tokens in half precision.

    Args:
        paths: number of paths.
        speeds: number of speed profiles.
        num_poses: poses of a plan.
        path_points: points of a path, one metre apart.
        width: features of tokens and queries.
        encoder_layers: layers of the BERT.
        layers: cross-attention layers of the path queries.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        reach: metres beyond which objects are not seen.
        dropout: dropout in pre-training.

    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("path_head", "speed_head"),
        "decoder": ("decoder", "path_head", "speed_head"),
    }

    token_kind: Tensor
    token_place: Tensor

    def __init__(
        self,
        paths: int = 16,
        speeds: int = 12,
        num_poses: int = 40,
        path_points: int = 40,
        width: int = 128,
        encoder_layers: int = 3,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 256,
        reach: float = 60.0,
        dropout: float = 0.0,
    ) -> None:
        # Here and not above: the package takes seconds to import.
        from transformers import BertConfig, BertModel

        super().__init__(paths, speeds, num_poses, path_points)
        self.reach = reach
        self.object_embedding = embedding_network(OBJECT_COLUMNS, width)
        self.route_embedding = embedding_network(ROUTE_FEATURE_POINTS * 2 // _ROUTE_TOKENS, width)
        self.ego_embedding = embedding_network(len(EGO_FEATURES), width)
        tokens = MAX_OBJECTS + MAX_CLOSED_LINES + _ROUTE_TOKENS + 1
        config = BertConfig(
            vocab_size=1,
            type_vocab_size=3,
            hidden_size=width,
            num_hidden_layers=encoder_layers,
            num_attention_heads=heads,
            intermediate_size=feedforward,
            max_position_embeddings=tokens,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.encoder = BertModel(config, add_pooling_layer=False)
        kinds = torch.tensor([0] * (MAX_OBJECTS + MAX_CLOSED_LINES) + [1] * _ROUTE_TOKENS + [2])
        # Objects have no order: they share one position, and only the route's pieces are numbered.
        places = torch.tensor([0] * (MAX_OBJECTS + MAX_CLOSED_LINES) + list(range(1, _ROUTE_TOKENS + 2)))
        self.register_buffer("token_kind", kinds, persistent=False)
        self.register_buffer("token_place", places, persistent=False)
        self.decoder = PlanDecoder(width, layers, heads, feedforward, dropout=dropout)
        self.path_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))
        self.speed_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))

    def encode(self, observation: Observation) -> Context:
        """Run embeddings and BERT.

        Returns:
            ``tokens`` [B, 30, width] in half precision, zeros where there is no object; ``ego`` [B, 5] in SI units.

        Raises:
            CraftError: an observation without a list of objects.

        """
        check_observation(observation)
        objects, seen = normalised_objects(observation, self.reach)
        route = normalised_route(observation).flatten(1).unflatten(1, (_ROUTE_TOKENS, -1))
        tokens = torch.cat(
            [
                self.object_embedding(objects),
                self.route_embedding(route),
                self.ego_embedding(normalised_ego(observation)).unsqueeze(1),
            ],
            1,
        )
        always = seen.new_ones(len(seen), _ROUTE_TOKENS + 1)
        present = torch.cat([seen, always], 1)
        states = len(tokens)
        encoded = self.encoder(
            inputs_embeds=tokens,
            attention_mask=present.long(),
            token_type_ids=self.token_kind.expand(states, -1),
            position_ids=self.token_place.expand(states, -1),
        ).last_hidden_state
        encoded = encoded * present.unsqueeze(-1)
        return Context({"tokens": half_rounded(encoded), "ego": observation.ego.float()}, batch_size=[states])

    def factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return logits of the paths [B, P] and of the speeds on each path [B, P, V]."""
        distance = travelled(self.speed_table, self.top_speed, self.dt, context["ego"][:, 0])
        path, pairs = self.decoder(full(context["tokens"]), self.path_table, self.speed_table, distance, None)
        return self.path_head(path).squeeze(-1), self.speed_head(pairs).squeeze(-1)
