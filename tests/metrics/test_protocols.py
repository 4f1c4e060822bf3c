import json

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics.protocols import ALIASES, PROTOCOLS, protocol_rules


def test_every_name_and_spelling_finds_rules_of_its_own_name():
    assert {name: protocol_rules(name).name for name in PROTOCOLS} == {name: name for name in PROTOCOLS}
    assert all(protocol_rules(alias).name == name for alias, name in ALIASES.items())


def test_bench2drive_is_the_published_protocol():
    rules = protocol_rules("bench2drive")
    assert (rules.suite_size, rules.time_cap, rules.blocked_seconds, rules.ability) == (220, 200.0, 60.0, "0.0.3")
    assert (rules.min_speed_checkpoints, rules.min_speed_always, rules.end_on_collision) == (20, True, False)
    # 300 s, and 150 m at a tenth of 10 m/s
    assert rules.route_timeout(150.0, 10.0) == pytest.approx(450.0)


def test_the_star_differs_by_the_six_patches():
    plain, star = protocol_rules("bench2drive").to_dict(), protocol_rules("bench2drive-star").to_dict()
    assert {name for name in plain if plain[name] != star[name]} == {
        "name",
        "end_on_collision",
        "timeout_base",
        "timeout_share",
        "clear_blocking_traffic",
        "bicycle_flow_range",
        "speed_caps",
        "ignore_stop_sign_at_origin",
    }
    assert protocol_rules("bench2drive-star").route_timeout(150.0, 10.0) < 450.0


@pytest.mark.parametrize(
    ("name", "limit", "seconds"),
    # Leaderboard 1.0: 5 s and 0.8 s a metre, cut to whole seconds.
    [
        ("leaderboard-1.0", 635.0, 513.0),
        ("leaderboard-1.0", 636.2, 513.0),
        ("leaderboard-2.0", 100.0, 400.0),
        ("leaderboard-2.1", 100.0, 400.0),
    ],
)
def test_leaderboards(name, limit, seconds):
    rules = protocol_rules(name)
    assert rules.route_timeout(limit, 10.0) == pytest.approx(seconds)
    assert (rules.blocked_seconds, rules.time_cap, rules.suite_size, rules.ability) == (180.0, None, None, None)
    assert rules.min_speed_checkpoints == (0 if name == "leaderboard-1.0" else 4)
    assert rules.scenario_timeout is rules.yield_emergency is (name != "leaderboard-1.0")


def test_the_ability_formula_can_be_chosen_by_name_and_by_argument():
    assert protocol_rules("bench2drive", "0.0.4") == protocol_rules("bench2drive-0.0.4")
    assert protocol_rules("bench2drive-0.0.4", "0.0.3") == protocol_rules("bench2drive")
    assert protocol_rules("bench2drive-star", "0.0.4").ability == "0.0.4"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("bench2driv", "did you mean 'bench2drive'"),
        ("Bench2Drive-Star", "'bench2drive-star'"),
        ("x", "leaderboard-2.1"),
    ],
)
def test_an_unknown_protocol_is_one_sentence_with_the_closest(name, word):
    with pytest.raises(CraftError, match=word) as caught:
        protocol_rules(name)
    assert f"'{name}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_ability_formula_is_refused():
    with pytest.raises(CraftError, match=r"'0\.0\.5'"):
        protocol_rules("bench2drive", "0.0.5")


def test_rules_can_be_stamped_into_json():
    for rules in PROTOCOLS.values():
        assert json.loads(json.dumps(rules.to_dict()))["name"] == rules.name
