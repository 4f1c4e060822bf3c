"""All figures of one result file: over the suite, where a missing route counts 0, and over the routes evaluated."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.abilities import (
    ABILITIES,
    SIGNS,
    SignPass,
    abilities_of,
    ability_scores,
    as_json,
)
from craft_lightning.metrics.comfort import smoothness
from craft_lightning.metrics.documents import ResultDocument, consistency, shortened
from craft_lightning.metrics.leaderboard import natural_key, route_key
from craft_lightning.metrics.messages import COUNT_LISTS, LISTS
from craft_lightning.metrics.motion import Motion
from craft_lightning.metrics.protocols import OWN_LIMITS, Rules, protocol_rules
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import EMBEDDED_NOTE
from craft_lightning.metrics.scores import driving_score, score_variant
from craft_lightning.metrics.signs import judge_signs

if TYPE_CHECKING:
    from craft_lightning.roads.routes import RouteConfig

# Percentages above this are dropped by Bench2Drive's efficiency (the surrounding traffic hardly moved).
EFFICIENCY_TOP = 1000.0
# Bench2Drive's own suite has so many routes of each of its 44 types.
ROUTES_A_TYPE = 5


def driving_efficiency(record: RouteRecord) -> float | None:
    """Return the mean of a route's min-speed percentages without those above 1000, None where none is left."""
    values = [value for value in record.min_speed if value <= EFFICIENCY_TOP]
    return math.fsum(values) / len(values) if values else None


def kilometres(record: RouteRecord) -> float:
    """Return the driven kilometres as leaderboards count them, length times route completion."""
    return record.length_m / 1000.0 * record.route_completion / 100.0


def infractions_per_km(records: Sequence[RouteRecord]) -> dict[str, float]:
    """Return the leaderboard's infractions a kilometre, by the names of its lists.

    Events are divided by the kilometres driven (at least a metre); ``outside_route_lanes`` is the kilometres driven
    outside, which the leaderboard does not divide.
    """
    driven = max(math.fsum(kilometres(record) for record in records), 0.001)
    totals = {}
    for field, name in LISTS.items():
        if field in COUNT_LISTS:
            totals[name] = sum(getattr(record, field) for record in records) / driven
        elif field == "min_speed":
            totals[name] = sum(len(record.min_speed) for record in records) / driven
        else:
            totals[name] = math.fsum(outside_metres(record) for record in records) / 1000.0
    return totals


def outside_metres(record: RouteRecord) -> float:
    """Return the metres driven outside the route's lanes, from the percentage where only that is known."""
    return record.outside_m or record.outside_percent / 100.0 * 1000.0 * kilometres(record)


@dataclasses.dataclass(frozen=True)
class _Suite:
    """What a file's routes are measured against."""

    size: int
    missing: list[str] | None
    notes: list[str]


def summarise(
    document: ResultDocument,
    rules: Rules | None = None,
    routes: "Sequence[RouteConfig]" = (),
    maps: str | Path | None = None,
    motions: Sequence[Motion | None] | None = None,
) -> dict[str, Any]:
    """Return all figures of a result file as plain values.

    Driving score and infraction score are the file's own numbers where they follow the protocol's formula (percentages
    hidden in sentences are rounded, the file's scores are not), else they are computed from the counts.

    Args:
        document: the file.
        rules: protocol to score under; None = the one it was driven under.
        routes: routes of the suite; others are left out. Empty = the protocol's suite.
        maps: folder of OpenDRIVE files, for signs of routes that ended on the way.
        motions: each route's motion, None where there is none, in the order of ``document.routes``.

    Returns:
        See ``docs/results.md``; ``success_rate`` and scores in percent, abilities and smoothness in [0, 1].

    Raises:
        CraftError: no route, or none of the suite's.

    """
    asked = rules
    rules = rules or protocol_rules(document.protocol)
    document, motions, notes = _of_suite(document, routes, motions)
    if asked is not None and asked.name != document.judged_by:
        notes.append(f"driven under {document.judged_by} and scored by the formulas of {asked.name}")
    elif document.judged_by == OWN_LIMITS:
        notes.append(f"judged by limits of its own and scored by the formulas of {rules.name}: no result under it")
    if document.stamp is not None and document.stamp.changed:
        notes.append(f"driven with {document.stamp.changed}")
    suite = _suite(document, rules, routes)
    notes += suite.notes
    records = document.records
    scores, infractions = _scores(document, rules, asked is not None, notes)
    successes = [100.0 * record.success for record in records]
    completions = [record.route_completion for record in records]

    def means(count: int) -> dict[str, float]:
        columns = (scores, successes, completions, infractions)
        names = ("driving_score", "success_rate", "route_completion", "infraction_score")
        return {name: math.fsum(values) / count for name, values in zip(names, columns, strict=True)}

    efficiencies = [value for value in map(driving_efficiency, records) if value is not None]
    stamp = document.stamp
    return {
        "file": document.path,
        "protocol": rules.name if asked is not None else document.judged_by,
        "world": stamp.world if stamp else None,
        "suite": stamp.suite if stamp else None,
        "tick_seconds": stamp.tick_seconds if stamp else None,
        "decision_seconds": round(stamp.tick_seconds * stamp.ticks_per_decision, 9) if stamp else None,
        "trained_on_evaluation": stamp.trained_on_evaluation if stamp else None,
        "stamp": EMBEDDED_NOTE if stamp and stamp.world == "embedded" else None,
        "routes_suite": suite.size,
        "routes_evaluated": len(records),
        "routes_missing": suite.size - len(records),
        "missing": suite.missing,
        "duplicates": list(document.duplicates),
        **means(suite.size),
        "driving_efficiency": math.fsum(efficiencies) / len(efficiencies) if efficiencies else None,
        "driving_smoothness": _smoothness(motions, document, notes),
        **_abilities(document, rules, routes, maps, notes),
        "over_evaluated": means(len(records)),
        "infractions_per_km": infractions_per_km(records),
        "km_driven": math.fsum(map(kilometres, records)),
        "notes": [*document.notes, *notes],
    }


