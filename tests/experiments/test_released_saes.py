"""§24 on SAEs of a release: a folder here, and a repository of a hub on this machine, whose client
reads its environment once and so has a process of its own."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from cells import run_cells

from deception_saes.experiments.saes import TrainedSae
from deception_saes.experiments.swaps import centre_sizes
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.record import SectionRun
from deception_saes.paper.results import read_results
from deception_saes.paper.settings import Settings
from deception_saes.saes.config import SaeError
from deception_saes.saes.files import CFG, WEIGHTS, load, save
from deception_saes.saes.registry import architecture, build
from deception_saes.saes.tags import is_swapped

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from fake_hub import FakeHub, serving

TESTS = Path(__file__).parents[1]
# Runs §24 with each source that it is told; says how it ended, and where its results are.
CLIENT = """
import dataclasses, json, pathlib, sys, time
sys.path.insert(0, sys.argv[2])
from cells import run_cells
from huggingface_hub import close_session
from places import artifacts_at
from deception_saes.paper.profiles import profile_named

time.sleep = lambda seconds: None  # between the attempts of the hub's client
artifacts = pathlib.Path(sys.argv[1])

def outcome(source):
    profile = dataclasses.replace(profile_named("smoke"), sae_source=source)
    try:
        run = run_cells(24, profile, profile.seed, artifacts)
        with artifacts_at(artifacts):
            return ["done", str(run.book.folder)]
    except Exception as error:
        return [type(error).__name__, str(error)]
    finally:
        close_session()  # an open connection outlives its server

for line in sys.stdin:
    print(json.dumps(outcome(line.strip())), flush=True)
