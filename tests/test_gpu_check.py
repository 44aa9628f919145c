"""The table of a GPU, tried on the CPU."""

import subprocess
import sys


def test_engines_are_compared_on_models_of_every_family(root, artifacts):
    ran = subprocess.run(
        [sys.executable, root / "benchmarks" / "gpu_check.py", "--device", "cpu", "--tiny",
         "--parts", "a"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split() for line in ran.stdout.splitlines() if " at most " in line]
    assert len(rows) == 3 * 4  # families, engines
    for row in rows:
        unit = row.index("at")
        assert 0 <= float(row[unit - 1]) <= float(row[unit + 2]), row
