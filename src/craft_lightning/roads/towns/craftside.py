"""The plan of ``craftside``: an urban quarter with parked cars' lanes on both sides of its streets."""

from craft_lightning.roads.towns.layout import Layout, lanes
from craft_lightning.roads.towns.plan import SIGNAL, STOP, Profile, Strip, TownPlan, two_way

_COLUMNS = (-255.0, -140.0, -20.0, 110.0, 230.0)
_ROWS = (-170.0, -55.0, 60.0, 170.0)
_AVENUE_COLUMN, _AVENUE_ROW = 2, 1
_SIGNALS = {(1, 1), (2, 1), (3, 1), (2, 2), (4, 1)}
_KERB = (Strip("parking", 2.3), Strip("sidewalk", 2.5))
# From the middle of a junction to the ends of its arms: room for the corner and a crosswalk.
_REACH, _WIDE_REACH = 14.0, 17.5
_CORNER = 24.0


def craftside() -> TownPlan:
    """Return the plan."""
    town = Layout("craftside")
    columns, rows = range(len(_COLUMNS)), range(len(_ROWS))
    corners = {(i, j) for i in (0, columns[-1]) for j in (0, rows[-1])}
    for i in columns:
        for j in rows:
            if (i, j) not in corners:
                wide = i == _AVENUE_COLUMN or j == _AVENUE_ROW
                town.place(_name(i, j), _COLUMNS[i], _ROWS[j], _WIDE_REACH if wide else _REACH)
    for j in rows:
        for i in columns[:-1]:
            if not {(i, j), (i + 1, j)} & corners:
                _street(town, (i, j), (i + 1, j), _profile(j == _AVENUE_ROW, 50.0 if j == _AVENUE_ROW else 40.0))
    for i in columns:
        for j in rows[:-1]:
            if not {(i, j), (i, j + 1)} & corners:
                _street(town, (i, j), (i, j + 1), _profile(i == _AVENUE_COLUMN, 50.0 if i == _AVENUE_COLUMN else 30.0))
    for i, j in sorted(corners):
        beside, above = (1 if i == 0 else i - 1), (1 if j == 0 else j - 1)
        town.road(
            _name(i, above), _name(beside, j), _profile(False, 30.0), via=[(_COLUMNS[i], _ROWS[j])], radius=_CORNER,
            control=(_control((i, above), True), _control((beside, j), False)),
        )  # fmt: skip
    return town.plan(crosswalks=True)


def _profile(avenue: bool, speed: float) -> Profile:
    # The driving lanes' outer edge is where the parking lane begins.
    strips = (*lanes(2 if avenue else 1, 3.25), *_KERB)
    return two_way(*strips, centre="solid" if avenue else "broken", speed=speed)


def _street(town: Layout, start: tuple[int, int], end: tuple[int, int], profile: Profile) -> None:
    vertical = start[0] == end[0]
    controls = _control(start, vertical), _control(end, vertical)
    town.road(_name(*start), _name(*end), profile, control=controls)


def _control(junction: tuple[int, int], vertical: bool) -> str | None:
    """Return what holds back traffic that arrives by a north-south (``vertical``) or by a west-east street."""
    i, j = junction
    if junction in _SIGNALS:
        return SIGNAL
    if i in (0, len(_COLUMNS) - 1):  # the border street runs north-south
        return None if vertical else STOP
    if j in (0, len(_ROWS) - 1) or i != _AVENUE_COLUMN:
        return STOP if vertical else None
    return None if vertical else STOP


def _name(i: int, j: int) -> str:
    return f"{'ABCDE'[i]}{j}"
