"""The house's own rules: floors, light rooms, small documented files, and a package list that equals the tree."""

import ast
import configparser
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "craft_lightning"
FOLDERS = {
    PACKAGE: ROOT / "src" / PACKAGE,
    f"{PACKAGE}.adapters": ROOT / "adapters",
    f"{PACKAGE}.recipes": ROOT / "recipes",
}
# Room -> its floor in docs/design.md; a room imports rooms of its own or a lower floor.
FLOORS = {
    "": 0,
    **dict.fromkeys(
        ("conventions", "errors", "frames", "geometry", "control", "control_parameters", "elementary", "listing"), 0
    ),
    "structures": 0,
    **dict.fromkeys(("smoothing", "rig", "rigs", "tables"), 0),
    "roads": 1,
    "counterfactual": 2,
    **dict.fromkeys(("policies", "objectives", "metrics", "adapters", "checkpoints", "testing", "plugins"), 3),
    **dict.fromkeys(("simulation", "simulation.embedded"), 4),
    "rollouts": 5,
    **dict.fromkeys(("module", "reports", "arms", "pretraining", "recipes", "recipe_files", "mistakes", "scaffold"), 6),
    **dict.fromkeys(("audit", "official", "noise", "resume", "cli", "commands", "__main__"), 6),
}
# Pairs that the floors would allow and the rules of the house do not.
FORBIDDEN = {
    ("adapters", "objectives"),
    ("adapters", "counterfactual"),
    ("counterfactual", "roads"),  # grids arrive as arrays
    ("metrics", "policies"),
    ("policies", "objectives"),
    ("policies", "counterfactual"),
    ("rollouts", "objectives"),
    ("rollouts", "counterfactual"),
    ("rollouts", "adapters"),
    ("simulation", "counterfactual"),
    ("simulation", "metrics"),
    ("simulation", "objectives"),
    ("simulation", "policies"),
    ("simulation", "simulation.embedded"),  # the one way in is carla.Client
    ("simulation.embedded", "simulation"),
}
NUMPY_ONLY = ("roads", "simulation", "simulation.embedded")
# Where the house knows argparse: the command line, and modules that are programs of their own.
PROGRAMS = {
    "commands",
    "policies.released.bridge_server",
    "roads.towns.build",
    "simulation.drive",
    "simulation.embedded.cli",
    "testing.__main__",
}


@cache
def sources() -> dict[str, Path]:
    """Dotted name below the package -> file."""
    found = {}
    for package, folder in FOLDERS.items():
        below = package.removeprefix(PACKAGE).lstrip(".")
        for path in folder.rglob("*.py"):
            parts = [*below.split("."), *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part and part != "__init__")] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room(name: str) -> str:
    """The room of a dotted name below the package; the embedded server is a room of its own."""
    if name == "simulation.embedded" or name.startswith("simulation.embedded."):
        return "simulation.embedded"
    return name.split(".")[0]


def imports(path: Path) -> set[str]:
    """Absolute names of everything a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names.update({node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


def house_edges() -> set[tuple[str, str, Path]]:
    edges = set()
    for name, path in sources().items():
        for target in imports(path):
            if target.startswith(f"{PACKAGE}."):
                edges.add((room(name), room(target.removeprefix(f"{PACKAGE}.")), path))
    # "from craft_lightning import __version__" names no room.
    return {edge for edge in edges if edge[0] != edge[1] and not edge[1].startswith("__v")}


def test_the_rules_see_the_whole_house():
    assert len(sources()) > 100
    rooms = {room(name) for name in sources()}
    assert rooms <= set(FLOORS), f"give {sorted(rooms - set(FLOORS))} a floor here and in docs/design.md"
    assert ("rollouts", "simulation") in {edge[:2] for edge in house_edges()}


def test_imports_run_downward_only():
    upward = {f"{path.relative_to(ROOT)}: {a} -> {b}" for a, b, path in house_edges() if FLOORS[a] < FLOORS[b]}
    assert not upward
    forbidden = {f"{path.relative_to(ROOT)}: {a} -> {b}" for a, b, path in house_edges() if (a, b) in FORBIDDEN}
    assert not forbidden


def test_the_design_page_names_every_room_on_its_floor():
    page = (ROOT / "docs" / "design.md").read_text()
    rows = {int(row[0]): row[1] for row in re.findall(r"^\| (\d) \| (.*?) \|", page, re.MULTILINE)}
    assert sorted(rows) == sorted(set(FLOORS.values()))
    missing = {name for name, floor in FLOORS.items() if name and f"`{name}`" not in rows[floor]}
    assert not missing


def test_world_processes_import_neither_torch_nor_lightning():
    heavy = {
        f"{path.relative_to(ROOT)}: {target}"
        for name, path in sources().items()
        if room(name) in NUMPY_ONLY
        for target in imports(path)
        if target.split(".")[0] in ("torch", "lightning", "torchmetrics", "tensordict", "timm")
    }
    assert not heavy


def test_what_a_subclass_must_give_is_asked_for_when_an_object_is_made():
    """In the rooms of worlds: an abstract method, not an error in the middle of an episode."""
    late = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for name, path in sources().items()
        if room(name) in NUMPY_ONLY
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node)
    }
    assert not late


@pytest.mark.parametrize(
    "modules",
    [
        PACKAGE,
        f"{PACKAGE}.metrics, {PACKAGE}.metrics.results",
        f"{PACKAGE}.simulation.episode, {PACKAGE}.simulation.launcher, {PACKAGE}.roads.towns",
        f"{PACKAGE}.simulation.embedded.cli",
    ],
)
def test_light_doors_stay_light(modules):
    code = (
        f"import {modules}, sys; sys.exit(' '.join({{'torch', 'lightning', 'torchmetrics'}} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_only_programs_know_argparse():
    knowing = {name for name, path in sources().items() if "argparse" in imports(path)}
    assert knowing <= PROGRAMS


def test_files_are_read_in_one_sitting():
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources().values()}
    assert not {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > 500}
    assert sorted(sizes.values())[len(sizes) // 2] <= 200


def _public(node: ast.AST, prefix: str = "") -> list[tuple[str, ast.AST]]:
    """Public classes, functions and methods of a module or class, one below the other."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            found.append((prefix + child.name, child))
            if isinstance(child, ast.ClassDef):
                found += _public(child, f"{prefix}{child.name}.")
    return found


