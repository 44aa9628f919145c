"""Work done in a process of its own, pinned to one instruction set.

Matrix products round differently with AVX2 and with AVX-512. Training turns such last bits into
other SAEs, so activations and SAEs are made by AVX2 on every processor that has it. The libraries
choose their kernels when they are loaded; hence a new process, whatever the caller has imported.

This module is imported before numpy and torch, and imports neither.
"""

from __future__ import annotations

import os
import pickle
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from deception_saes.errors import OneLine

P = ParamSpec("P")
T = TypeVar("T")

INSTRUCTION_SET = "AVX2"

_ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "MKL_DYNAMIC": "FALSE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OMP_NUM_THREADS": "1",  # what a computation needs it sets itself, by torch.set_num_threads
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
_PINNED_VARIABLE = "DECEPTION_SAES_PINNED"
"""Names the process that was pinned. Those that it starts inherit its environment and are not."""


class WorkerDied(OneLine, RuntimeError):
    """A pinned process ended without a result. The message says how and what to do."""


def run_pinned(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns, run in a process that is pinned from its start.

    In a pinned process it is simply called. Function, arguments and result are pickled: a function
    is one of a module, or a `functools.partial` of one. The process ends with this one, whatever
    ends that.
    Raises what the function raises; WorkerDied if the process is killed.
    """
    if is_pinned():
        return function(*args, **kwargs)
    with tempfile.TemporaryDirectory(prefix="pinned-") as folder:
        outcome = Path(folder) / "outcome"
        process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import _serve; _serve()", str(outcome)],
            stdin=subprocess.PIPE, env={**os.environ, **environment()})
        assert process.stdin is not None
        try:
            # it stays open: by its end the worker knows that this process is gone
            process.stdin.write(pickle.dumps(sys.path) + pickle.dumps((function, args, kwargs)))
            process.stdin.flush()
            process.wait()
        except BrokenPipeError:
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
        if not outcome.is_file():
            raise WorkerDied(f"{_name(function)}: its process ended with code "
                             f"{process.returncode} and no result (-9: killed, perhaps for "
                             "memory); free some memory and run the same command again")
        succeeded, result = pickle.loads(outcome.read_bytes())
    if not succeeded:
        raise result
    found: T = result
    return found


def pin() -> None:
    """Pin this process. Raises RuntimeError if numpy or torch is loaded already."""
    early = [name for name in ("numpy", "torch") if name in sys.modules]
    if early:
        raise RuntimeError(f"{' and '.join(early)} imported already: a process is pinned to an "
                           "instruction set before its libraries are loaded; use run_pinned")
    os.environ.update(environment())
    os.environ[_PINNED_VARIABLE] = str(os.getpid())


def is_pinned() -> bool:
    """Whether this process is pinned."""
    return os.environ.get(_PINNED_VARIABLE) == str(os.getpid())


def environment() -> dict[str, str]:
    """What pins the libraries; nothing on a processor without AVX2."""
    return dict(_ENVIRONMENT) if _has_avx2() else {}


def why_not_promised() -> str | None:
    """Why what this process has done may have other last bits elsewhere; None if it has the same on
    every Intel processor with AVX2."""
    if not is_pinned():
        return "not pinned to one instruction set"
    if not _has_avx2():
        return "no AVX2 here"
    if cpuinfo().get("vendor_id") != "GenuineIntel":
        return "MKL promises equal bits on Intel's processors only"
    if instruction_set() not in (None, INSTRUCTION_SET):
        return f"made with {instruction_set()}"
    return None


def processor() -> str:
    """The processor's name; on x86 with what tells it from others of the name."""
    info = cpuinfo()
    if "vendor_id" not in info:
        return info.get("model name") or platform.processor() or platform.machine()
    return (f"{info.get('model name', 'unnamed')} ({info['vendor_id']} family "
            f"{info.get('cpu family')} model {info.get('model')} stepping {info.get('stepping')})")


def instruction_set() -> str | None:
    """That of torch's kernels in this process, "CUDA" if they ran there; None if torch is not
    loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return "CUDA" if torch.cuda.is_initialized() else str(torch.backends.cpu.get_cpu_capability())


def _has_avx2() -> bool:
    return {"avx2", "fma"} <= set(cpuinfo().get("flags", "").split())


@cache
def cpuinfo() -> dict[str, str]:
    """The first processor of Linux's list; empty on other systems."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    entries = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in entries}


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", None) or _name(function.func))


def _serve() -> None:
    """In the worker: one call from stdin, its outcome into the file that is named."""
    pin()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt is the caller's to report
    sys.path[:] = pickle.load(sys.stdin.buffer)
    function, args, kwargs = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        outcome = pickle.dumps((True, function(*args, **kwargs)))
    except Exception as error:
        outcome = pickle.dumps((False, _as_raised(error)))
    Path(sys.argv[1]).write_bytes(outcome)


def _end_with_caller() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _as_raised(error: Exception) -> Exception:
    """The error with where it was raised; as a RuntimeError if it cannot be pickled."""
    where = "".join(traceback.format_exception(error))
    error.add_note(f"in a pinned process:\n{where}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(where)
    return error
