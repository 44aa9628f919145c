"""Builds of the smoke book that are disturbed, and what must hold of them afterwards."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.reference import is_timing
from deception_saes.paper.results import read_results
from deception_saes.store.files import sha256_file

SETTLED = 20.0  # seconds in which whatever a killed build started must have ended


def start(artifacts, log, checkout=None, **variables):
    """A build in a process group of its own, which prints into the file `log`: the end of a pipe
    would be known only when all that write to it have ended. checkout: a copy of the project to
    build from, in place of the installed one. variables: of its environment."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "deception_saes", "book", "--profile", "smoke"],
            env={**os.environ, "DECEPTION_SAES_ARTIFACTS": str(artifacts),
                 **({"PYTHONPATH": str(checkout / "src")} if checkout else {}), **variables},
            cwd=checkout, start_new_session=True, stdout=file, stderr=subprocess.STDOUT)


def build(artifacts, checkout=None, **variables):
    """Exit code and everything that a build printed."""
    log = artifacts.with_suffix(".log")
    code = start(artifacts, log, checkout, **variables).wait()
    return code, log.read_text()


def broken(artifacts):
    """What a reader takes for made and is not: files that are not as their marker says."""
    found = []
    for marker in artifacts.glob("*/.done/*-*"):
        if marker.name.startswith("."):
            continue
        for name, digest in json.loads(marker.read_text())["files"].items():
            path = marker.parents[1] / name
            if not path.is_file() or sha256_file(path) != digest:
                found.append(f"{marker.name}: {name}")
    return found


def running(artifacts):
    """Processes that were given this folder of artifacts, ended ones left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if f"DECEPTION_SAES_ARTIFACTS={artifacts}\0".encode() in environment and state != "Z":
            found.append(int(process.name))
    return found


def orphans(artifacts):
    """Processes that still run when all should have ended."""
    until = time.monotonic() + SETTLED
    while running(artifacts) and time.monotonic() < until:
        time.sleep(0.2)
    return running(artifacts)


def values(artifacts):
    """Every value of every section that is not of seconds."""
    tree = artifacts / "smoke"
    return {value.id: (value.value, value.ci_low, value.ci_high, value.n)
            for section in SECTIONS.values()
            for value in read_results(tree / "results" / f"{section.key}.json").values
            if not is_timing(value)}


def markers(artifacts):
    """What is another when a unit or a call was made again. The time of a call's marker says when
    it was used last; what writes it anew puts another file there."""
    return {path: path.stat().st_ino if path.parts[-3] == "calls" else path.stat().st_mtime_ns
            for path in artifacts.glob("*/.done/*-*") if not path.name.startswith(".")}


def expect(holds, what):
    """Print and go on, or stop with exit code 1."""
    print(f"{'ok' if holds else 'FAULT'}: {what}", flush=True)
    if not holds:
        sys.exit(1)
