"""Pinned processes. The tests' own process is pinned too (see conftest), so callers that are not
are started here with an environment of their own."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import pinned_jobs
import pytest

from deception_saes.store import pinned
from deception_saes.store.ensure import ensure, marker_path
from deception_saes.store.files import sha256_file
from deception_saes.store.pinned import (
    WorkerDied,
    environment,
    pin,
    processor,
    run_pinned,
    why_not_promised,
)
from deception_saes.store.spec import Spec

needs_avx2 = pytest.mark.skipif(not environment(), reason="this processor has no AVX2")


@pytest.fixture
def unpinned(monkeypatch):
    """As in a process of somebody who pinned nothing."""
    monkeypatch.delenv("DECEPTION_SAES_PINNED")


def start(*arguments, **variables):
    ours = {name: value for name, value in os.environ.items() if name not in environment()}
    return subprocess.Popen([sys.executable, pinned_jobs.__file__, *arguments],
                            env=ours | variables, stdout=subprocess.PIPE, text=True)


def digests(folder):
    return {path.relative_to(folder).as_posix(): sha256_file(path)
            for path in folder.rglob("*") if path.is_file()}


@needs_avx2
def test_a_worker_is_pinned_whatever_its_caller_has_imported():
    with start("settings") as caller:
        found = eval(caller.stdout.read())
    assert found["torch"] == "AVX2"
    assert found["numpy"] == set()
    assert found["mkl"] == "AVX2"
    assert found["threads"] == 1
    assert found["process"] != caller.pid


@needs_avx2
def test_saes_have_the_same_bytes_whichever_instructions_the_callers_mkl_may_use(tmp_path):
    """MKL_ENABLE_INSTRUCTIONS emulates a processor with AVX2 alone for MKL only: torch's own
    kernels and numpy see the processor that is there in both processes."""
    callers = [start("train", str(tmp_path / name), **variables) for name, variables in (
        ("as it is", {}), ("emulated", {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}))]
    assert [caller.wait() for caller in callers] == [0, 0]
    found = digests(tmp_path / "as it is")
    assert len(found) == 6  # cfg and weights of three architectures
    assert found == digests(tmp_path / "emulated")


def test_a_result_comes_back_and_what_is_printed_is_no_part_of_it(unpinned):
    assert run_pinned(pinned_jobs.double, 3, plus=1) == 7
    assert run_pinned(functools.partial(pinned_jobs.double, plus=2), 3) == 8


def test_in_a_pinned_process_a_call_is_a_call():
    assert run_pinned(os.getpid) == os.getpid()


def test_a_worker_starts_no_worker(unpinned):
    outer, inner = run_pinned(pinned_jobs.nested)
    assert outer == inner != os.getpid()


def test_an_error_is_raised_as_it_was_with_where(unpinned):
    with pytest.raises(KeyError, match="what went wrong") as caught:
        run_pinned(pinned_jobs.fails, KeyError)
    assert "in fails" in caught.value.__notes__[0]


def test_an_error_that_cannot_be_pickled_is_still_said(unpinned):
    with pytest.raises(RuntimeError, match="Odd: what went wrong 2"):
        run_pinned(pinned_jobs.fails, pinned_jobs.Odd)


def test_a_worker_that_is_killed_is_named(unpinned):
    with pytest.raises(WorkerDied, match=r"dies.*-9") as caught:
        run_pinned(pinned_jobs.dies)
    assert "\n" not in str(caught.value)


def test_a_worker_ends_with_its_caller(tmp_path):
    started = tmp_path / "started"
    with start("sleep", str(started)) as caller:
        until = time.monotonic() + 60
        while not (started.exists() and started.read_text()):
            assert time.monotonic() < until
            time.sleep(0.05)
        worker = Path("/proc") / started.read_text()
        assert worker.exists()
        caller.kill()
    until = time.monotonic() + 10
    while worker.exists() and "Z" not in (worker / "stat").read_text().split()[2]:
        assert time.monotonic() < until, "the worker goes on"
        time.sleep(0.05)


def test_a_process_with_torch_cannot_be_pinned():
    with pytest.raises(RuntimeError, match=r"numpy and torch.*run_pinned"):
        pin()


def test_a_pinned_spec_is_made_by_a_worker_and_says_on_what(unpinned, tmp_path):
    spec = Spec("unit", 1, ("deception_saes.rng",), libraries=(), pinned=True)
    ensure(tmp_path, spec, pinned_jobs.writes)
    assert (tmp_path / "file").read_text() == "made"
    marker = marker_path(tmp_path, spec).read_text()
    assert processor() in marker
    with pytest.raises((AttributeError, TypeError)):  # what cannot be pickled
        ensure(tmp_path, Spec("b", 1, ("deception_saes.rng",), (), (), (), True), lambda out: None)


def test_pinning_is_part_of_the_spec():
    specs = {Spec("unit", 1, ("deception_saes.rng",), pinned=pinned).hash
             for pinned in (True, False)}
    assert len(specs) == 2


INTEL = {"vendor_id": "GenuineIntel", "flags": "sse avx2 fma"}


@pytest.mark.parametrize(("info", "why"), [
    (INTEL, None),
    (INTEL | {"vendor_id": "AuthenticAMD"}, "Intel"),
    (INTEL | {"flags": "sse avx"}, "no AVX2"),
    ({}, "no AVX2"),
])
def test_equal_bits_are_promised_on_intel_with_avx2(monkeypatch, info, why):
    monkeypatch.setattr(pinned, "cpuinfo", lambda: info)
    monkeypatch.setattr(pinned, "instruction_set", lambda: "AVX2")
    assert why_not_promised() is None if why is None else why in why_not_promised()
    assert bool(environment()) is ("avx2" in info.get("flags", ""))


@pytest.mark.parametrize("used", ["CUDA", "AVX512"])
def test_nothing_is_promised_of_what_other_instructions_made(monkeypatch, used):
    monkeypatch.setattr(pinned, "cpuinfo", lambda: INTEL)
    monkeypatch.setattr(pinned, "instruction_set", lambda: used)
    assert used in why_not_promised()


def test_nothing_is_promised_of_an_unpinned_process(unpinned):
    assert "not pinned" in why_not_promised()
