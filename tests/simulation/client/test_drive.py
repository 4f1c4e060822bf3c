import numpy as np
import pytest

from craft_lightning.simulation.drive import follow_route, main, paint


def test_the_blind_plan_starts_gently_and_keeps_to_the_route():
    route = np.stack([np.arange(-10.0, 100.0), np.full(110, 0.5)], -1).astype(np.float32)
    plan = follow_route({"route": route, "ego_motion": np.array([1.0, 0, 0, 0], np.float32)})
    assert plan.shape == (40, 3)
    np.testing.assert_allclose(plan[:, 1], 0.5)
    np.testing.assert_allclose(plan[:, 2], 0.0)
    np.testing.assert_allclose(np.diff(plan[:, 0]), 0.3, atol=1e-5)  # 1 m/s now, 3 m/s wanted
    fast = follow_route({"route": route, "ego_motion": np.array([9.0, 0, 0, 0], np.float32)})
    np.testing.assert_allclose(np.diff(fast[:, 0]), 0.6, atol=1e-5)


def test_the_picture_shows_the_ego_where_the_raster_has_it():
    picture = paint(np.zeros((6, 96, 96), np.uint8), scale=2)
    assert picture.shape == (192, 192, 3)
    rows, columns = np.nonzero((picture == 255).all(-1))
    assert rows.mean() / 2 == pytest.approx(71.75, abs=0.5)
    assert columns.mean() / 2 == pytest.approx(47.75, abs=0.5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--town", "atlantis"], "town 'atlantis' is neither built in"),
        (["--route", "99999"], "--route is '99999'"),
        (["--host", "127.0.0.1", "--port", "1"], "no CARLA server answers at 127.0.0.1:1"),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, sentence):
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert sentence in message
