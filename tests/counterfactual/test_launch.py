"""What numba says of a launch reaches nobody, or in a sentence."""

import warnings

import pytest

from craft_lightning.counterfactual.cuda import THREADS_A_BLOCK, _launch
from craft_lightning.errors import CraftError


class Kernel:
    """Stands for a compiled kernel, to inject what numba does."""

    def __init__(self, run):
        self.run = run

    def __getitem__(self, configuration):
        self.configuration = configuration
        warnings.warn("\x1b[1mGrid size 1 will likely result in GPU under-utilization", stacklevel=1)
        return self.run


def test_a_small_grid_is_launched_without_advice(recwarn):
    seen = []
    kernel = Kernel(lambda *arguments: seen.append(arguments))
    _launch(kernel, THREADS_A_BLOCK + 1, 0, "rows", 3)
    assert kernel.configuration == (2, THREADS_A_BLOCK, 0)
    assert seen == [("rows", 3)]
    assert not recwarn.list


def test_a_numpy_that_numba_cuda_does_not_know_is_named():
    def broken(*_):
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    with pytest.raises(CraftError, match=r"numba-cuda does not work with numpy .*row_stack.*craft-lightning\[cuda\]"):
        _launch(Kernel(broken), 1, 0)
