"""Writes the files of a new adapter: into a checkout of this project, or a package of the user's own."""

import dataclasses
import difflib
import keyword
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from craft_lightning.errors import CraftError

TEMPLATES = "craft_lightning.scaffold"
# Family -> the recipe that imitates the expert with it, and the policy file that this recipe writes.
PRETRAINING = {
    "hierarchical": ("pretrain_hierarchical", "runs/hierarchical_craftville.safetensors"),
    "vision-language": ("pretrain_vla", "runs/vla_craftville.safetensors"),
    "vocabulary": ("pretrain_vocabulary", "runs/vocabulary_craftville.safetensors"),
}
_FAMILY = re.compile(r"adapter_(\w+)\.py\.j2")


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    files: the files, in the order in which to read them; steps: what to do next, a line each.
    """

    files: tuple[Path, ...]
    steps: tuple[str, ...]


def families() -> list[str]:
    """Return the families that have a template (``adapter_FAMILY.py.j2``), with dashes for underscores."""
    found = (_FAMILY.fullmatch(entry.name) for entry in _folder().iterdir())
    return sorted(match[1].replace("_", "-") for match in found if match)


def new_adapter(name: str, family: str, directory: Path | None = None) -> Written:
    """Write an adapter that drives at once, a recipe that trains it and a test that passes.

    Args:
        name: of the class, such as ``MyPlanner``, or of its module, such as ``my_planner``; a name that Python takes.
        family: one of ``families()``.
        directory: root of a checkout of this project, where files go into ``adapters``, ``recipes`` and
            ``tests/adapters``; anywhere else a small package of its own is written. None = the working directory where
            that is a checkout, else a new folder named after the module.

    Raises:
        CraftError: a name that Python cannot use, an unknown family, a file that is there already, or a folder that
            cannot be written. Nothing is written then.

    """
    class_name, module = _names(name)
    if family not in families():
        near = difflib.get_close_matches(family, families(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"families are: {', '.join(families())}"
        raise CraftError(f"--family is '{family}'; {hint}")
    root = directory if directory is not None else (Path() if is_checkout(Path()) else Path(module))
    inside = is_checkout(root)
    stem = module
    package = f"craft_lightning.adapters.{module}" if inside else f"{module}.policy"
    words = {
        "class_name": class_name,
        "module": module,
        "import_path": package,
        # A recipe of ours names classes that are listed; anybody else's must be importable by its full name.
        "class_path": class_name if inside else f"{package}.{class_name}",
        "family": family,
        "pretraining": PRETRAINING[family],
        "inside": inside,
    }
    adapter = f"adapter_{family.replace('-', '_')}.py.j2"
    if inside:
        plan = {
            root / "adapters" / f"{stem}.py": adapter,
            root / "recipes" / f"craft_{stem}.yaml": "recipe.yaml.j2",
            root / "tests" / "adapters" / f"test_{stem}.py": "test.py.j2",
        }
    else:
        plan = {
            root / module / "policy.py": adapter,
            root / module / "__init__.py": "package.py.j2",
            root / f"craft_{stem}.yaml": "recipe.yaml.j2",
            root / "tests" / f"test_{stem}.py": "test.py.j2",
            root / "pyproject.toml": "pyproject.toml.j2",
        }
    if not inside and find_spec(module) is not None and not any(path.exists() for path in plan):
        raise CraftError(
            f"NAME '{name}' makes the package '{module}', which would hide the installed one of that name; "
            "choose another NAME"
        )
    _write({path: _render(template, words) for path, template in plan.items()})
    recipe = f"craft_{stem}" if inside else f"craft_{stem}.yaml"
    test = f"pytest {'tests/adapters' if inside else 'tests'}/test_{stem}.py"
    if inside:
        steps = [test, f"lightning fit --config {recipe}", "a row for the recipe in README's table of recipes"]
    else:
        steps = [f"cd {root} && pip install -e .", test, f"lightning fit --config {recipe}"]
    return Written(tuple(plan), tuple(steps))


def is_checkout(root: Path) -> bool:
    """Return whether ``root`` is a checkout of this project."""
    return (root / "src" / "craft_lightning" / "policies" / "base.py").is_file() and (root / "adapters").is_dir()


def _names(name: str) -> tuple[str, str]:
    """Return the names of class and module."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    module = re.sub(r"_+", "_", parts).strip("_")
    class_name = name if re.fullmatch(r"[A-Z]\w*", name) else "".join(part.capitalize() for part in module.split("_"))
    taken = module == "craft_lightning" or keyword.iskeyword(module) or keyword.iskeyword(class_name)
    if taken or not (name.isidentifier() and re.fullmatch(r"[a-z][a-z0-9_]*", module)):
        near = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", name))
        suggestion = near if re.match(r"[A-Z]", near) and not taken else "MyPlanner"
        raise CraftError(
            f"NAME is '{name}', which Python cannot take as a class's name; give letters, digits and underscores, such "
            f"as {suggestion}"
        )
    return class_name, module


def _folder() -> Path:
    return Path(str(files(TEMPLATES)))


def _render(template: str, words: dict[str, object]) -> str:
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string((_folder() / template).read_text(encoding="utf-8")).render(words)


def _write(contents: dict[Path, str]) -> None:
    """Write all files or none."""
    there = [path for path in contents if path.exists()]
    if there:
        raise CraftError(f"{there[0]} is there already; choose another NAME, another --directory, or remove the file")
    written: list[Path] = []
    try:
        for path, text in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise CraftError(f"--directory: {path} cannot be written: {error.strerror}") from error
