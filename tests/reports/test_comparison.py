import io
import json

import numpy as np
import pytest
from rich.console import Console

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol
from craft_lightning.reports.comparison import Comparison, comparison_verdicts

ROUTES = 24
PROTOCOL = Protocol(town="craftville", suite="craftville_eval", num_routes=ROUTES)
# Of 24 routes each arm fails the first so many, on every seed.
FAILURES = {"expert": 1, "pretrained": 12, "craft": 6, "zero_weights": 12}


def drive(arm: str, seed: int) -> list[RouteRecord]:
    order = np.random.default_rng(seed).permutation(ROUTES)  # records may come in any order
    return [
        RouteRecord(
            route_id=f"r{index}",
            index=int(index),
            status="Completed",
            route_completion=100.0,
            collisions_vehicle=int(index < FAILURES[arm]),
        )
        for index in order
    ]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    console = Console(file=io.StringIO(), width=120)
    result = Comparison(seeds=[3, 4], resamples=2000).run(drive, PROTOCOL, folder, console)
    return result, folder, console.file.getvalue()


def test_means_and_paired_differences(printed):
    result, _, _ = printed
    assert result.arms["pretrained"].means == pytest.approx({"DS": 80.0, "RC": 100.0, "IS": 80.0, "SR": 50.0})
    craft = result.arms["craft"]
    assert craft.means["SR"] == pytest.approx(75.0)
    assert craft.differences["SR"].difference == pytest.approx(25.0)
    assert craft.differences["SR"].significant
    assert craft.differences["DS"].difference == pytest.approx(10.0)
    assert result.arms["pretrained"].differences == {}


def test_an_interval_that_contains_zero_is_no_difference(printed):
    result, _, output = printed
    verdicts = comparison_verdicts(result).splitlines()
    assert verdicts == [
        "privileged expert vs pre-trained: DS higher by 18.3, IS higher by 18.3, SR higher by 45.8",
        "fine-tuned vs pre-trained: DS higher by 10.0, IS higher by 10.0, SR higher by 25.0",
        "all loss weights 0 vs pre-trained: no difference",
    ]
    assert output.count("no difference") == 7  # RC of the expert and of CRAFT, all four of zero weights, one sentence


def test_table_shows_every_arm_interval_and_stamp(printed):
    result, _, output = printed
    for word in (
        "privileged expert",
        "pre-trained",
        "fine-tuned",
        "all loss weights 0",
        "evaluation seeds 3, 4",
    ):
        assert word in output
    interval = result.arms["craft"].differences["SR"]
    assert f"[{interval.low:+.1f}, {interval.high:+.1f}]" in output
    assert "not a CARLA or Bench2Drive result" in " ".join(output.split())


def test_files_hold_every_record_and_the_stamp(printed):
    result, folder, _ = printed
    document = json.loads((folder / "comparison.json").read_text())
    assert document["protocol"]["note"].startswith("driven in craft-lightning's embedded world")
    assert {arm: [len(run) for run in runs] for arm, runs in document["records"].items()} == {
        arm: [ROUTES, ROUTES] for arm in FAILURES
    }
    assert document["arms"]["craft"]["differences"]["SR"]["low"] == result.arms["craft"].differences["SR"].low
    assert (folder / "comparison.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_few_routes_are_no_ground_for_a_conclusion(tmp_path, printed):
    assert "too narrow" not in " ".join(printed[2].split())
    console = Console(file=io.StringIO(), width=120)
    protocol = Protocol(town="craftville", suite="craftville_eval", num_routes=3)
    few = Comparison(resamples=100)
    few.run(lambda arm, seed: [r for r in drive(arm, seed) if r.index < 3], protocol, tmp_path, console)
    assert "Only 3 routes: the intervals are too narrow" in " ".join(console.file.getvalue().split())


def test_one_arm_alone_needs_no_reference(tmp_path):
    console = Console(file=io.StringIO())
    result = Comparison(arms=["expert"], reference="expert").run(drive, PROTOCOL, tmp_path, console)
    assert result.arms["expert"].differences == {}


@pytest.mark.parametrize("wrong", [lambda records: records[1:], lambda records: [*records, records[0]]])
def test_an_arm_with_other_routes_is_refused(tmp_path, wrong):
    with pytest.raises(CraftError, match="'craft'.*24 routes"):
        Comparison().run(
            lambda arm, seed: wrong(drive(arm, seed)) if arm == "craft" else drive(arm, seed), PROTOCOL, tmp_path
        )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"arms": []}, "arms"),
        ({"arms": ["craft", "craft"], "reference": "craft"}, "arms"),
        ({"reference": "nobody"}, "nobody"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_wrong_settings_are_named(arguments, word):
    with pytest.raises(CraftError, match=word):
        Comparison(**arguments)
