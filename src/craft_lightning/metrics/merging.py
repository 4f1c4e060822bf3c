"""Merges result files into one, each route once, and writes what Bench2Drive's tools read."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import (
    ResultDocument,
    Route,
    fitting_protocol,
    load_json,
    read_document,
    shortened,
)
from craft_lightning.metrics.leaderboard import OWN, natural_key, route_key
from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.metrics.results import FORMAT, write_json

MERGED = "merged.json"
_OLDEST = "leaderboard-1.0"  # whose files have other lists than all the others'


def shard_files(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Return the result files of a folder and the JSON files that are none.

    Merged files and what was computed from them (names with "merged" or ending in "_ability.json") are neither.

    Raises:
        CraftError: no such folder, a file that is no JSON, or a folder without results.

    """
    root = Path(folder)
    if not root.is_dir():
        raise CraftError(f"{folder} is no folder; give the one with the shards' .json files")
    results: list[Path] = []
    others: list[Path] = []
    for path in _shards(root):
        document = load_json(path)
        isresult = isinstance(document, dict) and ("_checkpoint" in document or document.get("format") == FORMAT)
        (results if isresult else others).append(path)
    if not results:
        raise CraftError(f"folder {folder} has no result file (*.json with the field _checkpoint.records)")
    return results, others


def _shards(root: Path) -> list[Path]:
    found = sorted(root.glob("*.json"), key=lambda item: item.name)
    return [path for path in found if "merged" not in path.name and not path.name.endswith("_ability.json")]


def merge_documents(documents: Sequence[ResultDocument], path: str = MERGED) -> ResultDocument:
    """Return one document with every route once, whatever the order of the files.

    Of a route in several files the record with most attempts counts, then the one in the file whose name sorts last.

    Args:
        documents: the files' contents.
        path: name of the result.

    Raises:
        CraftError: nothing to merge, or files of different worlds or protocols.

    """
    if not documents:
        raise CraftError("there is nothing to merge")
    ordered = sorted(documents, key=lambda document: (Path(document.path).name, document.path))
    first = ordered[0]
    for other in ordered[1:]:
        if other.stamp != first.stamp:
            raise CraftError(_difference(first, other))
        if first.routes and other.routes and (first.protocol == _OLDEST) != (other.protocol == _OLDEST):
            raise CraftError(
                f"{first.path} is of {first.protocol} and {other.path} of {other.protocol}; merge files of one protocol"
            )
    best: dict[tuple[str, int], Route] = {}
    source: dict[tuple[str, int], str] = {}  # of the record that counts
    differing: dict[tuple[str, int], str] = {}  # routes whose records differ
    duplicates: dict[str, None] = dict.fromkeys(name for document in ordered for name in document.duplicates)
    for document in ordered:
        for route in document.routes:
            key = route_key(route.record.route_id)
            known = best.get(key)
            if known is not None:
                duplicates[route.record.route_id] = None
                if known.record.driving_score != route.record.driving_score:
                    differing[key] = route.record.route_id
            if known is None or route.record.attempts >= known.record.attempts:
                best[key], source[key] = route, Path(document.path).name
    routes = sorted(best.values(), key=lambda route: natural_key(route.record.route_id))
    if first.stamp is None:
        routes = [
            dataclasses.replace(route, record=dataclasses.replace(route.record, index=index))
            for index, route in enumerate(routes)
        ]
    planned = [document.planned for document in ordered if document.planned is not None]
    notes = [f"{Path(document.path).name}: {note}" for document in ordered for note in document.notes]
    if duplicates:
        names = sorted(duplicates, key=natural_key)
        notes.append(f"{len(names)} routes are in the files more than once and count once: {shortened(names)}")
    if differing:
        kept = [
            f"{differing[key]} (of {source[key]})" for key in sorted(differing, key=lambda key: natural_key(key[0]))
        ]
        notes.append(f"{len(kept)} of them score differently in the files; these count: {shortened(kept)}")
    total = None
    if len(planned) == len(ordered):
        # Our own files each plan the whole suite.
        total = max(planned) if first.stamp else max(sum(planned) - len(duplicates), len(routes))
    return ResultDocument(
        path=path,
        routes=routes,
        protocol=first.protocol
        if first.stamp is not None
        else fitting_protocol(routes, merged=any(item.protocol == "bench2drive" for item in ordered)),
        stamp=first.stamp,
        planned=total,
        duplicates=tuple(sorted(duplicates, key=natural_key)),
        notes=tuple(notes),
    )


def merge_folder(folder: str | Path) -> ResultDocument:
    """Read and merge the result files of a folder.

    Raises:
        CraftError: a broken file, or files that do not belong together.

    """
    files, others = shard_files(folder)
    merged = merge_documents([read_document(path) for path in files], str(Path(folder) / MERGED))
    if others:
        note = f"left out, no result files: {shortened([path.name for path in others])}"
        merged = dataclasses.replace(merged, notes=(*merged.notes, note))
    return merged


def merged_json(document: ResultDocument) -> dict[str, Any]:
    """Return a merged document in the schema of Bench2Drive's ``merged.json``, routes by their ids descending."""
    size = document.stamp.num_routes if document.stamp else protocol_rules(document.protocol).suite_size
    size = max(size or document.planned or 0, len(document.routes), 1)
    rows = [{name: value for name, value in route.row.items() if name != "index"} for route in document.routes]
    composed = [float(route.row["scores"]["score_composed"]) for route in document.routes]
    merged = {
        "_checkpoint": {"records": sorted(rows, key=lambda row: str(row["route_id"]), reverse=True)},
        "driving score": math.fsum(composed) / size,
        "success rate": sum(route.record.success for route in document.routes) / size,
        "eval num": len(document.routes),
    }
    if document.stamp is not None:
        merged[OWN] = {"protocol": document.stamp.to_dict()}
    return merged


def require_target(path: Path, folder: Path) -> None:
    """Refuse to write the merged document of a folder over a file that it is made of, or over what is no result file.

    Raises:
        CraftError: ``path`` is such a file, or a folder.

    """
    if path.is_dir():
        raise CraftError(f"--output {path} is a folder; give a file")
    if not path.exists():
        return
    if any(path.samefile(file) for file in _shards(folder)):
        raise CraftError(f"--output {path} is one of the files to merge; give another name")
    try:
        read_document(path)
    except CraftError as error:
        raise CraftError(f"--output {path} exists and is no result file; give another name") from error


def write_merged(path: str | Path, document: ResultDocument) -> None:
    """Write a merged document in one step.

    Raises:
        CraftError: the file cannot be written.

    """
    try:
        write_json(path, merged_json(document))
    except OSError as error:
        raise CraftError(f"--output {path} cannot be written: {error.strerror}") from error


def _difference(first: ResultDocument, other: ResultDocument) -> str:
    """Say in what two files differ that should not be merged."""
    one, two = first.stamp, other.stamp
    if one is None or two is None:
        stamped, bare = (first, other) if two is None else (other, first)
        return f"{stamped.path} was driven by craft-lightning and {bare.path} was not; merge them apart"
    for field in dataclasses.fields(one):
        old, new = getattr(one, field.name), getattr(two, field.name)
        if old != new:
            return f"{first.path} was driven with {field.name}={old!r}, {other.path} with {new!r}; merge them apart"
    return f"{first.path} and {other.path} were driven under different protocols; merge them apart"
