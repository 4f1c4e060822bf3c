"""A policy that scores path anchors on a bird's-eye raster, and speed profiles on each of them."""

from torch import Tensor, nn

from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.entries import sampling_matrix
from craft_lightning.policies.hierarchical_family import HierarchicalPolicy
from craft_lightning.policies.path_reading import PathReader
from craft_lightning.policies.plan_decoder import PlanDecoder
from craft_lightning.policies.plan_grid import travelled
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.structures import Context, Observation


class AnchorHierarchy(HierarchicalPolicy):
    """BEV + ego + route in; one logit a path and one a speed profile on each path.

    The trunk (``RasterTrunk``) is frozen in fine-tuning. The decoder's path queries cross-attend to its tokens and read
    its fine map along their path; every pair of path and profile reads it where the ego would be. The context of a
    state is the tokens and the fine map in half precision.

    Args:
        paths: number of paths.
        speeds: number of speed profiles.
        num_poses: poses of a plan.
        path_points: points of a path, one metre apart.
        backbone: name of a timm model that offers feature maps at strides ``fine_stride`` and 16.
        pretrained: download timm's weights; never needed, since the raster is no photograph.
        width: features of tokens and queries.
        layers: cross-attention layers of the path queries.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        fine_stride: raster cells a side of one cell of the fine map.
        fine_channels: channels of the fine map.
        path_pieces: pieces of a path at which the fine map is read.
        dropout: dropout in pre-training.

    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("path_head", "speed_head"),
        "decoder": ("decoder", "path_head", "speed_head"),
    }

    reader: PathReader

    def __init__(
        self,
        paths: int = 16,
        speeds: int = 12,
        num_poses: int = 40,
        path_points: int = 40,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 128,
        fine_stride: int = 4,
        fine_channels: int = 16,
        path_pieces: int = 10,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(paths, speeds, num_poses, path_points)
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, fine_stride, fine_channels, dropout)
        self.decoder = PlanDecoder(width, layers, heads, feedforward, path_pieces, fine_channels, dropout)
        self.path_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))
        self.speed_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))
        self._derive()

    def encode(self, observation: Observation) -> Context:
        """Run the trunk.

        Returns:
            ``tokens`` [B, 42, width] and ``fine`` [B, cells, channels] in half precision, the cells being those that
            some path passes; ``ego`` [B, 5] in SI units.

        """
        tokens, fine = self.trunk(observation)
        touched = self.reader.touched(fine)
        return Context(
            {"tokens": half_rounded(tokens), "fine": half_rounded(touched), "ego": observation.ego.float()},
            batch_size=[len(tokens)],
        )

    def factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return logits of the paths [B, P] and of the speeds on each path [B, P, V]."""
        raster = self.reader(context["fine"]).unflatten(1, (len(self.path_table), -1))
        distance = travelled(self.speed_table, self.top_speed, self.dt, context["ego"][:, 0])
        path, pairs = self.decoder(full(context["tokens"]), self.path_table, self.speed_table, distance, raster)
        return self.path_head(path).squeeze(-1), self.speed_head(pairs).squeeze(-1)

    def _grid_changed(self) -> None:
        super()._grid_changed()
        self._derive()

    def _derive(self) -> None:
        """Compute what follows from the grid alone; not part of a checkpoint."""
        matrix = sampling_matrix(self.path_table.detach().cpu(), self.trunk.fine_cells, self.decoder.pieces)
        self.reader = PathReader(matrix).to(self.path_table.device)
