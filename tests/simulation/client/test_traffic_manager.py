"""The Traffic Manager of the client's wheel as the other traffic of an episode."""

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.rollouts.collect import Traffic
from craft_lightning.simulation.episode import EpisodeSpec

DRIVE = """
    with open_session() as session:
        episode = RouteEpisode(session, TOWN)
        counts, moved, roles = [], [], []
        for seed in (3, 4):  # a second episode uses the same Traffic Manager
            spec = EpisodeSpec(straight_route(), seed=seed, vehicles=12, walkers=4, traffic="traffic_manager")
            episode.reset(spec)
            others = [a for a in session.world.get_actors().filter("vehicle.*") if a.id != episode._ego.id]
            start = {a.id: a.get_location() for a in others}
            for _ in range(6):
                if episode.step(np.zeros((40, 3), np.float32)).done:
                    break
            counts.append((len(others), len(session.world.get_actors().filter("walker.*"))))
            moved.append(sum(a.get_location().distance(start[a.id]) > 1.0 for a in others if a.is_alive))
            roles += [a.attributes["role_name"] for a in others]
        episode.clear()
        left = len(session.world.get_actors().filter("vehicle.*"))
        print(json.dumps({"counts": counts, "moved": moved, "left": left, "roles": sorted(set(roles))}))
"""


def test_the_traffic_manager_drives_the_background(run_script, live_server):
    answer = run_script(DRIVE, live_server.port)
    assert [vehicles for vehicles, _ in answer["counts"]] == [12, 12]
    assert all(walkers >= 1 for _, walkers in answer["counts"])
    # Some wait at red lights.
    assert min(answer["moved"]) >= 4
    assert answer["left"] == 0
    assert answer["roles"] == ["background"]
    again = run_script("with open_session() as session: print(json.dumps(session.tick() > 0))", live_server.port)
    assert again is True


def test_an_unknown_source_is_one_sentence():
    with pytest.raises(CraftError, match="choose sumo or traffic_manager"):
        EpisodeSpec(route=None, traffic="autopilot")
    with pytest.raises(CraftError, match=r"data\.traffic is 'tm'"):
        Traffic(source="tm")