def _of_suite(
    document: ResultDocument, routes: "Sequence[RouteConfig]", motions: Sequence[Motion | None] | None
) -> tuple[ResultDocument, Sequence[Motion | None] | None, list[str]]:
    """Leave out routes that are not in the suite's route file."""
    if not document.routes:
        raise CraftError(f"{document.path} has no judged route (field _checkpoint.records is empty); drive some first")
    if not routes:
        return document, motions, []
    known = {route.id.replace("_", "-") for route in routes}
    keep = [route_key(item.record.route_id)[0].replace("_", "-") in known for item in document.routes]
    strangers = [item.record.route_id for item, kept in zip(document.routes, keep, strict=True) if not kept]
    if len(strangers) == len(document.routes):
        raise CraftError(f"none of the routes of {document.path} is in the file that --routes names; give its own one")
    if not strangers:
        return document, motions, []
    inside = [item for item, kept in zip(document.routes, keep, strict=True) if kept]
    if motions is not None:
        motions = [motion for motion, kept in zip(motions, keep, strict=True) if kept]
    note = f"{len(strangers)} routes are not in the route file and left out: {shortened(strangers)}"
    return dataclasses.replace(document, routes=inside), motions, [note]


def _suite(document: ResultDocument, rules: Rules, routes: "Sequence[RouteConfig]") -> _Suite:
    """Say how many routes there should be, and which are missing."""
    keys = {route_key(record.route_id) for record in document.records}
    repetitions = sorted({repetition for _, repetition in keys})
    notes = []
    if len(repetitions) > 1:
        notes.append(f"{len(repetitions)} repetitions of each route")
    if routes:
        ids = [route.id for route in routes]
        done = {(name.replace("_", "-"), repetition) for name, repetition in keys}
        missing = [
            name if len(repetitions) == 1 else f"{name}_rep{repetition}"
            for name in sorted(ids, key=natural_key)
            for repetition in repetitions
            if (name.replace("_", "-"), repetition) not in done
        ]
        size = len(ids) * len(repetitions)
        if missing:
            notes.append(f"{len(missing)} of {size} routes are missing and count 0: {shortened(missing, 20)}")
        return _Suite(size, missing, notes)
    if document.stamp is not None:
        size = document.stamp.num_routes * len(repetitions)
    elif rules.suite_size is not None:
        size = rules.suite_size * len(repetitions)
    else:
        size = document.planned or 0
    if size < len(keys):
        if size:
            notes.append(f"more routes ({len(keys)}) than the suite's {size}; all of them are counted")
        size = len(keys)
    if size > len(keys):
        short = _short_types(document, size)
        where = f" ({shortened(short, 20)})" if short else ""
        notes.append(f"{size - len(keys)} of {size} routes are missing and count 0{where}; --routes names them by id")
    return _Suite(size, [] if size == len(keys) else None, notes)


def _short_types(document: ResultDocument, size: int) -> list[str]:
    """Return the scenario types of which Bench2Drive's 220 have more routes than the file."""
    types = set().union(*ABILITIES.values())
    if document.stamp is not None or size != ROUTES_A_TYPE * len(types):
        return []
    counts = dict.fromkeys(sorted(types), 0)
    for record in document.records:
        if record.scenario not in counts:
            return []
        counts[record.scenario] += 1
    if max(counts.values()) > ROUTES_A_TYPE or size - len(document.routes) > size // 4:
        return []
    return [f"{ROUTES_A_TYPE - count} {name}" for name, count in counts.items() if count < ROUTES_A_TYPE]