def test_everything_public_has_a_docstring():
    silent = []
    for name, path in sources().items():
        if ast.get_docstring(tree(path)) is None:
            silent.append(name)
        for qualified, node in _public(tree(path)):
            decorators = [ast.unparse(item) for item in getattr(node, "decorator_list", [])]
            overload = any(item.endswith(("overload", ".setter")) for item in decorators)
            if ast.get_docstring(node) is None and not overload:
                silent.append(f"{name}: {qualified}")
    assert not silent


def test_everything_is_annotated():
    """Functions and methods; what is nested in a function (CUDA kernels, callbacks) is ruff's to judge."""
    bare = [
        f"{name}: {node.name}"
        for name, path in sources().items()
        for parent in (tree(path), *(node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)))
        for node in parent.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.returns is None or any(item.annotation is None for item in _arguments(node)))
    ]
    assert not bare


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [item for item in given if item.arg not in ("self", "cls")]


def test_nothing_swallows_errors_in_silence():
    swallowed = [
        f"{name}:{node.lineno}"
        for name, path in sources().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and all(isinstance(item, ast.Pass) for item in node.body)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert not swallowed


# --- packaging --------------------------------------------------------------------------------------------------------


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_the_package_list_equals_the_tree():
    listed = set(setup_cfg()["options"]["packages"].split())
    found = set()
    for package, folder in FOLDERS.items():
        for path in folder.rglob("__init__.py"):
            found.add(".".join([package, *path.parent.relative_to(folder).parts]))
    assert listed == found


def test_every_file_that_is_not_code_is_package_data():
    patterns = {
        line.split("=")[0].strip(): [item.strip() for item in line.split("=")[1].split(",")]
        for line in (f"{key}={value}" for key, value in setup_cfg()["options.package_data"].items())
    }
    missing = []
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*"):
            if not path.is_file() or path.suffix in (".py", ".pyc") or "__pycache__" in path.parts:
                continue
            owner = ".".join([package, *path.parent.relative_to(folder).parts])
            if not any(path.match(pattern) for pattern in patterns.get(owner, [])):
                missing.append(str(path.relative_to(ROOT)))
    assert not missing


def test_every_dependency_is_imported_and_every_import_is_a_dependency():
    distributions = {"cv2": "opencv-python-headless", "yaml": "PyYAML", "sumo": "eclipse-sumo", "PIL": "pillow"}
    listed = {
        re.split(r"[\[<>=~!; ]", line.strip())[0].lower().replace("-", "_")
        for line in setup_cfg()["options"]["install_requires"].splitlines()
        if line.strip() and not line.strip().startswith("#")
    }
    used = {target.split(".")[0] for path in sources().values() for target in imports(path)} - {""}
    used = {distributions.get(name, name).lower().replace("-", "_") for name in used - set(sys.stdlib_module_names)}
    used -= {PACKAGE}
    # Imported on our behalf by Lightning, timm and transformers.
    indirect = {"tensorboard", "torchvision", "num2words"}
    assert used - listed == set()
    assert listed - used <= indirect


@pytest.mark.slow
def test_a_wheel_holds_adapters_recipes_and_data(tmp_path):
    """The wheel of a copy of the tree: what an installed user gets."""
    import shutil
    import zipfile

    copy = tmp_path / "tree"
    ignore = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "build", "__pycache__", "runs", ".*_cache", "tests")
    shutil.copytree(ROOT, copy, ignore=ignore)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    wheel = next((copy / "dist").glob("*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{package.replace('.', '/')}/{path.relative_to(folder)}" in names
    entry_points = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("entry_points.txt")))
    scripts = configparser.ConfigParser()
    scripts.read_string(entry_points.decode())
    assert dict(scripts["console_scripts"]) == dict.fromkeys(
        ("lightning", "craft-lightning"), f"{PACKAGE}.__main__:main"
    )


def test_the_installed_package_is_this_tree():
    import craft_lightning.adapters
    import craft_lightning.recipes

    assert Path(craft_lightning.adapters.__path__[0]).resolve() == ROOT / "adapters"
    assert Path(craft_lightning.recipes.__path__[0]).resolve() == ROOT / "recipes"


# --- pages ------------------------------------------------------------------------------------------------------------


def readme_commands() -> list[str]:
    """The README's fenced shell blocks under "Set-up"."""
    text = (ROOT / "README.md").read_text()
    section = re.search(r"^## Set-up\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section
    return [block.strip() for block in re.findall(r"```bash\n(.*?)```", section[1], re.DOTALL)]


def test_the_readme_has_two_commands_and_ci_runs_the_second():
    run, test = readme_commands()
    assert run.endswith("lightning fit --config craft_vocabulary")
    assert test.endswith("ruff check . && mypy && pytest")
    assert "\n" not in run + test
    script = ROOT / ".ci" / "run"
    done = subprocess.run(["bash", str(script), "--print"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == test


def test_every_recipe_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert not [path.stem for path in (ROOT / "recipes").glob("*.yaml") if f"`{path.stem}`" not in text]


def test_the_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
