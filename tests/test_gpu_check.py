"""The table of a GPU, tried on the CPU."""

import subprocess
import sys

from deception_saes.saes.registry import ARCHITECTURES


def rows_of(root, part):
    ran = subprocess.run(
        [sys.executable, root / "benchmarks" / "gpu_check.py", "--device", "cpu", "--tiny",
         "--parts", part], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_engines_are_compared_on_models_of_every_family(root, artifacts):
    rows = [line.split() for line in rows_of(root, "a") if " at most " in line]
    assert len(rows) == 3 * 4  # families, engines
    for row in rows:
        unit = row.index("at")
        assert 0 <= float(row[unit - 1]) <= float(row[unit + 2]), row


def test_every_architecture_is_trained_beside_its_bare_products(root, artifacts):
    lines = rows_of(root, "c")
    for name in ARCHITECTURES:
        ratio, = (line for line in lines if line.startswith(f"ratio ours / products, {name}")
                  and "float32" in line)
        assert float(ratio.rpartition(" ")[2]) > 0
        assert any(name in line and "bfloat16" in line and "for a GPU" in line for line in lines)
