"""The official evaluator itself, where CRAFT_LEADERBOARD names a checkout of it."""

import os

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import read_document
from craft_lightning.official.agreement import read_verdicts
from craft_lightning.official.checkout import CHECKOUT_VARIABLE, evaluator_python, find_checkout
from craft_lightning.official.evaluation import OfficialRun, evaluate_officially, referee_file
from craft_lightning.roads.towns import suite_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.environ.get(CHECKOUT_VARIABLE), reason=f"{CHECKOUT_VARIABLE} names no checkout"),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """One route under the evaluator; a checkout or a Python that will not do fails here in one sentence."""
    find_checkout(), evaluator_python()
    output = tmp_path_factory.mktemp("official") / "official.json"
    return evaluate_officially(OfficialRun(suite_path("craftville_eval"), output, subset="e0"))


def test_a_route_is_driven_to_its_end_and_both_judges_agree(judged):
    (record,) = read_document(judged).records
    assert record.status in ("Completed", "Perfect")
    assert record.route_completion == 100.0
    assert 17 <= len(record.min_speed) <= 21
    (verdict,) = read_verdicts(judged, referee_file(judged))
    assert verdict.differences == []
    assert verdict.ours.driving_score == pytest.approx(verdict.theirs.driving_score, abs=0.01)
    # Stretches end a point of the route earlier or later, so that there may be one fewer.
    theirs, ours = verdict.theirs.min_speed, verdict.ours.min_speed
    assert abs(len(theirs) - len(ours)) <= 2
    assert sum(ours) / len(ours) == pytest.approx(sum(theirs) / len(theirs), rel=0.1)


def test_what_was_judged_is_not_overwritten(judged):
    with pytest.raises(CraftError, match="give --resume"):
        evaluate_officially(OfficialRun(suite_path("craftville_eval"), judged, subset="e0"))
