"""Reading a feature map along paths that never change: bilinear sampling as one constant sparse matrix."""

import warnings

import torch
from torch import Tensor, nn

from craft_lightning.policies.decoder import full


class PathReader(nn.Module):
    """Multiplies the cells of a map by constant weights; what follows from a vocabulary is not part of a checkpoint.

    Places along paths touch a handful of cells each, so the product over all of them is a sparse one: a sixth of the
    dense one's time, and no copy of the matrix for every state.

    Args:
        matrix: [N, cells of the whole map] weights of N places, zeros nearly everywhere.

    Attributes:
        cells: [C] the cells that some place touches; the others are neither stored nor multiplied.

    """

    cells: Tensor
    starts: Tensor
    columns: Tensor
    weights: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        cells = matrix.any(0).nonzero().flatten()
        with warnings.catch_warnings():
            # Said once a process by torch: that not all operations have sparse forms. The product here has.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
            sparse = matrix[:, cells].to_sparse_csr()
        self.places = len(matrix)
        # Three dense buffers: what moves, copies and broadcasts modules need not know of sparse tensors.
        self.register_buffer("cells", cells, persistent=False)
        self.register_buffer("starts", sparse.crow_indices(), persistent=False)
        self.register_buffer("columns", sparse.col_indices(), persistent=False)
        self.register_buffer("weights", sparse.values(), persistent=False)

    def touched(self, maps: Tensor) -> Tensor:
        """Return the cells [B, C, channels] of maps [B, channels, cells of the whole map] that some place touches."""
        return maps[..., self.cells].transpose(1, 2)

    def forward(self, touched: Tensor) -> Tensor:
        """Return the features [B, N, channels] of all places from what ``touched`` gave."""
        states, cells, channels = touched.shape
        matrix = torch.sparse_csr_tensor(
            self.starts, self.columns, self.weights, (self.places, cells), check_invariants=False
        )
        read = matrix @ full(touched).transpose(0, 1).reshape(cells, states * channels)
        return read.unflatten(1, (states, channels)).transpose(0, 1)
