"""Route suites that ship with the package: those of single towns, and those over all built-in towns."""

from pathlib import Path

from craft_lightning.roads.towns import suite_path

PACKAGE = Path(__file__).parent

__all__ = ["suite_file", "suite_names"]


def suite_file(name: str) -> Path | None:
    """Return the file of a built-in suite such as ``embedded-220`` or ``craftville_eval``, None where there is none."""
    path = PACKAGE / f"{name}.xml"
    return path if path.parent == PACKAGE and path.is_file() else suite_path(name)


def suite_names() -> list[str]:
    """Return the names of all built-in suites."""
    from craft_lightning.roads import towns

    folder = Path(towns.__file__).parent
    own = [*folder.glob("*_train.xml"), *folder.glob("*_eval.xml")]
    return sorted(path.stem for path in [*PACKAGE.glob("*.xml"), *own])
