"""SAEs of a release: a folder here, or a repository of the Hugging Face hub, with a folder for each
tag."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import httpx2  # what the hub client itself is built on
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from deception_saes.models.hub import cached_commit, why_not
from deception_saes.models.spec import HubModel
from deception_saes.saes import files
from deception_saes.saes.config import SaeError
from deception_saes.saes.sae import Sae
from deception_saes.store.files import sha256_files

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def content(source: str | Path) -> str:
    """What a release holds: a digest of a folder's SAEs, or the commit of a hub repository that the
    local cache holds. The name alone as long as nothing of it is here."""
    if Path(source).is_dir():
        found = sorted(path for name in (files.CFG, files.WEIGHTS)
                       for path in Path(source).glob(f"*/{name}"))
        names = [path.relative_to(source).as_posix() for path in found]
        return hashlib.sha256(repr((names, sha256_files(found))).encode()).hexdigest()
    return cached_commit(HubModel(str(source))) or str(source)


def load(source: str | Path, tag: str, revision: str = "main") -> Sae:
    """The SAE of this tag, float32 on the CPU.

    source: a folder that exists here, else "organisation/name" on the hub, from which it is fetched
        into the local hub cache. No server is asked if the cache holds it: a branch that has moved
        on changes no later run.
    revision: a branch, tag or commit of the hub's repository.
    Raises SaeError if `source` is neither, if the hub cannot be reached, refuses, or does not have
    the SAE, and as `files.load` does.
    """
    if not re.fullmatch(_NAME, tag):
        raise SaeError(f"{tag!r} is not a tag: a tag is one folder's name, of letters, digits, "
                       "\".\", \"_\" and \"-\"")
    if Path(source).is_dir():
        return files.load(Path(source) / tag)
    if not isinstance(source, str) or not re.fullmatch(f"{_NAME}/{_NAME}", source):
        raise SaeError(f"{source}: neither a folder here nor \"organisation/name\" on the hub; "
                       f"correct where {tag} is to come from")
    try:
        folder = _fetch(source, tag, revision)
    except LocalEntryNotFoundError as error:  # the client's word for "asked in vain, not here"
        why = why_not(error.__cause__ or error, HubModel(source, revision=revision))
    except EntryNotFoundError:
        why = (f"{source} has no SAE of this tag with {files.CFG} and {files.WEIGHTS} at revision "
               f"{revision}; look up its tags on its page")
    except httpx2.HTTPError as error:
        why = why_not(error, HubModel(source, revision=revision))
    else:
        return files.load(folder)
    raise SaeError(f"{source}, {tag}: {why}")


def _fetch(repo: str, tag: str, revision: str) -> Path:
    """The tag's folder in the cache. Both files are of one commit, even if the branch moves."""

    def download(name: str, revision: str, only_here: bool) -> Path:
        return Path(hf_hub_download(repo, f"{tag}/{name}", revision=revision,
                                    local_files_only=only_here))

    def both(only_here: bool) -> Path:
        folder = download(files.CFG, revision, only_here).parent
        download(files.WEIGHTS, folder.parent.name, only_here)
        return folder

    try:
        return both(only_here=True)
    except LocalEntryNotFoundError:
        return both(only_here=False)
