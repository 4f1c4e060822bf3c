"""Pictures of whole towns are read back: the right colours are there."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from craft_lightning.errors import CraftError
from craft_lightning.reports.town_map import main


def share(picture: np.ndarray, colour: str) -> float:
    wanted = np.array(to_rgb(colour)) * 255.0
    return float((np.abs(picture - wanted).max(-1) < 6.0).mean())


def test_a_town_from_above(tmp_path):
    path = tmp_path / "pictures" / "town.png"
    main(["craftside", str(path)])
    picture = np.asarray(Image.open(path).convert("RGB")).astype(float)
    assert picture.shape[1] == 1100
    for colour, least in (("#9aa0a8", 0.04), ("#a9c4e4", 0.005), ("#d1202f", 1e-5), ("#0d8a4f", 1e-5)):
        assert least < share(picture, colour) < 0.5, "driving, parking, stop signs, lights"


def test_two_words_are_needed():
    with pytest.raises(CraftError, match="give a town .* and the PNG file to write"):
        main(["craftside"])