"""


@contextmanager
def client(tree, home, endpoint):
    """A process that runs §24 on the source it is asked for."""
    ours = {name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING_FACE"))}
    environment = ours | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1",
                          "HF_HUB_DISABLE_TELEMETRY": "1"}
    with subprocess.Popen([sys.executable, "-c", CLIENT, str(tree), str(TESTS)], env=environment,
                          text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:

        def outcome(source):
            print(source, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield outcome


@pytest.fixture(scope="module")
def trained(smoke, artifacts):
    """§24 on SAEs trained here."""
    return run_cells(24, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def swapped(trained):
    """The tags of the SAEs that are swapped, by name."""
    return {tag.name: tag for tag in trained.book.saes.tags if is_swapped(tag)}


@pytest.fixture(scope="module")
def release(trained, swapped, tmp_path_factory):
    """A release that holds the swapped SAEs and no other."""
    out = tmp_path_factory.mktemp("release")
    for name, tag in swapped.items():
        shutil.copytree(trained.book.saes.bank(tag.layer).source / name, out / name)
    return out


@pytest.fixture(scope="module")
def fresh(artifacts, tmp_path_factory):
    """Artifacts in which no SAE has been trained."""
    folder = tmp_path_factory.mktemp("fresh")
    shutil.copytree(artifacts / "models", folder / "models")
    return folder


def run_on(smoke, source, artifacts):
    profile = dataclasses.replace(smoke, sae_source=str(source))
    return run_cells(24, profile, profile.seed, artifacts)


def without_frozen(table):
    """Without what needs an SAE trained with its decoder frozen."""
    is_frozen = table.select_dtypes(["object", "string"]).apply(
        lambda column: column.astype(str).str.contains("frozen")).any(axis=1)
    assert is_frozen.sum() < 4
    return table[~is_frozen].reset_index(drop=True)


def assert_as_trained(run, trained, tree):
    """Every value but those that need SAEs trained anew, and no SAE was trained."""
    assert run.results.status == "done"
    expected = [value for value in trained.results.values
                if ".seeds" not in value.id and "frozen" not in value.id]
    assert run.results.values == expected
    assert 400 < len(expected) < len(trained.results.values)
    for table in ("effects", "gaps", "centres", "steps"):
        assert run.table(table).equals(without_frozen(trained.table(table)))
    assert len(run.table("seeds")) == 0
    assert list((tree / "calls").glob("edit_effects-*"))
    assert not list((tree / "calls").glob("train*"))


def test_downloaded_saes_give_the_effects_of_the_trained_ones_and_without_a_hub_there_are_none(
        trained, swapped, release, fresh, tmp_path):
    hub = FakeHub({"org/release": release})
    with ExitStack() as until_here:
        with serving(hub):
            outcome = until_here.enter_context(client(fresh, tmp_path / "home", hub.endpoint))
            status, folder = outcome("org/release")
        kind, message = outcome("org/other")
    assert status == "done", folder
    assert {line.rsplit("/", maxsplit=2)[1] for line in hub.asked} == swapped.keys()
    assert {line.rsplit("/", maxsplit=1)[1] for line in hub.asked} == {CFG, WEIGHTS}
    results = read_results(Path(folder) / "results" / "s24.json")
    assert_as_trained(SectionRun(SECTIONS[24], results, Path(folder)), trained, fresh)

    assert kind == "SaeError"
    assert "\n" not in message
    assert message.startswith("org/other, v4_tinyllama-random_")
    assert f"{hub.endpoint} cannot be reached (ConnectError:" in message


@pytest.mark.usefixtures("no_network")
def test_a_folder_of_saes_gives_the_effects_of_the_trained_ones(smoke, trained, release, fresh):
    assert_as_trained(run_on(smoke, release, fresh), trained, fresh)


@pytest.mark.usefixtures("no_network")
def test_the_saes_of_the_release_are_what_is_swapped(smoke, trained, release, fresh, tmp_path):
    # of one tag another's weights
    mixed = Path(shutil.copytree(release, tmp_path / "mixed"))
    shutil.rmtree(mixed / "v4_tinyllama-random_topk_L4_mixed")
    shutil.copytree(release / "v4_tinyllama-random_topk_L2_mixed",
                    mixed / "v4_tinyllama-random_topk_L4_mixed")
    found, expected = (of.table("effects").set_index(
        ["architecture", "depth", "prompts", "intervention"])["effect"]
        for of in (run_on(smoke, mixed, fresh), trained))
    expected = expected.drop("U6Δ.frozen", level="intervention")
    changed = (found != expected).groupby(level=["architecture", "depth"]).mean()
    assert changed["topk", "D8"] > 0.9
    assert (changed.drop(("topk", "D8")) == 0).all()


@pytest.mark.usefixtures("no_network")
def test_a_release_of_another_width_is_refused_by_source_tag_and_widths(
        smoke, release, fresh, tmp_path):
    wide = Path(shutil.copytree(release, tmp_path / "wide"))
    tag = "v4_tinyllama-random_jumprelu_L4_mixed"
    config = dataclasses.replace(load(release / tag).config, d_in=24, d_sae=96)
    save(build(config, {name: torch.rand(shape) for name, shape
                        in architecture("jumprelu").sae.shapes(config).items()}), wide / tag)
    with pytest.raises(SaeError) as found:
        run_on(smoke, wide, fresh)
    for part in (str(wide), tag, "d_in is 24", "64 wide", "sae_source"):
        assert part in str(found.value)


@pytest.mark.usefixtures("no_network")
def test_a_release_that_lacks_a_tag_is_refused_by_its_name(smoke, release, fresh, tmp_path):
    part = Path(shutil.copytree(release, tmp_path / "part"))
    shutil.rmtree(part / "v4_tinyllama-random_gated_L4_mixed")
    with pytest.raises(SaeError, match="v4_tinyllama-random_gated_L4_mixed"):
        run_on(smoke, part, fresh)


def decided_by(smoke, source):
    """The hash of what decides a result that reads the SAE of one tag."""
    of = Settings(24, dataclasses.replace(smoke, sae_source=source), smoke.seed)
    return centre_sizes.call(of.task.evaluating, 4, TrainedSae(of.saes, of.saes.at(4)[0])).spec.hash


def test_the_source_is_part_of_what_decides_a_result(smoke):
    assert len({decided_by(smoke, source) for source in ("org/release", "org/other", None)}) == 3


def test_saes_that_are_replaced_in_place_decide_another_result(smoke, release, tmp_path):
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    before = decided_by(smoke, str(folder))
    assert decided_by(smoke, str(folder)) == before
    weights = folder / "v4_tinyllama-random_topk_L4_mixed" / WEIGHTS
    shutil.copy(folder / "v4_tinyllama-random_topk_L2_mixed" / WEIGHTS, weights)
    assert decided_by(smoke, str(folder)) != before
