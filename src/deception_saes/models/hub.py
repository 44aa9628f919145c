"""Models of the Hugging Face hub: find one in the local cache, fetch one into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2  # what the hub client itself is built on
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from deception_saes.models.spec import HubModel, ModelSpec, ModelUnavailable

# Configuration, weights and tokenizer of the top folder. A pickle (*.bin, *.pth) is never fetched.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_NOT_WANTED = ["*/*"]

_LOGIN = "log in with `hf auth login`"


def find_snapshot(source: HubModel) -> Path:
    """The folder of a hub model in the local cache. Asks no server.

    Raises ModelUnavailable if the cache does not hold it, or only a part of it.
    """
    command = f"hf download {source.repo}"
    if source.revision != "main":
        command += f" --revision {source.revision}"
    gate = f"accept its licence on the hub, {_LOGIN}, then " * source.gated
    advice = f"{gate}fetch it with `{command}`"
    try:
        folder = _snapshot(source, local_files_only=True)
    except IncompleteSnapshotError as error:
        folder = Path(error.snapshot_path)
        missing = _missing(folder) or ["some of its files"]
    except LocalEntryNotFoundError:
        raise ModelUnavailable(f"{source.repo}: not in the local Hugging Face cache; "
                               f"{advice}") from None
    else:
        missing = _missing(folder)
    if missing:
        raise ModelUnavailable(f"{source.repo}: the local Hugging Face cache lacks "
                               f"{', '.join(missing)}; {advice}")
    return folder


def cached_commit(source: HubModel) -> str | None:
    """The commit that the local cache holds of a repository's revision, whole or in part; None if
    it holds nothing of it. Asks no server."""
    try:
        return _snapshot(source, local_files_only=True).name
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path).name
    except LocalEntryNotFoundError:
        return None


def fetch(spec: ModelSpec) -> None:
    """Bring a hub model into the local cache, with the hub client's progress bars.

    Asks no server if the cache holds it: a branch that has moved on changes no later run. What
    does not come from the hub needs no fetching.
    Raises ModelUnavailable if the hub cannot be reached, refuses, or does not have it; an error of
    the disk stays what it is.
    """
    source = spec.source
    if not isinstance(source, HubModel) or _is_cached(source):
        return
    try:
        _snapshot(source)
    except LocalEntryNotFoundError as error:  # the client's word for "asked in vain, not here"
        why = why_not(error.__cause__ or error, source)
    except httpx2.HTTPError as error:
        why = why_not(error, source)
    else:
        find_snapshot(source)  # the hub may have no safetensors of it
        return
    raise ModelUnavailable(f"{source.repo}: {why}")


def _snapshot(source: HubModel, **options: Any) -> Path:
    # The same patterns for finding and fetching: the client counts a snapshot as whole by them.
    return Path(snapshot_download(source.repo, revision=source.revision, allow_patterns=_WANTED,
                                  ignore_patterns=_NOT_WANTED, **options))


def _is_cached(source: HubModel) -> bool:
    try:
        find_snapshot(source)
    except ModelUnavailable:
        return False
    return True


def _missing(folder: Path) -> list[str]:
    """The files of a snapshot that a model cannot be loaded without and that are not there; a
    link to nothing is not there."""
    needed = ["config.json", "tokenizer_config.json"]
    needed.append("tokenizer.model" if (folder / "tokenizer.model").is_file() else "tokenizer.json")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        needed.extend(sorted(set(shards)))
    else:
        needed.append("model.safetensors")
    return [name for name in needed if not (folder / name).is_file()]


def why_not(error: BaseException, source: HubModel) -> str:
    """Why the hub did not give a model, or files kept as one, and what to do, in one line."""
    hub = constants.ENDPOINT
    another_cache = "point HF_HUB_CACHE at a cache that holds it"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{hub} is not asked, since HF_HUB_OFFLINE is set; unset it, or {another_cache}"
    if not isinstance(error, HfHubHTTPError):
        first_line = str(error).partition("\n")[0]
        return (f"{hub} cannot be reached ({type(error).__name__}: {first_line}); check the "
                f"connection, or {another_cache}")
    if isinstance(error, RevisionNotFoundError):
        return f"{hub} has no revision {source.revision!r} of it; name one that it has"
    status = error.response.status_code
    answer = " ".join(f"{status} {error.server_message or ''}".split())
    # Whoever is not logged in is told 401 of a model that is gated, hidden or not there at all.
    hidden = isinstance(error, RepositoryNotFoundError) or status == 401
    if isinstance(error, GatedRepoError) or (source.gated and hidden):
        return (f"{hub} gives it only to those who have accepted its licence ({answer}); accept "
                f"it at {hub}/{source.repo}, {_LOGIN}, then fetch it again")
    if hidden:
        return (f"{hub} has no model of this name, or hides it ({answer}); check the name and, "
                f"if it is private, {_LOGIN}")
    advice = f"{_LOGIN} with a token that may read it" if status == 403 else "try again later"
    return f"{hub} answered {answer}; {advice}"
