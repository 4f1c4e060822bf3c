"""A page of all scenario types, each with a moving picture of one run."""

import dataclasses
import difflib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.metrics.abilities import ABILITIES
from craft_lightning.reports.clips import Clip, Played, Studio
from craft_lightning.roads.cache import atomic_path

PAGE = "index.html"
_TEMPLATE = Path(__file__).parent / "gallery.html"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One type on the page.

    Args:
        kind: scenario type.
        abilities: what it asks of a driver.
        story: what happens, in one sentence.
        picture: file of the clip, empty where there is none.
        town: where it was played.
        outcome: how the drive ended, or why there is no clip.

    """

    kind: str
    abilities: str
    story: str
    picture: str
    town: str
    outcome: str


def known_types(only: Sequence[str] = ()) -> list[str]:
    """Return scenario types in alphabetical order.

    Args:
        only: the wanted ones; empty = all.

    Raises:
        CraftError: one that there is not.

    """
    from craft_lightning.simulation.scenarios.registry import SCENARIOS

    for kind in only:
        if kind not in SCENARIOS:
            near = difflib.get_close_matches(kind, SCENARIOS, 1, 0.0)[0]
            raise CraftError(f"there is no scenario type '{kind}'; did you mean '{near}'?")
    return sorted(set(only) or SCENARIOS)


def story_of(kind: str) -> str:
    """Return the first sentence of what a scenario type's class says about itself."""
    from craft_lightning.simulation.scenarios.registry import SCENARIOS

    words = (SCENARIOS[kind].__doc__ or "").strip().partition("\n")[0]
    return words.removeprefix(f"{kind}: ").replace("``", "")


def abilities_of(kind: str) -> str:
    """Return the names of the abilities that a type asks for."""
    return ", ".join(name.replace("_", " ").lower() for name, kinds in ABILITIES.items() if kind in kinds)


def build_gallery(
    folder: Path, only: Sequence[str] = (), town: str = "", seed: int = 0, driver: str = "expert", camera: bool = False
) -> tuple[Path, int, int]:
    """Play scenario types and write the page.

    Args:
        folder: where the page and the pictures go.
        only: types; empty = all.
        town: see ``clips.Clip``.
        seed: see ``clips.Clip``.
        driver: see ``clips.Clip``.
        camera: see ``clips.Clip``.

    Returns:
        The page, and how many types were played and how many not.

    Raises:
        CraftError: an unknown type, or a folder that cannot be written.

    """
    kinds = known_types(only)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CraftError(f"{folder} cannot be made: {error.strerror}; give another folder") from error
    console = Console(stderr=True)
    entries = []
    with Studio() as studio:
        for number, kind in enumerate(kinds, 1):
            begin = time.monotonic()
            picture = f"{kind}.webp"
            clip = Clip(kind, town, seed, driver, camera, str(folder / picture))
            try:
                played = studio.film(clip)
            except (CraftError, WorldError) as error:
                played, picture = Played("", str(error), 0), ""
            entries.append(Entry(kind, abilities_of(kind), story_of(kind), picture, played.town, played.outcome))
            console.print(
                f"[dim]{number:2d}/{len(kinds)} {kind}: {played.outcome} ({time.monotonic() - begin:.1f} s)[/dim]",
                highlight=False,
            )
            write_page(folder / PAGE, entries, driver, seed)
    done = sum(bool(entry.picture) for entry in entries)
    return folder / PAGE, done, len(entries) - done


def write_page(path: Path, entries: Sequence[Entry], driver: str, seed: int) -> None:
    """Write the page of the given entries; it appears whole or not at all.

    Args:
        path: the HTML file.
        entries: in the order in which they are shown.
        driver: who drove.
        seed: of the draws.

    Raises:
        CraftError: it cannot be written.

    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    values: dict[str, Any] = {"entries": entries, "driver": driver, "seed": seed}
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(values)
    try:
        with atomic_path(path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CraftError(f"{path} cannot be written: {error.strerror}") from error
