"""The plain ``import carla`` script drives around the block."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "notebooks" / "drive_around_the_block.py"


@pytest.mark.timeout(120)
def test_plain_script_drives_around_the_block(server):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(server.port)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "back home" in done.stdout
    driven = float(re.search(r"driven: (\d+) m", done.stdout).group(1))
    assert driven > 150.0
    off = float(re.search(r"more than ([\d.]+) m off", done.stdout).group(1))
    assert off < 1.75


def test_plain_script_imports_carla_and_the_standard_library_alone():
    imports = re.findall(r"^(?:import|from) (\w+)", SCRIPT.read_text(), re.MULTILINE)
    assert set(imports) == {"carla", "math", "sys"}
