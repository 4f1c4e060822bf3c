"""Make the built-in towns: ``python -m craft_lightning.roads.towns.build [NAME ...]``.

``craftville``: a seeded street plan (an irregular grid with wide main streets, narrow side streets and a few missing
links, so that there are four-arm, three-arm and corner junctions) is written as SUMO node and edge files;
``netconvert`` turns it into a SUMO net and, in the same run, into OpenDRIVE. Two route suites, one to train on and one
that judges, are drawn on the result. The other towns are drawn by hand, each in a file of its name, and written by
``writing``. Either way the same plan gives the same bytes.
"""

import argparse
import dataclasses
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from craft_lightning.roads.generate import write_suites
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.opendrive import load_opendrive
from craft_lightning.roads.towns.craftfield import craftfield
from craft_lightning.roads.towns.craftside import craftside
from craft_lightning.roads.towns.craftway import craftway
from craft_lightning.roads.towns.lights import rewrite_town
from craft_lightning.roads.towns.loading import BUILT_IN
from craft_lightning.roads.towns.netconvert import run_netconvert
from craft_lightning.roads.towns.plan import TownPlan
from craft_lightning.roads.towns.writing import stable, write_town

KILOMETRES_PER_HOUR = 1.0 / 3.6
PLANS: dict[str, Callable[[], TownPlan]] = {
    "craftway": craftway,
    "craftfield": craftfield,
    "craftside": craftside,
}
"""Plans of the towns that are drawn by hand."""


@dataclasses.dataclass(frozen=True)
class TownParameters:
    """What the street plan is drawn from.

    Args:
        name: name of the town and stem of its files.
        seed: seed of every draw.
        columns: blocks from west to east.
        rows: blocks from south to north.
        block: shortest and longest side of a block, m.
        jitter: largest displacement of an inner crossing from the grid, m; streets become slightly oblique.
        main_columns: indices of north-south streets with two lanes a direction.
        main_rows: indices of east-west streets with two lanes a direction.
        main_speed: limit of main streets, km/h.
        side_speeds: limits that a side street draws from, km/h.
        missing: inner links left out, which makes three-arm junctions and larger blocks.
        corner_radius: radius of the bends at the town's corners, m.
        main_width: lane width of main streets, m.
        side_width: lane width of side streets, m.
        extra_signals: share of junctions without a passing main street that get lights all the same.
        green: seconds of green a phase.
        yellow: seconds of yellow.
        all_red: seconds of red for all after a phase.

    """

    name: str = "craftville"
    seed: int = 4
    columns: int = 5
    rows: int = 4
    block: tuple[float, float] = (70.0, 130.0)
    jitter: float = 6.0
    main_columns: tuple[int, ...] = (1, 4)
    main_rows: tuple[int, ...] = (2,)
    main_speed: float = 50.0
    side_speeds: tuple[float, ...] = (30.0, 40.0)
    missing: int = 3
    corner_radius: float = 18.0
    main_width: float = 3.5
    side_width: float = 3.25
    extra_signals: float = 0.3
    green: int = 13
    yellow: int = 3
    all_red: int = 2


