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


def run_watched(command: Sequence[str]) -> int:
    """Run the command to its end, or until this process or its own `make` is gone; its exit code.

    An interrupt ends the command and is raised again.
    """
    watched = [os.getpid(), *([os.getppid()] if "MAKELEVEL" in os.environ else [])]
    child = subprocess.Popen([sys.executable, "-m", __name__, *map(str, watched), "--", *command],
                             start_new_session=True)
    try:
        return child.wait()
    except BaseException:
        _end_group(child.pid, signal.SIGTERM)
        child.wait()
        raise


def main(arguments: Sequence[str]) -> int:
    """Lead the group: run what stands behind `--` while all processes before it are there."""
    end = arguments.index("--")
    watched = [int(pid) for pid in arguments[:end]]
    child = subprocess.Popen(arguments[end + 1 :])
    while child.poll() is None:
        if not all(map(_is_there, watched)):
            print("the build that started this is gone; stopping", file=sys.stderr)
            _end_group(os.getpgrp(), signal.SIGKILL)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return child.returncode


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end_group(group: int, how: signal.Signals) -> None:
    try:
        os.killpg(group, how)
    except ProcessLookupError:
        return  # ended by itself meanwhile


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
