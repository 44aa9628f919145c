import os
import signal
import subprocess
import sys
import time

import pytest

SLEEPER = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(600)"
# a shell's background job, as tests may run in, is born with interrupts ignored
STARTER = ("import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
           "from deception_saes.paper.watched import run_watched; "
           "sys.exit(run_watched([sys.executable, '-c', sys.argv[1]]))")


def started(script, environment=None):
    """A process that runs `script` watched, in a group of its own, and the script's pid."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, script], stdout=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, **(environment or {})})
    return starter, int(starter.stdout.readline())


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid, seconds=10.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until and is_running(pid):
        time.sleep(0.05)
    return not is_running(pid)


def test_the_exit_code_is_the_commands():
    starter = subprocess.run([sys.executable, "-c", STARTER, "import sys; sys.exit(7)"],
                             check=False)
    assert starter.returncode == 7


@pytest.mark.parametrize("whole_group", [True, False])
def test_what_a_killed_process_started_ends(whole_group):
    starter, sleeper = started(SLEEPER)
    assert is_running(sleeper)
    if whole_group:
        os.killpg(starter.pid, signal.SIGKILL)
    else:
        starter.kill()
    assert ends(sleeper)  # also while nobody has taken note of the starter's end: a zombie
    starter.wait()


def test_an_interrupt_ends_it_too():
    starter, sleeper = started(SLEEPER)
    starter.send_signal(signal.SIGINT)
    assert ends(sleeper)
    assert starter.wait(10) != 0


def test_what_an_interrupt_ends_may_tidy_up(tmp_path):
    # as Snakemake takes back its jobs on a cluster
    tidied = tmp_path / "tidied"
    starter, sleeper = started("import pathlib\ntry:\n "
                               f"{SLEEPER}\nexcept KeyboardInterrupt:\n "
                               f"pathlib.Path({str(tidied)!r}).touch()")
    starter.send_signal(signal.SIGINT)
    assert ends(sleeper)
    starter.wait()
    assert tidied.is_file()


def test_an_interrupt_ends_what_does_not_end_when_asked():
    deaf = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {SLEEPER}"
    starter, sleeper = started(deaf)
    starter.send_signal(signal.SIGINT)
    assert ends(sleeper, 20)
    assert starter.wait(10) != 0


def test_it_ends_when_the_make_that_called_it_is_killed(tmp_path):
    # as in the Makefile: a plain command, which make starts without a shell between
    (tmp_path / "starter.py").write_text(STARTER.replace("sys.argv[1]", repr(SLEEPER)))
    (tmp_path / "Makefile").write_text(f"all:\n\t{sys.executable} starter.py\n")
    make = subprocess.Popen(["make", "-s"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    sleeper = int(make.stdout.readline())
    make.kill()
    assert ends(sleeper)
    make.wait()
