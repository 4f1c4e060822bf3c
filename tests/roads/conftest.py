import os
from pathlib import Path

import pytest

from craft_lightning.roads.grid import RoadGrid
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.opendrive import load_opendrive
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import Town, load_town

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CRAFT_SHARED", REPOSITORY / ".." / "shared")).resolve()


@pytest.fixture(scope="session")
def cache(_cache_of_the_session) -> Path:
    """The folder of caches that all tests of the session share."""
    return _cache_of_the_session


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "data" / "maps").is_dir():
        pytest.skip("no third-party data: set CRAFT_SHARED to the folder that holds data/maps and data/routes")
    return SHARED


@pytest.fixture(scope="session")
def craftville(cache) -> Town:
    return load_town("craftville")


@pytest.fixture(scope="session")
def network(craftville) -> RoadNetwork:
    return craftville.network


@pytest.fixture(scope="session")
def grid(network) -> RoadGrid:
    return RoadGrid.from_network(network)


@pytest.fixture(scope="session")
def planner(network) -> RoutePlanner:
    return RoutePlanner(network)


def straight_road(length: float = 100.0, right: int = 2, shoulder: float = 0.0, speed: str = 'max="36" unit="km/h"'):
    """Return OpenDRIVE of one road along x: ``right`` lanes of 3.5 m eastward (below the axis), one westward above."""
    lanes = "".join(_lane(-k, "driving", 3.5) for k in range(1, right + 1))
    if shoulder:
        lanes += _lane(-right - 1, "shoulder", shoulder)
    return (
        f'<OpenDRIVE><header revMajor="1" revMinor="4"/><road name="" length="{length}" id="7" junction="-1"><link/>'
        f'<type s="0" type="town"><speed {speed}/></type>'
        f'<planView><geometry s="0" x="0" y="0" hdg="0" length="{length}"><line/></geometry></planView>'
        f'<lanes><laneSection s="0"><left>{_lane(1, "driving", 3.5)}</left>'
        f'<center><lane id="0" type="none"><roadMark sOffset="0" type="solid" width="0.13"/></lane></center>'
        f"<right>{lanes}</right></laneSection></lanes></road></OpenDRIVE>"
    )


def _lane(lane_id: int, kind: str, width: float) -> str:
    return (
        f'<lane id="{lane_id}" type="{kind}" level="false"><width sOffset="0" a="{width}" b="0" c="0" d="0"/>'
        '<roadMark sOffset="0" type="broken" width="0.13" laneChange="both"/></lane>'
    )


@pytest.fixture(scope="session")
def make_xodr():
    return straight_road


@pytest.fixture(scope="session")
def make_network(cache):
    def make(**arguments) -> RoadNetwork:
        return RoadNetwork.from_opendrive(load_opendrive(straight_road(**arguments), name="straight"))

    return make
