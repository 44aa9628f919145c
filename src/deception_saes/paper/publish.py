"""A release of the section's SAEs: a folder as the Hugging Face hub shows it, and its upload."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deception_saes.models.spec import HubModel
from deception_saes.paper.build import make_section
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.numbers import with_interval
from deception_saes.paper.planned import BuildFailed
from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import SectionRun, profile_tree
from deception_saes.paper.results import read_results
from deception_saes.paper.subjects import saes_of, task_of
from deception_saes.saes import files
from deception_saes.saes.config import SaeError
from deception_saes.saes.sae import Sae
from deception_saes.store.files import sha256_file, write_atomic

CARD = "README.md"
MANIFEST = "release.json"
_WRITTEN_BY = "deception_saes"
_HEADINGS = {"tag": "Tag", "architecture": "Architecture", "layer": "Layer",
             "train_set": "Trained on", "k": "k", "expansion": "d_sae / d_in", "l0": "L0",
             "explained_variance": "Explained variance", "mse": "MSE", "dead_share": "Dead",
             "kl_recovered": "KL recovered"}


class ReleaseError(BuildFailed):
    """A release cannot be written or uploaded. The message names what is in the way and what to
    do."""


def publish(profile: Profile, seed: int, out: Path, repo: str | None) -> str:
    """Write §25's SAEs, computed first if they have not been, as the release `out`, and upload it
    if a repository is named; where it then is.

    Raises ReleaseError and SaeError as `write_release` and `upload` do.
    """
    results = read_results(make_section(profile, seed, 25))
    run = SectionRun(SECTIONS[25], results, profile_tree(profile, seed))
    saes = saes_of(profile, task_of(profile, seed, profile.models[0], profile.circuit_framing))
    if saes.release:
        raise ReleaseError(f"the SAEs of the profile {profile.name} are those of "
                           f"{saes.release[0]}; only SAEs that were trained here are released")
    with tempfile.TemporaryDirectory(prefix="saes-") as together:
        for bank in map(saes.bank, saes.layers):
            for tag in bank.tags:
                (Path(together) / tag.name).symlink_to(Path(bank.source) / tag.name)
        write_release(run, Path(together), out, profile, repo)
    return upload(out, repo) if repo else str(out)


def write_release(
    run: SectionRun, saes_dir: Path, out: Path, profile: Profile, repo: str | None = None
) -> None:
    """Write the folder `out`: every SAE of the section's table `saes`, a model card, a manifest.

    saes_dir: holds a folder for each tag. repo: "organisation/name" for the card's examples.
    An earlier release in `out` is replaced as a whole; a release that cannot be finished leaves
    `out` as it was.
    Raises ReleaseError if the section was not run, if an SAE is not the one of its row, or if
    `out` holds anything that is not of an earlier release; SaeError if an SAE is missing or
    damaged.
    """
    if run.results.status != "done":
        raise ReleaseError(f"§{run.section.number} was not run: {run.results.reason}; there is "
                           "nothing to release")
    out = out.resolve()
    _check_replaceable(out)
    table = run.table("saes")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as place:
        new = Path(place) / "new"
        new.mkdir()
        digests, metadata = {}, []
        for row in table.to_dict("records"):
            sae = _copied(row, saes_dir, new)
            digests[row["tag"]] = sha256_file(new / row["tag"] / files.WEIGHTS)
            metadata.append({"d_in": sae.config.d_in, **sae.config.metadata})
        write_atomic(new / CARD, _card(run, profile, _shared(metadata), repo))
        write_atomic(new / MANIFEST, _manifest(run, digests))
        _put(new, out, Path(place) / "old")


def upload(folder: Path, repo: str, token: str | None = None) -> str:
    """Upload a release to the hub repository "organisation/name", which is made if it does not
    exist; the address of the commit. token: None for that of `hf auth login`.

    Raises ReleaseError if `folder` is no release, or if the hub refuses or cannot be reached.
    """
    import httpx2  # what the hub client itself is built on
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if _tags_of_release(folder) is None:
        raise ReleaseError(f"{folder}: not a release of this project; write one first")
    try:
        api = HfApi(token=token)
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=folder,
                                   commit_message="Release of sparse autoencoders")
    except HFValidationError as error:
        why = f"not a repository's name ({error}); expected \"organisation/name\""
    except HfHubHTTPError as error:
        answer = f"{error.response.status_code} {error.server_message or ''}".strip()
        why = (f"{constants.ENDPOINT} answered {answer}; log in with `hf auth login` and a token "
               "that may write there")
    except OfflineModeIsEnabled:
        why = f"{constants.ENDPOINT} is not asked, since HF_HUB_OFFLINE is set; unset it"
    except httpx2.HTTPError as error:
        why = (f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}: {error}); check "
               "the connection and upload again: what has arrived is not sent twice")
    else:
        return commit.commit_url
    raise ReleaseError(f"{repo}: {why}")


def _copied(row: Mapping[str, Any], saes_dir: Path, new: Path) -> Sae:
    """The SAE of a row of the table, read from its copy: what is released has been loaded."""
    tag = row["tag"]
    (new / tag).mkdir()
    for name in (files.WEIGHTS, files.CFG):
        if not (saes_dir / tag / name).is_file():
            raise SaeError(f"{saes_dir / tag / name}: there is no such file; run `make book`")
        shutil.copyfile(saes_dir / tag / name, new / tag / name)
    try:
        sae = files.load(new / tag)
    except SaeError as error:
        raise SaeError(str(error).replace(str(new), str(saes_dir))) from None
    expected = (row["architecture"], None if math.isnan(row["k"]) else int(row["k"]))
    found = (sae.config.architecture, sae.config.k)
    if found != expected:
        raise ReleaseError(f"{saes_dir / tag}: architecture and k are {found}, in the section's "
                           f"table {expected}; run `make book`")
    return sae


def _shared(metadata: list[dict[str, Any]]) -> dict[str, Any]:
    """What all SAEs say alike."""
    first = metadata[0] if metadata else {}
    return {key: value for key, value in first.items()
            if all(key in other and other[key] == value for other in metadata)}


def _manifest(run: SectionRun, digests: dict[str, str]) -> str:
    record = {"written_by": _WRITTEN_BY, "section": run.section.number,
              "profile": run.results.profile, "seed": run.results.seed,
              "commit": run.results.commit, "weights_sha256": digests}
    return json.dumps(record, indent=1) + "\n"


def _tags_of_release(folder: Path) -> set[str] | None:
    """The tags of a release of this project; None if the folder is not one."""
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("written_by") != _WRITTEN_BY:
        return None
    tags = record.get("weights_sha256")
    return set(tags) if isinstance(tags, dict) else None


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ReleaseError(f"{out}: it is a file; choose a folder")
    tags = _tags_of_release(out)
    of_release = {str(Path(tag) / name) for tag in tags or () for name in (files.WEIGHTS,
                                                                          files.CFG)}
    of_release |= {CARD, MANIFEST} if tags is not None else set()
    foreign = sorted(str(path.relative_to(out)) for path in out.rglob("*")
                     if not path.is_dir() or path.is_symlink())
    foreign = [name for name in foreign if name not in of_release]
    if foreign:
        raise ReleaseError(f"{out}: holds {foreign[0]}, which is not of an earlier release; choose "
                           "another folder or empty this one")


def _put(new: Path, out: Path, old: Path) -> None:
    """`new` takes the place of `out`; if it cannot, `out` stays."""
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise


def _card(run: SectionRun, profile: Profile, shared: Mapping[str, Any], repo: str | None) -> str:
    """The model card. Every number in it is one of the run's."""
    results, model = run.results, profile.models[0]
    rows = run.table("saes").to_dict("records")
    front = {"license": "mit", "library_name": "saelens",
             "tags": ["sparse-autoencoder", "saelens", "interpretability", "sandbagging"]}
    if isinstance(model.source, HubModel):
        front["base_model"] = model.source.repo
    title = f"Sandbagging SAEs of {model.name}"
    made = {"profile": results.profile, "seed": results.seed, "commit": results.commit,
            **shared, **results.versions}
    measured = [(value.quantity, value.condition or "", with_interval(value), value.n or "")
                for value in results.values if value.tag is None and value.value is not None]
    parts = [
        # JSON is YAML.
        "---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", "",
        f"# {title}", "",
        f"{len(rows)} sparse autoencoders of the residual stream of {model.name}, trained on its "
        "activations while it answers trivia questions under an instruction to be right or to be "
        "wrong on purpose. Each reads the output of one transformer layer, named by `hook_name` "
        f"in its `{files.CFG}`.", "",
        "## How they were made", "",
        f"By section {run.section.number}, “{run.section.title}”, of the reproducible "
        "paper *Do SAEs find anything specific when a language model lies or sandbags?*, at commit "
        f"`{results.commit}`. This command makes them again:", "",
        "```sh", f"make section S={run.section.number} PROFILE={profile.name} SEED={results.seed}",
        "```", "",
        *_table(("What all of them share", ""), [(key, _plain(made[key])) for key in made]),
        "## The SAEs", "",
        f"Quality as section {run.section.number} measured it; “–” is what does not apply.", "",
        *_table(_HEADINGS.values(), ([row[name] for name in _HEADINGS] for row in rows)),
    ]
    if measured:
        parts += ["Of all of them together:", "",
                  *_table(("Quantity", "Condition", "Value", "n"), measured)]
    parts += _how_to_load(rows[0]["tag"] if rows else "tag", repo or "organisation/name")
    parts += ["## Limits", "", *(f"- {limit}" for limit in _limits(profile)), "",
              "## Licence", "",
              f"The SAEs: MIT. The weights of {model.name}, which they are of no use without: "
              f"{model.licence}.", ""]
    return "\n".join(parts)


