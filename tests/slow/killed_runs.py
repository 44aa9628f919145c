"""Kill builds of the smoke book at random moments, run them again, compare: `make torture`.

    python tests/slow/killed_runs.py FOLDER [--kills 30] [--seed 0]

A build is killed with SIGKILL, by turns its whole process group and the parent alone, and the same
command is run again, and killed again, until one comes to its end before its kill; then the next
begins from nothing. After every kill nothing may run on and every marker's files must be whole; at
every end all values must equal those of an undisturbed build.
"""

import argparse
import os
import random
import signal
import subprocess
from pathlib import Path

import builds

LONGEST = 60.0  # seconds after its start in which a build is killed


def main(folder, kills, seed):
    moments = random.Random(seed)
    undisturbed = folder / "undisturbed"
    code, said = builds.build(undisturbed)
    builds.expect(code == 0, f"undisturbed build, {len(builds.values(undisturbed))} values\n"
                  + (said if code else ""))
    expected = builds.values(undisturbed)
    killed = ends = 0
    while killed < kills:
        artifacts = folder / f"killed-{ends}"
        while True:
            process = builds.start(artifacts, artifacts.with_suffix(".log"))
            moment = moments.uniform(1, LONGEST) if killed < kills else None
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                whole = killed % 2 == 0
                if whole:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                killed += 1
                left = builds.orphans(artifacts)  # while the killed process is still a zombie
                process.wait()
                faults = builds.broken(artifacts)
                builds.expect(not left and not faults, f"kill {killed}, "
                              f"{'group' if whole else 'parent'}, after {moment:.1f} s: "
                              f"{len(builds.markers(artifacts))} units whole {left} {faults}")
                continue
            break
        builds.expect(process.returncode == 0, f"build {ends} came to its end")
        builds.expect(builds.values(artifacts) == expected,
                      f"its {len(expected)} values equal the undisturbed build's")
        half_made = list(artifacts.glob("*/.making-*"))
        builds.expect(not half_made, f"nothing half-made is left {half_made}")
        ends += 1
    print(f"{killed} kills over {ends} builds: all completed, all values equal")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    main(options.folder.resolve(), options.kills, options.seed)
