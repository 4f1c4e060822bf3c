"""How fast the machine is at plain Python, alone on a core and with all cores busy, so that runs elsewhere compare.

Clouds rent cores that differ by half, and two "cores" that are the two threads of one slow each other down.
"""

import os
import statistics
import subprocess
import sys

_LOOP = """
import time

def squares(steps):
    total = 0
    for number in range(steps):
        total += number * number

begin = time.perf_counter()
squares(10_000_000)
print(10.0 / (time.perf_counter() - begin))
"""


def loops(processes: int) -> float:
    """Return the median rate, in million loop steps a second, of so many processes that run at once."""
    running = [subprocess.Popen([sys.executable, "-c", _LOOP], stdout=subprocess.PIPE) for _ in range(processes)]
    return statistics.median(float(process.communicate()[0]) for process in running)


def yardstick() -> str:
    """Return both rates in words, medians of five."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    alone, together = (statistics.median(loops(count) for _ in range(5)) for count in (1, cores))
    return f"plain Python {alone:.0f} million steps/s on one core, {together:.0f} a core with all {cores} busy"
