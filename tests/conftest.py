"""What every test shares: one torch thread, no user caches touched, and third-party data where it exists."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    # Tiny networks on a busy machine are ten times faster on one thread; world processes inherit the variables.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the session one cache folder of its own, so that tests share parsed towns but never a user's cache.

    The processes of pytest-xdist share it: caches are written whole or not at all. CRAFT_TEST_CACHE=1 keeps the user's
    cache, which saves a developer the parsing.
    """
    if os.environ.get("CRAFT_TEST_CACHE") == "1":
        yield Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        return
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "cache"
        folder.mkdir(exist_ok=True)
    else:
        folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of third-party data (CRAFT_SHARED/data); tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("CRAFT_SHARED", ROOT.parent / "shared")) / "data"
    if not path.is_dir():
        pytest.skip(f"no third-party data at {path}; set CRAFT_SHARED")
    return path


@pytest.fixture
def quiet_trainer() -> Callable[..., Any]:
    """Make a Trainer that says and writes nothing."""
    from lightning.pytorch import Trainer

    def make(callbacks: list[Any], **arguments: Any) -> Trainer:
        return Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            **arguments,
        )

    return make
