"""Turns what the argument parser says about a wrong field into one sentence: the field, where it stands, the remedy."""

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from craft_lightning.errors import CraftError
from craft_lightning.recipe_files import find_recipe

_CONFIG = ("-c", "--config")
COMMAND_LINE = "command line"


@dataclasses.dataclass(frozen=True)
class Given:
    """One field that the user gave.

    Args:
        path: names from the top, e.g. ("losses", "residual", "weight"); ``init_args`` is left out.
        value: what it was set to.
        source: the file, or "command line".

    """

    path: tuple[str, ...]
    value: Any
    source: str

    @property
    def field(self) -> str:
        """The dotted name of the field."""
        return ".".join(self.path)


def given_fields(arguments: Sequence[str]) -> list[Given]:
    """Return every field of the recipes and options of a command line, in the order in which they apply.

    Args:
        arguments: the command line after the sub-command.

    Raises:
        CraftError: a recipe that does not exist or is not YAML, with its name.

    """
    fields: list[Given] = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            continue
        name, equals, value = word.partition("=")
        text = value if equals else next(words, "")
        if name in _CONFIG:
            fields += _recipe_fields(text)
        elif name.startswith("--"):
            fields.append(Given(tuple(name[2:].rstrip("+").replace(".init_args", "").split(".")), text, COMMAND_LINE))
    return fields


def _recipe_fields(text: str) -> Iterator[Given]:
    inline = text.lstrip().startswith("{") or "\n" in text
    source = COMMAND_LINE if inline else str(find_recipe(text))
    try:
        document = yaml.safe_load(text if inline else find_recipe(text).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise CraftError(f"{source} is not readable YAML: {_flat(str(error))}") from error
    if not isinstance(document, dict):
        raise CraftError(f"{source} is not a recipe: its top level must be fields such as model, data, trainer")
    yield from _walk((), document, source)


def _walk(path: tuple[str, ...], value: Any, source: str) -> Iterator[Given]:
    if path:
        yield Given(path, value, source)
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _walk(path if name == "init_args" else (*path, str(name)), child, source)


def explain(
    message: str,
    arguments: Sequence[str],
    options: Iterable[str],
    classes: Iterable[type],
    fixed: Mapping[str, type] | None = None,
) -> str:
    """Return one sentence for a parser's message.

    Args:
        message: what the parser said.
        arguments: the command line after the sub-command.
        options: dotted names of all fields that the parser itself knows.
        classes: every class that a recipe may name.
        fixed: fields whose class is never named, e.g. {"comparison": Comparison}.

    """
    try:
        given = given_fields(arguments)
    except CraftError as error:
        return str(error)
    known, named = list(options), {cls.__name__: cls for cls in classes}
    if found := re.search(r"unrecognized arguments: ([^-\s]\S*)", message):
        return f"unexpected word '{found[1]}'; fields are given as --field=value"
    if found := re.search(r"unrecognized arguments: -*([^\s=]+)", message):
        return _no_field(found[1], _source(given, found[1]), known)
    if found := re.search(r"(?:Subcommand|Group) '(\w+)' does not accept option '([^']+)'", message):
        field = found[2] if message.startswith("Sub") else f"{found[1]}.{found[2]}"
        return _no_field(field, _source(given, field), known)
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return _no_class_field(found[1], given, {**named, **(fixed or {})})
    if found := re.search(r"arguments are required: (.*)", message):
        names = ", ".join(name.partition(".")[2] or name for name in found[1].split(", "))
        return f"{names} missing; name a recipe with --config, or set it"
    if found := re.search(r'Parser key "([^"]+)"', message):
        return _wrong_value(found[1], message, given, named)
    return _flat(message)


def _no_field(field: str, source: str, known: Sequence[str]) -> str:
    return f"no field '{field}' ({source}){_suggest(field, known)}"


def _no_class_field(name: str, given: list[Given], named: dict[str, type]) -> str:
    """Say which given field has a name that its class does not know."""
    for item in given:
        if item.path[-len(name.split(".")) :] != tuple(name.split(".")):
            continue
        parent = item.path[: -len(name.split("."))]
        cls = _class_of(parent, given, named)
        if cls is not None and name not in (accepted := constructor_fields(cls)):
            prefix = ".".join(parent)
            return _no_field(item.field, item.source, [f"{prefix}.{field}" for field in accepted]).replace(
                f"({item.source})", f"({item.source}; {cls.__name__})"
            )
    matching = [item for item in given if item.path[-1] == name.split(".")[-1]]
    return f"no field '{matching[0].field}' ({matching[0].source})" if matching else f"no field '{name}'"


def _class_of(parent: tuple[str, ...], given: list[Given], named: dict[str, type]) -> type | None:
    """Return the class last chosen for a field, by ``class_path`` or by its bare name."""
    for item in reversed(given):
        if item.path in (parent, (*parent, "class_path")) and isinstance(item.value, str):
            return named.get(item.value.rpartition(".")[2]) or _import(item.value)
    return named.get(".".join(parent))


def _import(dotted: str) -> type | None:
    module, _, name = dotted.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) else None


