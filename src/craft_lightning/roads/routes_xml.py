"""The Leaderboard/Bench2Drive route schema: XML on one side, plain values in the world frame on the other."""

import dataclasses
import math
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.frames import pose_from_carla, pose_to_carla
from craft_lightning.roads.cache import atomic_path

if TYPE_CHECKING:
    from craft_lightning.roads.routes import RouteConfig


@dataclasses.dataclass
class ScenarioElement:
    """A ``<scenario>`` with its places in the world frame."""

    name: str
    type: str
    trigger_point: tuple[float, float, float, float]
    parameters: dict[str, Any]


@dataclasses.dataclass
class RouteElement:
    """A ``<route>`` with its places in the world frame."""

    id: str
    town: str
    waypoints: np.ndarray
    scenarios: list[ScenarioElement]
    weather: dict[str, float]


def read_elements(path: str | Path, strict: bool) -> list[RouteElement]:
    """Read every route of a file; see ``routes.read_routes``."""
    path = Path(path)
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError as error:
        raise CraftError(f"{path} does not exist; give the path of a routes .xml file") from error
    except OSError as error:
        raise CraftError(f"{path} cannot be read ({error.strerror}); give a readable routes .xml file") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise CraftError(f"{path} is not well-formed XML ({error}); repair the route file") from error
    if root.tag != "routes":
        raise CraftError(f"{path} is not a route file: its root element is <{root.tag}>, not <routes>")
    routes = [_Reader(path, strict, element, number).route() for number, element in enumerate(root.iterfind("route"))]
    if not routes:
        raise CraftError(f"{path} holds no <route>; give a file with at least one")
    seen: set[str] = set()
    for route in routes:
        if route.id in seen:
            raise CraftError(f"{path}: two routes have the id '{route.id}'; give every route its own")
        seen.add(route.id)
    return routes


class _Reader:
    """Reads one ``<route>``; knows what to say where a value is wrong."""

    def __init__(self, path: Path, strict: bool, element: ElementTree.Element, number: int) -> None:
        self.strict, self.element = strict, element
        name = element.get("id")
        if not name:
            raise CraftError(f"{path}: route number {number + 1} has no id; add the attribute id")
        self.name = name
        self.where = f"{path}: route '{name}'"

    def route(self) -> RouteElement:
        town = self.element.get("town")
        if not town:
            raise CraftError(f"{self.where} has no town; add the attribute town")
        positions = self.element.findall("waypoints/position")
        if len(positions) < 2:
            raise CraftError(f"{self.where} has {len(positions)} waypoints; give at least two <position> elements")
        waypoints = np.array([self.place(position)[:3] for position in positions])
        scenarios = [self.scenario(element) for element in self.element.iterfind("scenarios/scenario")]
        return RouteElement(self.name, town, waypoints, scenarios, self.weather())

    def number(self, element: ElementTree.Element, field: str, default: float | None = None) -> float:
        """Return an attribute as a finite number."""
        text = element.get(field)
        if text is None:
            if default is not None:
                return default
            raise CraftError(f"{self.where}: <{element.tag}> lacks {field}; add the attribute")
        words = text.split()
        value = _finite(text)
        if value is None and len(words) > 1 and not self.strict:
            value = _finite(words[0])
            if value is not None:
                warnings.warn(f"{self.where}: {element.tag} {field}='{text}' is read as {value:g}", stacklevel=6)
        if value is None:
            raise CraftError(f"{self.where}: <{element.tag}> has {field}='{text}', not a number; correct the file")
        return value

    def place(self, element: ElementTree.Element) -> tuple[float, float, float, float]:
        """Return x, y, z, yaw of an element in the world frame (yaw 0 where it has none)."""
        x, y, yaw = pose_from_carla(
            self.number(element, "x"), self.number(element, "y"), self.number(element, "yaw", 0.0)
        )
        return x, y, self.number(element, "z", 0.0), yaw

    def scenario(self, element: ElementTree.Element) -> ScenarioElement:
        kind = element.get("type")
        if not kind:
            raise CraftError(f"{self.where} has a scenario without a type; add the attribute type")
        name = element.get("name") or kind
        trigger = element.find("trigger_point")
        if trigger is None:
            raise CraftError(f"{self.where}: scenario '{name}' has no <trigger_point>; add one with x, y, z and yaw")
        parameters: dict[str, Any] = {}
        for child in element:
            if child is not trigger:
                parameters[child.tag] = self.parameter(child)
        return ScenarioElement(name, kind, self.place(trigger), parameters)

    def parameter(self, element: ElementTree.Element) -> Any:
        if "x" in element.attrib and "y" in element.attrib:
            x, y, z, yaw = self.place(element)
            place = {"x": x, "y": y, "z": z}
            return place | {"yaw": yaw} if "yaw" in element.attrib else place
        if "value" in element.attrib:
            return _typed(element.attrib["value"])
        return {field: _typed(text) for field, text in element.attrib.items()}

    def weather(self) -> dict[str, float]:
        """Return the weather at the start: of several, the one of the smallest route percentage."""
        elements = self.element.findall("weathers/weather") or self.element.findall("weather")
        if not elements:
            return {}
        first = min(elements, key=lambda element: self.number(element, "route_percentage", 0.0))
        return {field: self.number(first, field) for field in first.attrib if field not in ("route_percentage", "id")}


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _typed(text: str) -> float | str:
    value = _finite(text)
    return text if value is None else value


def write_elements(path: str | Path, routes: "Iterable[RouteConfig]") -> None:
    """Write routes; see ``routes.write_routes``."""
    root = ElementTree.Element("routes")
    for route in routes:
        element = ElementTree.SubElement(root, "route", {"id": str(route.id), "town": route.town})
        if route.weather:
            weathers = ElementTree.SubElement(element, "weathers")
            fields = {name: _text(value) for name, value in route.weather.items()}
            for percentage in ("0", "100"):
                ElementTree.SubElement(weathers, "weather", {"route_percentage": percentage, **fields})
        waypoints = ElementTree.SubElement(element, "waypoints")
        for x, y, z in np.asarray(route.waypoints, np.float64).tolist():
            ElementTree.SubElement(waypoints, "position", _place({"x": x, "y": y, "z": z}))
        scenarios = ElementTree.SubElement(element, "scenarios")
        for scenario in route.scenarios:
            node = ElementTree.SubElement(scenarios, "scenario", {"name": scenario.name, "type": scenario.type})
            ElementTree.SubElement(
                node, "trigger_point", _place(dict(zip(("x", "y", "z", "yaw"), scenario.trigger_point, strict=True)))
            )
            for name, value in scenario.parameters.items():
                ElementTree.SubElement(node, name, _attributes(value))
    ElementTree.indent(root, space="   ")
    with atomic_path(Path(path)) as scratch:
        scratch.write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def _place(place: dict[str, float]) -> dict[str, str]:
    """Return a world-frame place as attributes in CARLA's frame."""
    x, y, yaw = pose_to_carla(place["x"], place["y"], place.get("yaw", 0.0))
    attributes = {"x": _text(x), "y": _text(y), "z": _text(place.get("z", 0.0))}
    return attributes | {"yaw": _text(yaw)} if "yaw" in place else attributes


def _attributes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {"value": _text(value)}
    if "x" in value and "y" in value:
        return _place(value)
    return {field: _text(part) for field, part in value.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = f"{float(value):.2f}"
    text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
