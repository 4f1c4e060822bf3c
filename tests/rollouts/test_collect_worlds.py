"""Rollouts in real worlds: exact counts, one seed in and same numbers out, and faults that cost one episode only."""

import os
import signal

import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.roads.towns import load_town
from craft_lightning.rollouts.collect import Traffic, collect
from craft_lightning.rollouts.evaluate import drive_routes
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.rollouts.suites import load_suites
from craft_lightning.rollouts.worker import WorldOptions
from craft_lightning.testing.tiny import TinyVocabularyPolicy

pytestmark = pytest.mark.timeout(600)
TRAFFIC = Traffic(vehicles=6, walkers=2)


@pytest.fixture(scope="module")
def pool():
    with WorldPool(2, WorldOptions("craftville"), step_timeout=6.0) as pool:
        yield pool


@pytest.fixture(scope="module")
def suites():
    return load_suites(load_town("craftville"), "", "", 8, 4, 0)


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return TinyVocabularyPolicy()


class Fault:
    """Hurts the server of world 0 once, after ``after`` decisions of the whole pool."""

    def __init__(self, pool, number, after=9):
        self.pool, self.number, self.after, self.calls, self.hurt = pool, number, after, 0, 0

    def decision(self, events, done):
        self.calls += 1
        if self.calls == self.after:
            server = self.pool.worlds[0].server
            os.kill(server.pid, self.number)
            self.hurt += 1

    def record(self, record, advance):
        """Nothing to do."""


def run(pool, policy, suites, progress=None, seed=3):
    return collect(policy, pool, suites[0], TRAFFIC, 48, iteration=1, seed=seed, progress=progress).transitions


def equal(a, b):
    return all(
        torch.equal(x, y)
        for x, y in (
            (a.scene.ego_pose, b.scene.ego_pose),
            (a.scene.agents, b.scene.agents),
            (a.candidates.chosen, b.candidates.chosen),
            (a.candidates.log_probs, b.candidates.log_probs),
            (a.events, b.events),
            (a.rollout, b.rollout),
        )
    )


@pytest.fixture(scope="module")
def quiet(pool, policy, suites):
    return run(pool, policy, suites)


def test_exactly_the_asked_number_in_order(quiet):
    assert quiet.batch_size == torch.Size([48])
    assert (quiet.world.bincount() == 24).all()
    for world in range(2):
        mine = quiet[quiet.world == world]
        assert (mine.rollout.diff() >= 0).all()
        assert mine.continues[-1] == 0
        same = mine.rollout[1:] == mine.rollout[:-1]
        assert (mine.step[1:][same] == mine.step[:-1][same] + 1).all()
        assert (mine.continues[:-1][~same] == 0).all()


def test_the_same_seed_gives_the_same_rollouts_in_worlds_that_have_driven_before(pool, policy, suites, quiet):
    assert equal(quiet, run(pool, policy, suites))


def test_another_seed_gives_other_rollouts(pool, policy, suites, quiet):
    assert not equal(quiet, run(pool, policy, suites, seed=4))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_dead_or_frozen_server_costs_one_episode(pool, policy, suites, quiet, number):
    before = pool.statistics.replaced
    fault = Fault(pool, number)
    again = run(pool, policy, suites, progress=fault)
    assert fault.hurt == 1
    assert pool.statistics.replaced == before + 1
    assert equal(quiet, again)


def test_evaluation_records_every_route_and_repeats(pool, policy, suites):
    first = drive_routes(policy, pool, suites[1][:3], TRAFFIC, seed=0)
    again = drive_routes(policy, pool, suites[1][:3], TRAFFIC, seed=0)
    assert [record["route_id"] for record in first] == [route.id for route in suites[1][:3]]
    assert first == again


def test_a_route_whose_world_keeps_dying_is_recorded_with_score_zero(pool, policy, suites, monkeypatch):
    submit = pool.submit

    def killing(index, command, payload):
        if command == "reset" and payload.route.id == suites[1][0].id:
            pool.worlds[index].server.kill()
        submit(index, command, payload)

    monkeypatch.setattr(pool, "submit", killing)
    records = drive_routes(policy, pool, suites[1][:2], TRAFFIC, seed=0)
    assert records[0]["status"] == "Failed - Simulation crashed"
    assert records[0]["route_completion"] == 0.0
    assert records[0]["attempts"] == 3
    assert records[1]["attempts"] == 1


def test_a_town_that_does_not_exist_is_one_sentence():
    with pytest.raises(CraftError, match="nowhere"):
        WorldPool(1, WorldOptions("nowhere")).start()