def constructor_fields(cls: type) -> list[str]:
    """Return the names that a constructor accepts, following ``**kwargs`` to the parent classes."""
    names: list[str] = []
    for ancestor in cls.__mro__:
        if "__init__" not in vars(ancestor):
            continue
        parameters = list(inspect.signature(vars(ancestor)["__init__"]).parameters.values())[1:]
        names += [item.name for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
        if not any(item.kind is item.VAR_KEYWORD for item in parameters):
            break
    return names


def _wrong_value(key: str, message: str, given: list[Given], named: dict[str, type]) -> str:
    field, source = key.partition(".")[2] if key.split(".")[0] in ("fit", "validate", "test", "predict") else key, ""
    shown = re.search(r"(?:Given value|Got value): (.*)", message)
    meant = [item for item in given if item.path[-len(field.split(".")) :] == tuple(field.split("."))]
    # The parser may name a leaf alone, which several losses have: the one that was given this value is meant.
    same = [item for item in meant if shown and str(item.value) == shown[1].strip("'\"")]
    if chosen := (same or meant)[-1:]:
        field, source = chosen[0].field, f" ({chosen[0].source})"
    if found := re.search(r"Expected a dot import path string: (\S+)", message):
        where = [item for item in given if item.value == found[1]]
        if where:
            field, source = ".".join(part for part in where[-1].path if part != "class_path"), f" ({where[-1].source})"
        return f"{field}{source}: there is no class '{found[1]}'{_suggest(found[1], list(named))}"
    expected = re.search(r"Subtypes: \[(.*)\]|Expected a (.*?)(?:\. Got value|$)", message, re.MULTILINE)
    if shown and expected:
        kinds = (
            re.sub(r"<class '([^']+)'>", r"\1", expected[1] or expected[2])
            .replace("NoneType", "null")
            .replace("typing.", "")
        )
        return f"{field} is '{shown[1]}'{source}; expected {kinds.replace(', ', ' or ') if expected[1] else kinds}"
    return f"{field}{source}: {_flat(message.partition(':')[2])}"


def _source(given: list[Given], field: str) -> str:
    return next((item.source for item in reversed(given) if item.field == field), COMMAND_LINE)


def _suggest(name: str, known: Sequence[str]) -> str:
    """Return the closest right name: a sibling first, then any field, else all siblings."""
    prefix, _, leaf = name.rpartition(".")
    siblings = sorted(
        {item[len(prefix) + 1 :].split(".")[0] for item in known if prefix and item.startswith(f"{prefix}.")}
    )
    if near := difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.65):
        return f"; did you mean '{prefix}.{near[0]}'?"
    # The leaf may be right and its place wrong.
    elsewhere = [item for item in known if "." in name and item.rpartition(".")[2] == leaf]
    others = [] if siblings else difflib.get_close_matches(name, known, n=1)
    if near := elsewhere[:1] or others:
        return f"; did you mean '{near[0]}'?"
    return f"; fields of {prefix} are: {', '.join(siblings)}" if siblings else ""


def _flat(text: str) -> str:
    return " ".join(text.split())
