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
from test_swap_sections import swapped_tags, with_task

from deception_saes.saes.errors import SaeError
from deception_saes.saes.files import CFG, WEIGHTS, load, save
from deception_saes.saes.registry import architecture, build
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.run import run_section, section_spec

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from fake_hub import FakeHub, serving

TAGS = swapped_tags("tinyllama-random")

# Runs §24 with each source that it is told; says how it ended.
CLIENT = """
import dataclasses, json, pathlib, sys, time
from huggingface_hub import close_session
from deception_saes.sections.profiles import profile_named
from deception_saes.sections.run import run_section

time.sleep = lambda seconds: None  # between the attempts of the hub's client

def outcome(source):
    profile = dataclasses.replace(profile_named("smoke"), sae_source=source)
    try:
        return run_section(24, profile, profile.seed, pathlib.Path(sys.argv[1])).results.status
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
    with subprocess.Popen([sys.executable, "-c", CLIENT, str(tree)], env=environment, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:

        def outcome(source):
            print(source, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield outcome


@pytest.fixture(scope="module")
def trained(smoke, artifacts):
    """§24 on SAEs trained here."""
    return run_section(24, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def release(trained, tmp_path_factory):
    """A release that holds the swapped SAEs and no other."""
    out = tmp_path_factory.mktemp("release")
    for tag in TAGS:
        shutil.copytree(trained.tree / "saes" / tag, out / tag)
    return out


@pytest.fixture
def fresh(artifacts, trained, tmp_path):
    """Artifacts in which no SAE has been trained."""
    return with_task(artifacts, tmp_path / "artifacts")


def effects(run):
    """Every value but those that need SAEs trained anew."""
    return [value for value in run.results.values if ".seeds" not in value.id]


def assert_as_trained(run, trained, tree):
    assert run.results.status == "done"
    assert effects(run) == effects(trained)
    assert len(effects(run)) > 400
    assert not [value for value in run.results.values if ".seeds" in value.id]
    assert any(".seeds" in value.id for value in trained.results.values)
    for table in ("effects", "gaps", "centres"):
        assert run.table(table).equals(trained.table(table))
    assert not list((tree / "smoke").glob("saes*"))
    assert not list((tree / "smoke").glob("checkpoints*"))
    assert not list((tree / "smoke" / ".done").glob("saes*"))


def test_downloaded_saes_give_the_effects_of_the_trained_ones_and_without_a_hub_there_are_none(
        smoke, trained, release, fresh, tmp_path):
    hub = FakeHub({"org/release": release})
    with ExitStack() as until_here:
        with serving(hub):
            outcome = until_here.enter_context(client(fresh, tmp_path / "home", hub.endpoint))
            assert outcome("org/release") == "done"
        kind, message = outcome("org/other")
    assert {line.rsplit("/", maxsplit=2)[1] for line in hub.asked} == TAGS
    assert {line.rsplit("/", maxsplit=1)[1] for line in hub.asked} == {CFG, WEIGHTS}
    profile = dataclasses.replace(smoke, sae_source="org/release")
    assert_as_trained(run_section(24, profile, profile.seed, fresh), trained, fresh)

    assert kind == "SaeError"
    assert "\n" not in message
    assert message.startswith("org/other, v4_tinyllama-random_")
    assert f"{hub.endpoint} cannot be reached (ConnectError:" in message


@pytest.mark.usefixtures("no_network")
def test_a_folder_of_saes_gives_the_effects_of_the_trained_ones(smoke, trained, release, fresh):
    profile = dataclasses.replace(smoke, sae_source=str(release))
    run = run_section(24, profile, profile.seed, fresh)
    assert_as_trained(run, trained, fresh)


@pytest.mark.usefixtures("no_network")
def test_the_saes_of_the_release_are_what_is_swapped(smoke, trained, release, fresh, tmp_path):
    # of one tag another's weights
    mixed = Path(shutil.copytree(release, tmp_path / "mixed"))
    shutil.rmtree(mixed / "v4_tinyllama-random_topk_L4_mixed")
    shutil.copytree(release / "v4_tinyllama-random_topk_L2_mixed",
                    mixed / "v4_tinyllama-random_topk_L4_mixed")
    profile = dataclasses.replace(smoke, sae_source=str(mixed))
    found, expected = (of.table("effects").set_index(
        ["architecture", "depth", "prompts", "intervention"])["effect"]
        for of in (run_section(24, profile, profile.seed, fresh), trained))
    changed = (found != expected).groupby(level=["architecture", "depth"]).mean()
    assert changed["topk", 8] > 0.9
    assert (changed.drop(("topk", 8)) == 0).all()


@pytest.mark.usefixtures("no_network")
def test_a_release_of_another_width_is_refused_by_source_tag_and_widths(
        smoke, release, fresh, tmp_path):
    wide = Path(shutil.copytree(release, tmp_path / "wide"))
    tag = "v4_tinyllama-random_jumprelu_L4_mixed"
    config = dataclasses.replace(load(release / tag).config, d_in=24, d_sae=96)
    save(build(config, {name: torch.rand(shape) for name, shape
                        in architecture("jumprelu").sae.shapes(config).items()}), wide / tag)
    profile = dataclasses.replace(smoke, sae_source=str(wide))
    with pytest.raises(SaeError) as found:
        run_section(24, profile, profile.seed, fresh)
    for part in (str(wide), tag, "d_in is 24", "64 wide", "sae_source"):
        assert part in str(found.value)
    assert not (fresh / "smoke" / "results" / "s24.json").exists()


@pytest.mark.usefixtures("no_network")
def test_a_release_that_lacks_a_tag_is_refused_by_its_name(smoke, release, fresh, tmp_path):
    part = Path(shutil.copytree(release, tmp_path / "part"))
    shutil.rmtree(part / "v4_tinyllama-random_gated_L4_mixed")
    profile = dataclasses.replace(smoke, sae_source=str(part))
    with pytest.raises(SaeError, match="v4_tinyllama-random_gated_L4_mixed"):
        run_section(24, profile, profile.seed, fresh)


def test_the_source_is_part_of_the_spec(smoke, trained):
    specs = {section_spec(SECTIONS[24], dataclasses.replace(smoke, sae_source=source), 0).hash
             for source in ("org/release", "org/other", None)}
    assert len(specs) == 3
    assert trained.hash in specs


def test_saes_that_are_replaced_in_place_are_another_spec(smoke, release, tmp_path):
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    profile = dataclasses.replace(smoke, sae_source=str(folder))
    before = section_spec(SECTIONS[24], profile, 0).hash
    assert section_spec(SECTIONS[24], profile, 0).hash == before
    weights = folder / "v4_tinyllama-random_topk_L4_mixed" / WEIGHTS
    shutil.copy(folder / "v4_tinyllama-random_topk_L2_mixed" / WEIGHTS, weights)
    assert section_spec(SECTIONS[24], profile, 0).hash != before


@pytest.mark.usefixtures("no_network")
def test_the_table_of_seeds_of_a_release_is_empty(smoke, release, fresh):
    profile = dataclasses.replace(smoke, sae_source=str(release))
    assert len(run_section(24, profile, profile.seed, fresh).table("seeds")) == 0
