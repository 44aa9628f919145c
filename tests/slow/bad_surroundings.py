"""Build the smoke book where things are wrong: `make torture`. Needs root, to mount small disks.

    python tests/slow/bad_surroundings.py FOLDER
"""

import argparse
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import builds

KINDS = {
    "a model's weights": "models/*/*.safetensors",
    "activations": "smoke/activations/*.safetensors",
    "a call's activations": "calls/activations-*/*.safetensors",
    "an SAE's weights": "smoke/saes/*/*.safetensors",
    "a call's SAE": "calls/train_saes-*/*/*.safetensors",
    "an SAE's configuration": "calls/train_saes-*/*/cfg.json",
    "a sweep": "calls/sweep-*/result.csv",
    "answers": "calls/ask-*/questions.csv",
    "a section's table": "smoke/figures/s17_*.csv",
    "a notebook's table": "smoke/figures/s28_*.csv",
    "results": "smoke/results/*.json",
    "a notebook": "smoke/notebooks/*.ipynb",
    "a page": "smoke/html/book/index.html",
    "a marker": "smoke/.done/notebook-s29-*",
}


EDITED_AFTER = 20.0  # seconds: the order of work is known by then, and little of it done


@contextmanager
def small_disk(folder, size):
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def main(folder):
    whole = folder / "whole"
    code, said = builds.build(whole)
    builds.expect(code == 0, "undisturbed build" + ("\n" + said if code else ""))
    expected = builds.values(whole)
    two_at_once(folder / "two", expected)
    full_disk(folder / "full", expected)
    read_only(folder / "read-only")
    corrupted(whole, expected)
    clock(whole)
    forgotten(whole)
    edited(folder, expected)


def two_at_once(artifacts, expected):
    logs = [artifacts.with_suffix(f".{which}.log") for which in (1, 2)]
    both = [builds.start(artifacts, log) for log in logs]
    builds.expect([process.wait() for process in both] == [0, 0], "two builds at once end")
    builds.expect(any("another build of smoke is running" in log.read_text() for log in logs),
                  "one of them says that it waits")
    builds.expect(builds.values(artifacts) == expected, "with the same values")


def full_disk(folder, expected):
    with small_disk(folder, "12m"):
        code, said = builds.build(folder)
        builds.expect(code == 1 and "No space left on device" in said
                      and "run the same command again" in said,
                      "a full disk stops the build and says so" + ("" if code else said))
        builds.expect(builds.broken(folder) == [], "what it finished is whole")
        remount(folder, "size=2g")
        code, said = builds.build(folder)
        builds.expect(code == 0, "with room the same command ends" + (said if code else ""))
        builds.expect(builds.values(folder) == expected, "with the same values")


def read_only(folder):
    with small_disk(folder, "10m"):
        remount(folder, "ro")
        code, said = builds.build(folder)
        builds.expect(code == 1 and "Read-only file system" in said and "Traceback" not in said,
                      f"a read-only folder: {said.strip().splitlines()[-1]}")


def corrupted(artifacts, expected):
    """One file of each kind, damaged in its middle."""
    for kind, pattern in KINDS.items():
        path = sorted(path for path in artifacts.glob(pattern) if path.is_file())[0]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        print(f"damaged {kind}: {path.relative_to(artifacts)}")
    code, said = builds.build(artifacts)
    builds.expect(code == 0, "damaged artifacts are made again" + (said if code else ""))
    builds.expect(builds.values(artifacts) == expected, "with the same values")
    builds.expect(builds.broken(artifacts) == [], "and all files are as their markers say")


def clock(artifacts):
    """Markers from tomorrow, as after a clock was set back."""
    for path in builds.markers(artifacts):
        os.utime(path, (time.time() + 86400,) * 2)
    before = builds.markers(artifacts)
    code, _ = builds.build(artifacts)
    builds.expect(code == 0 and builds.markers(artifacts) == before,
                  "files from the future: nothing is made again")


def forgotten(artifacts):
    shutil.rmtree(artifacts / "smoke" / ".snakemake")
    before = builds.markers(artifacts)
    code, _ = builds.build(artifacts)
    builds.expect(code == 0 and builds.markers(artifacts) == before,
                  "without .snakemake: nothing is made again")


def edited(folder, expected):
    """The source is changed while a build runs."""
    checkout, artifacts = folder / "checkout", folder / "edited"
    root = Path(__file__).parents[2]
    shutil.copytree(root, checkout, ignore=shutil.ignore_patterns(".git", ".venv*", "artifacts"))
    profiles = checkout / "src/deception_saes/paper/profiles.py"
    process = builds.start(artifacts, folder / "edited.log", checkout)
    time.sleep(EDITED_AFTER)
    text = profiles.read_text()
    builds.expect(text.count("permutations=99,") == 1 and process.poll() is None,
                  "the source is edited under a build that runs")
    profiles.write_text(text.replace("permutations=99,", "permutations=89,"))
    code = process.wait()
    said = (folder / "edited.log").read_text()
    builds.expect(code == 1 and "have changed since" in said and "Traceback" not in said,
                  "which stops and says so" + ("" if code == 1 else said))
    code, said = builds.build(artifacts, checkout)
    builds.expect(code == 0, "the same command ends" + (said if code else ""))
    found = builds.values(artifacts)
    code, said = builds.build(folder / "afresh", checkout)
    builds.expect(code == 0 and found == builds.values(folder / "afresh") and found != expected,
                  "with the values of a build from nothing of the edited source")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder.resolve())
