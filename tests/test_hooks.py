"""The hooks of .pre-commit-config.yaml, run in a small repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = "notebooks/s29_neutral_prompts.py"


@pytest.fixture
def repository(root, tmp_path):
    for name in (".pre-commit-config.yaml", "pyproject.toml", NOTEBOOK):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def run(repository):
    subprocess.run(["git", "add", "--force", "notebooks", "*.toml", ".pre-commit-config.yaml"],
                   cwd=repository, check=True)
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files"], cwd=repository,
        env={**os.environ, "PRE_COMMIT_HOME": str(repository / ".cache")}, capture_output=True,
        text=True, check=False)


def test_what_is_committed_passes(repository):
    ran = run(repository)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(("broken", "said"), [
    ({NOTEBOOK: "# %%\nimport os\n"}, "F401"),
    ({NOTEBOOK: '# %% made_up="by hand"\n1\n'}, "notebooks come back"),
    ({"notebooks/s29.ipynb": "{}"}, "leave the .ipynb out"),
], ids=["ruff", "pairing", "outputs"])
def test_what_should_not_be_committed_is_refused(repository, broken, said):
    for name, text in broken.items():
        path = repository / name
        path.write_text(path.read_text() + "\n" + text if path.exists() else text)
    ran = run(repository)
    assert ran.returncode == 1
    failed = [line for line in ran.stdout.splitlines() if line.endswith("Failed")]
    assert len(failed) == 1, ran.stdout
    assert said in ran.stdout
