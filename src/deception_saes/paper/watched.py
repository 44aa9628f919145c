"""Run a command that does not outlive who asked for it: `python -m deception_saes.paper.watched`.

A build that is killed with -9 cannot stop what it started. So Snakemake and all it starts stand in
a process group of their own, led by this process, which ends the group when the build is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 10.0


def run_watched(command: Sequence[str]) -> int:
    """Run the command to its end, or until this process or its own `make` is gone; its exit code.

    An interrupt ends the command and is raised again.
    """
    if sys.platform == "win32":  # without process groups, and a parent may be a launcher
        return subprocess.call(command)
    caller = os.getppid()
    by_make = "MAKELEVEL" in os.environ
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(os.getpid()), "--", *command],
        start_new_session=True)
    try:
        while True:
            try:
                return child.wait(_SECONDS_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                if by_make and os.getppid() != caller:
                    print("the make that started this is gone; stopping", file=sys.stderr)
                    _end_group(child.pid, signal.SIGKILL)
    except BaseException:
        # interrupted, so that on a cluster Snakemake takes its jobs back: after SIGTERM it would
        # wait for them. It may also hang
        _end_group(child.pid, signal.SIGINT)
        child.wait()
        until = time.monotonic() + _SECONDS_TO_END
        while _has_members(child.pid) and time.monotonic() < until:
            time.sleep(0.1)
        _end_group(child.pid, signal.SIGKILL)
        raise


def main(arguments: Sequence[str]) -> int:
    """Lead the group: run what stands behind `--` while this process has the parent named first.

    A dead process is known by its children having another parent: its number may still be found,
    as that of a zombie or of another process.
    """
    parent, end, *command = arguments
    if end != "--":
        raise ValueError(f"{end!r} stands where '--' is expected: PARENT -- COMMAND ...")
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait(_SECONDS_BETWEEN_LOOKS)
        except subprocess.TimeoutExpired:
            if os.getppid() != int(parent):
                print("the build that started this is gone; stopping", file=sys.stderr)
                _end_group(os.getpgrp(), signal.SIGKILL)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _end_group(group: int, how: signal.Signals) -> None:
    try:
        os.killpg(group, how)
    except ProcessLookupError:
        return  # ended by itself meanwhile


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