def _scores(document: ResultDocument, rules: Rules, asked: bool, notes: list[str]) -> tuple[list[float], list[float]]:
    """Return each route's driving score and infraction score."""
    variant = score_variant(rules.variant)
    wrong, largest = consistency(document.routes, rules.variant)
    computed = [item.record.variant_score(variant) for item in document.routes]
    composed = [
        driving_score(item.record.route_completion, factor)
        for item, factor in zip(document.routes, computed, strict=True)
    ]
    if wrong and asked:
        notes.append(
            f"{wrong} routes' own scores follow another formula (by up to {largest:.2f}); "
            f"all are computed from their counts by {rules.name}"
        )
        return composed, computed
    if wrong:
        other = math.fsum(composed) / len(composed)
        notes.append(
            f"{wrong} routes' own scores differ from the formula of {rules.name} by up to {largest:.2f}; the file's "
            f"own are reported, over the routes evaluated the formula gives {other:.4f}"
        )
    scores = [
        value if item.composed is None else item.composed for item, value in zip(document.routes, composed, strict=True)
    ]
    factors = [_own_factor(item.row, value) for item, value in zip(document.routes, computed, strict=True)]
    return scores, factors


def _own_factor(row: Mapping[str, Any], computed: float) -> float:
    value = row.get("scores", {}).get("score_penalty")
    return float(value) if isinstance(value, int | float) else computed


def _smoothness(
    motions: Sequence[Motion | None] | None, document: ResultDocument, notes: list[str]
) -> dict[str, Any] | None:
    """Return strict and repaired smoothness over the routes that have a motion."""
    if motions is None:
        return None
    usable = [motion for motion in motions if motion is not None and len(motion) > 2]
    lacking = len(motions) - len(usable)
    if lacking:
        notes.append(f"driving smoothness: {lacking} routes have no metric_info.json with three steps and are left out")
    if not usable:
        return None
    delta = document.stamp.tick_seconds if document.stamp else 0.05
    values = {
        "strict": [smoothness(motion, strict=True) for motion in usable],
        "repaired": [smoothness(motion, strict=False, delta=delta) for motion in usable],
    }
    return {**{name: math.fsum(column) / len(column) for name, column in values.items()}, "routes": len(usable)}


def _abilities(
    document: ResultDocument, rules: Rules, routes: "Sequence[RouteConfig]", maps: str | Path | None, notes: list[str]
) -> dict[str, Any]:
    """Return the abilities, the formula, and what is sure about Traffic_Signs."""
    formula = rules.ability or "0.0.3"
    types = {route.id.replace("_", "-"): route.scenarios[0].type for route in routes if route.scenarios}
    records = [
        dataclasses.replace(
            record, scenario=types.get(route_key(record.route_id)[0].replace("_", "-"), record.scenario)
        )
        for record in document.records
    ]
    asked = [abilities_of(record.scenario) for record in records]
    if not any(asked):
        return {"abilities": None, "ability_formula": None, "traffic_signs": None}
    unknown = [record.route_id for record, abilities in zip(records, asked, strict=True) if not abilities]
    if unknown:
        notes.append(
            f"{len(unknown)} routes have no scenario type of Bench2Drive and count for no ability: {shortened(unknown)}"
        )
    report = judge_signs(records, routes, maps)

    def with_signs(judge: Callable[[SignPass], bool]) -> dict[str, float]:
        rows = [
            (abilities, record.success, judge(answer))
            for abilities, record, answer in zip(asked, records, report.passed, strict=True)
        ]
        return ability_scores(rows, formula)

    scores = with_signs(lambda answer: answer.passed)
    low = with_signs(lambda answer: answer.passed and answer.certain)[SIGNS]
    high = with_signs(lambda answer: answer.passed or not answer.certain)[SIGNS]
    if report.estimated:
        towns = f"; no map of {', '.join(report.missing_maps)}" if report.missing_maps else ""
        help_ = "" if maps else " (--routes XML and --maps DIR look it up)"
        notes.append(
            f"{SIGNS}: of {len(report.estimated)} routes that ended on the way it is estimated whether they had passed "
            f"their junction{help_}: {shortened(list(report.estimated))}{towns}; the ability lies in "
            f"[{low:.4f}, {high:.4f}]"
        )
    return {
        "abilities": as_json(scores),
        "ability_formula": formula,
        "traffic_signs": {
            "estimated": list(report.estimated),
            "missing_maps": list(report.missing_maps),
            "range": [None if math.isnan(value) else value for value in (low, high)],
        },
    }