@dataclasses.dataclass(frozen=True)
class _Street:
    """One two-way link between two crossings of the grid; ``shape`` holds the points between them of a bent one."""

    start: str
    end: str
    lanes: int
    speed: float
    width: float
    shape: tuple[tuple[float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class StreetPlan:
    """The plan before netconvert: crossings by id with position and control, and the links between them."""

    nodes: dict[str, tuple[float, float, str]]
    streets: tuple[_Street, ...]


def draw_plan(parameters: TownParameters) -> StreetPlan:
    """Draw the street plan of ``parameters``; the same parameters give the same plan."""
    rng = np.random.default_rng(parameters.seed)
    xs = np.concatenate([[0.0], np.cumsum(rng.uniform(*parameters.block, parameters.columns))])
    ys = np.concatenate([[0.0], np.cumsum(rng.uniform(*parameters.block, parameters.rows))])
    xs -= xs[-1] / 2
    ys -= ys[-1] / 2
    positions: dict[tuple[int, int], tuple[float, float]] = {}
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            inner = 0 < i < parameters.columns and 0 < j < parameters.rows
            shift = rng.uniform(-parameters.jitter, parameters.jitter, 2) if inner else np.zeros(2)
            positions[i, j] = round(float(x + shift[0]), 2), round(float(y + shift[1]), 2)
    column_speed = rng.choice(parameters.side_speeds, parameters.columns + 1)
    row_speed = rng.choice(parameters.side_speeds, parameters.rows + 1)
    links: list[tuple[tuple[int, int], tuple[int, int], bool, float]] = []
    for i in range(parameters.columns + 1):
        for j in range(parameters.rows):
            links.append(((i, j), (i, j + 1), i in parameters.main_columns, float(column_speed[i])))
    for j in range(parameters.rows + 1):
        for i in range(parameters.columns):
            links.append(((i, j), (i + 1, j), j in parameters.main_rows, float(row_speed[j])))
    dropped = _drop_links(links, parameters, rng)
    kept = [link for k, link in enumerate(links) if k not in dropped]
    streets = [
        _Street(
            _node(a),
            _node(b),
            2 if main else 1,
            parameters.main_speed if main else speed,
            parameters.main_width if main else parameters.side_width,
        )
        for a, b, main, speed in kept
    ]
    nodes = {}
    for key, (x, y) in positions.items():
        arms = [link for link in kept if key in link[:2]]
        if len(arms) == 2:
            _round_corner(streets, _node(key), {_node(k): place for k, place in positions.items()}, parameters)
            continue
        mains = sum(link[2] for link in arms)
        drawn = rng.random() < parameters.extra_signals
        signalised = len(arms) >= 3 and (mains >= 2 or drawn)
        nodes[_node(key)] = (x, y, "traffic_light" if signalised else "priority")
    return StreetPlan(nodes, tuple(streets))


def _round_corner(
    streets: list[_Street], corner: str, positions: dict[str, tuple[float, float]], parameters: TownParameters
) -> None:
    """Replace the two streets that meet at ``corner`` by one that bends round it, in place.

    A junction of two arms would turn on the spot: netconvert gives it no turning radius.
    """
    first, second = (street for street in streets if corner in (street.start, street.end))
    outer = [street.start if street.end == corner else street.end for street in (first, second)]
    centre = np.array(positions[corner])
    legs = [np.array(positions[name]) - centre for name in outer]
    along = [leg / np.linalg.norm(leg) for leg in legs]
    # Tangent points and centre of the circle inscribed in the corner.
    half = 0.5 * np.arccos(np.clip(along[0] @ along[1], -1.0, 1.0))
    reach = parameters.corner_radius / np.tan(half)
    middle = centre + (along[0] + along[1]) / np.linalg.norm(along[0] + along[1]) * parameters.corner_radius / np.sin(
        half
    )
    start, end = (np.arctan2(*(centre + reach * leg - middle)[::-1]) for leg in along)
    sweep = (end - start + np.pi) % (2 * np.pi) - np.pi
    angles = start + sweep * np.linspace(0.0, 1.0, 13)
    arc = middle + parameters.corner_radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    bent = dataclasses.replace(
        first,
        start=outer[0],
        end=outer[1],
        speed=min(first.speed, second.speed),
        shape=tuple((round(float(x), 3), round(float(y), 3)) for x, y in arc),
    )
    streets[streets.index(first)] = bent
    streets.remove(second)


def _drop_links(
    links: list[tuple[tuple[int, int], tuple[int, int], bool, float]],
    parameters: TownParameters,
    rng: np.random.Generator,
) -> set[int]:
    """Choose inner side-street links to leave out so that every crossing keeps at least three arms."""
    inner = [
        k
        for k, (a, b, main, _) in enumerate(links)
        if not main and all(0 < i < parameters.columns and 0 < j < parameters.rows for i, j in (a, b))
    ]
    dropped: set[int] = set()
    touched: set[tuple[int, int]] = set()
    for k in rng.permutation(inner):
        a, b = links[k][:2]
        if len(dropped) < parameters.missing and not {a, b} & touched:
            dropped.add(int(k))
            touched |= {a, b}
    return dropped


def _node(key: tuple[int, int]) -> str:
    return f"{chr(ord('A') + key[0])}{key[1]}"


def plan_xml(plan: StreetPlan) -> tuple[str, str]:
    """Return the SUMO node and edge files of ``plan``."""
    nodes = "".join(
        f"  <node id={quoteattr(name)} x='{x}' y='{y}' type='{kind}'/>\n" for name, (x, y, kind) in plan.nodes.items()
    )
    edges = []
    for street in plan.streets:
        ways = ((street.start, street.end, street.shape), (street.end, street.start, street.shape[::-1]))
        for start, end, shape in ways:
            points = [plan.nodes[start][:2], *shape, plan.nodes[end][:2]] if shape else []
            bent = f" shape='{' '.join(f'{x},{y}' for x, y in points)}'" if points else ""
            edges.append(
                f"  <edge id='{start}{end}' from='{start}' to='{end}' numLanes='{street.lanes}' "
                f"speed='{street.speed * KILOMETRES_PER_HOUR:.4f}' width='{street.width}' "
                f"priority='{2 * street.lanes}' sidewalkWidth='2.0'{bent}/>\n"
            )
    return f"<nodes>\n{nodes}</nodes>\n", f"<edges>\n{''.join(edges)}</edges>\n"


def build_town(directory: Path, parameters: TownParameters | None = None) -> tuple[Path, Path]:
    """Write ``NAME.xodr``, ``NAME.net.xml.gz`` and ``NAME.json`` into ``directory``.

    Args:
        directory: folder of the results.
        parameters: the street plan's parameters; the built-in town's by default.

    Returns:
        Paths of the OpenDRIVE file and of the SUMO net.

    Raises:
        CraftError: netconvert failed; the sentence carries its last message.

    """
    parameters = parameters or TownParameters()
    plan = draw_plan(parameters)
    nodes, edges = plan_xml(plan)
    lights = sorted(name for name, (_, _, kind) in plan.nodes.items() if kind == "traffic_light")
    xodr = directory / f"{parameters.name}.xodr"
    net = directory / f"{parameters.name}.net.xml.gz"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "town.nod.xml").write_text(nodes)
        (folder / "town.edg.xml").write_text(edges)
        run_netconvert(
            [
                "--node-files=town.nod.xml",
                "--edge-files=town.edg.xml",
                "--output-file=town.net.xml",
                "--opendrive-output=town.xodr",
                "--offset.disable-normalization=true",
                "--no-turnarounds=true",
                "--crossings.guess=true",
                "--walkingareas=true",
                # Radius of the kerbs, m: right turns of about 7 m at the lane centre, which every car manages.
                "--default.junctions.radius=9",
                # No arrow phases: every lane of an approach shows one colour, as a CARLA light does.
                "--tls.left-green.time=0",
                f"--tls.green.time={parameters.green}",
                f"--tls.yellow.time={parameters.yellow}",
                f"--tls.allred.time={parameters.all_red}",
                # Neighbouring lights run out of step, or every light of a route would show the same colour.
                f"--tls.half-offset={','.join(lights[1::4])}",
                f"--tls.quarter-offset={','.join(lights[2::4])}",
            ],
            folder,
            what=f"the street plan of {parameters.name}",
        )
        road_text, net_text = rewrite_town(
            stable((folder / "town.xodr").read_text()), stable((folder / "town.net.xml").read_text())
        )
        xodr.write_text(road_text)
        # A gzip header holds name and time of day; mtime 0 and no name keep the bytes the same.
        net.write_bytes(gzip.compress(net_text.encode(), mtime=0))
    (directory / f"{parameters.name}.json").write_text(json.dumps(dataclasses.asdict(parameters), indent=2) + "\n")
    return xodr, net


def build(name: str, directory: Path) -> None:
    """Write the files of one built-in town, for ``craftville`` its route suites too, into ``directory``.

    Raises:
        CraftError: netconvert failed.

    """
    if name in PLANS:
        write_town(directory, PLANS[name]())
        return
    xodr, _ = build_town(directory)
    network = RoadNetwork.from_opendrive(load_opendrive(xodr, name=name))
    write_suites(network, directory, town=name)


def main(arguments: list[str] | None = None) -> None:
    """Build towns into the package folder (or ``--directory``)."""
    parser = argparse.ArgumentParser(description="Build the built-in towns.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones, of {', '.join(BUILT_IN)}; all by default"
    )
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent, help="where to write the files")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(BUILT_IN))
    if unknown:
        parser.error(f"there is no built-in town '{unknown[0]}'; name some of {', '.join(BUILT_IN)}")
    for name in options.names or BUILT_IN:
        build(name, options.directory)


if __name__ == "__main__":
    main()