def _limits(profile: Profile) -> list[str]:
    limits = [
        "They were trained on one task's prompts. On other text their reconstruction is untested.",
        "A feature that is more active under one instruction is not thereby specific to lying or "
        "sandbagging; the paper tests that with controls, and this card claims nothing of it.",
        "They belong to this model, its precision and its layers, and to no other.",
    ]
    if not profile.verdicts:
        limits.insert(0, "The model of this profile has random weights. These SAEs show that the "
                         "code runs, and nothing else.")
    return limits


def _how_to_load(tag: str, repo: str) -> list[str]:
    return [
        "## How to load one", "", "With the paper's own code, which checks every byte:", "",
        "```python", "from deception_saes.saes.hub import load", "",
        f'sae = load("{repo}", "{tag}")', "```", "", "With SAELens, 6.0 or newer:", "",
        "```python", "from sae_lens import SAE", "",
        f'sae = SAE.from_pretrained(release="{repo}", sae_id="{tag}")', "```", "",
        "With neither:", "",
        "```python", "import json", "from pathlib import Path", "",
        "from huggingface_hub import hf_hub_download", "from safetensors.torch import load_file",
        "", f'repo, tag = "{repo}", "{tag}"',
        f'weights = load_file(hf_hub_download(repo, f"{{tag}}/{files.WEIGHTS}"))',
        f'cfg = json.loads(Path(hf_hub_download(repo, f"{{tag}}/{files.CFG}")).read_text())',
        "```", "",
    ]


def _table(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    names = list(headings)
    return [_line(names), _line(["---"] * len(names)),
            *(_line(_cell(value) for value in row) for row in rows), ""]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    """Three digits of a fraction; text that does not end a table's cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() or abs(value) >= 1000 else f"{value:.3g}"
    return _plain(value).replace("|", "\\|").replace("\n", " ")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
