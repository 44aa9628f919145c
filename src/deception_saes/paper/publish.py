"""A release of the section's SAEs: a folder as the Hugging Face hub shows it, and its upload."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2  # what the hub's client itself is built on
from huggingface_hub import HfApi, ModelCard, ModelCardData, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

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
from deception_saes.saes.sae import Sae
from deception_saes.store.files import sha256_file, write_atomic

CARD = "README.md"
MANIFEST = "release.json"
TEMPLATE = Path(__file__).parent / "data" / "release_card.md"
_WRITTEN_BY = "deception_saes"
_TAGS = ["sparse-autoencoder", "saelens", "interpretability", "sandbagging"]


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
    folders = {tag.name: Path(bank.source) / tag.name
               for bank in map(saes.bank, saes.layers) for tag in bank.tags}
    write_release(run, folders, out, profile, repo)
    return upload(out, repo) if repo else str(out)


def write_release(
    run: SectionRun, folders: Mapping[str, Path], out: Path, profile: Profile,
    repo: str | None = None,
) -> None:
    """Write the folder `out`: every SAE of the section's table `saes`, a model card, a manifest.

    folders: of each SAE, by tag. repo: "organisation/name" for the card's examples.
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
    rows = run.table("saes").to_dict("records")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as place:
        new, old = Path(place) / "new", Path(place) / "old"
        digests, metadata = {}, []
        for row in rows:
            tag = row["tag"]
            sae = _checked(row, folders[tag])
            (new / tag).mkdir(parents=True)
            for name in (files.WEIGHTS, files.CFG):
                shutil.copyfile(folders[tag] / name, new / tag / name)
            digests[tag] = sha256_file(new / tag / files.WEIGHTS)
            metadata.append({"d_in": sae.config.d_in, **sae.config.metadata})
        write_atomic(new / CARD, _card(run, profile, _shared(metadata), repo))
        write_atomic(new / MANIFEST, json.dumps({
            "written_by": _WRITTEN_BY, "section": run.section.number,
            "profile": run.results.profile, "seed": run.results.seed,
            "commit": run.results.commit, "weights_sha256": digests}, indent=1) + "\n")
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except BaseException:
            if old.exists():
                old.rename(out)
            raise


def upload(folder: Path, repo: str, token: str | None = None) -> str:
    """Upload a release to the hub repository "organisation/name", which is made if it does not
    exist; the address of the commit. token: None for that of `hf auth login`.

    Raises ReleaseError if `folder` is no release, or if the hub refuses or cannot be reached.
    """
    if _released_tags(folder) is None:
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


def _checked(row: Mapping[str, Any], folder: Path) -> Sae:
    """The SAE of a row of the table, whole and the one that the row is about."""
    sae = files.load(folder)
    expected = (row["architecture"], None if math.isnan(row["k"]) else int(row["k"]))
    found = (sae.config.architecture, sae.config.k)
    if found != expected:
        raise ReleaseError(f"{folder}: architecture and k are {found}, in the section's table "
                           f"{expected}; run `make book`")
    return sae


def _shared(metadata: list[dict[str, Any]]) -> dict[str, Any]:
    """What all SAEs say alike."""
    first = metadata[0] if metadata else {}
    return {key: value for key, value in first.items()
            if all(key in other and other[key] == value for other in metadata)}


def _released_tags(folder: Path) -> set[str] | None:
    """The tags of a release of this project; None if the folder is not one."""
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
        ours = record["written_by"] == _WRITTEN_BY
        return set(record["weights_sha256"]) if ours else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ReleaseError(f"{out}: it is a file; choose a folder")
    tags = _released_tags(out)
    of_release = {Path(CARD), Path(MANIFEST)} if tags is not None else set()
    of_release |= {Path(tag) / name for tag in tags or () for name in (files.WEIGHTS, files.CFG)}
    held = {path.relative_to(out) for path in out.rglob("*")
            if not path.is_dir() or path.is_symlink()}
    foreign = sorted(held - of_release)
    if foreign:
        raise ReleaseError(f"{out}: holds {foreign[0]}, which is not of an earlier release; choose "
                           "another folder or empty this one")


def _card(run: SectionRun, profile: Profile, shared: Mapping[str, Any], repo: str | None) -> str:
    """The model card. Every number in it is one of the run's."""
    results, model = run.results, profile.models[0]
    base = model.source.repo if isinstance(model.source, HubModel) else None
    made = {"profile": results.profile, "seed": results.seed, "commit": results.commit,
            **shared, **results.versions}
    card = ModelCard.from_template(
        ModelCardData(license="mit", library_name="saelens", tags=_TAGS, base_model=base),
        template_path=str(TEMPLATE), section=run.section, results=results, profile=profile,
        model=model, repo=repo or "organisation/name", saes=run.table("saes").to_dict("records"),
        shared={name: of if isinstance(of, str) else json.dumps(of, ensure_ascii=False)
                for name, of in made.items()},
        measured=[of for of in results.values if of.tag is None and of.value is not None],
        cell=_cell, with_interval=with_interval)
    return f"{card.content}\n"


def _cell(value: float | str | None) -> str:
    """Three digits of a fraction; text that does not end a table's cell."""
    if value is None or value != value:  # noqa: PLR0124 - missing numbers are NaN
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() or abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
