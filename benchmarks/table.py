"""One row of the benchmark table, and the table."""

import dataclasses
from collections.abc import Sequence

from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured number beside its reference, both from the same run.

    Args:
        name: what was measured.
        value: the median.
        unit: its unit; more is better, but for times.
        reference: what it is compared with.
        ratio: value over the reference's value.

    """

    name: str
    value: float
    unit: str
    reference: str
    ratio: float


def table(rows: Sequence[Row], caption: str) -> Table:
    """Return the rows as a table that names the machine in its caption."""
    result = Table(caption=caption, caption_justify="left")
    for title in ("measured", "median", "unit", "compared with", "ratio"):
        number = title in ("median", "ratio")
        result.add_column(title, justify="right" if number else "left", no_wrap=number)
    for row in rows:
        digits = 0 if abs(row.value) >= 100 else 1 if abs(row.value) >= 1 else 3
        result.add_row(row.name, f"{row.value:,.{digits}f}", row.unit, row.reference, f"{row.ratio:.2f}x")
    return result
