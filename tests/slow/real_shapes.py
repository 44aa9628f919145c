"""Run every section on random weights in the sizes of the study's models: `make shapes`.

    python tests/slow/real_shapes.py FOLDER

Prints each section's seconds and the peak memory of the largest process, and fails where a section
did not run or the memory exceeds what DESIGN allows.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.record import profile_tree, results_name
from deception_saes.paper.results import read_results

MOST = 20 * 2**30  # bytes


def main(folder):
    started = time.monotonic()
    code = subprocess.run(
        [sys.executable, "-m", "deception_saes", "book", "--profile", "shapes"],
        env={**os.environ, "DECEPTION_SAES_ARTIFACTS": str(folder)}, check=False).returncode
    # of all processes that the build has started and waited for, in KiB
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 2**10
    if code:
        sys.exit(f"the build ended with exit code {code}")
    profile = profile_named("shapes")
    tree = profile_tree(profile, profile.seed, folder)
    runs = [read_results(tree / results_name(section)) for section in SECTIONS.values()]
    for run in runs:
        print(f"§{run.section}: {run.status}, {len(run.values)} values, {run.seconds:.0f} s")
    print(f"whole build {time.monotonic() - started:.0f} s, largest process "
          f"{peak / 2**30:.1f} GiB")
    if peak > MOST or any(run.status != "done" for run in runs):
        sys.exit(f"expected every section done and at most {MOST / 2**30:.0f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder.resolve())
