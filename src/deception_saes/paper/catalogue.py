"""The sixteen sections. A new section is one line here and a notebook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deception_saes.store.files import checkout


@dataclass(frozen=True)
class Section:
    """A results section of the book."""

    number: int
    """As in "§23"."""
    name: str
    """Notebook name after `sNN_`."""
    part: str
    """The part of the book it stands in."""

    @property
    def key(self) -> str:
        """"s23": in file names, ids and units."""
        return f"s{self.number}"

    @property
    def stem(self) -> str:
        """File name of the notebook without its suffix."""
        return f"{self.key}_{self.name}"

    @property
    def title(self) -> str:
        """On pages: the notebook's first heading, without its number."""
        return _title(checkout() / "notebooks" / f"{self.stem}.py")


DECEPTION, SANDBAGGING = "Behavioural deception", "Sandbagging"

SECTIONS: dict[int, Section] = {
    section.number: section
    for section in (
        Section(17, "behavioural_sampling", DECEPTION),
        Section(18, "layer_sweep", DECEPTION),
        Section(19, "pca_robustness", DECEPTION),
        Section(20, "behavioural_saes", DECEPTION),
        Section(21, "sae_probes", DECEPTION),
        Section(22, "feature_attribution", DECEPTION),
        Section(23, "sandbagging_task", SANDBAGGING),
        Section(24, "full_sae_swap_primary", SANDBAGGING),
        Section(25, "sae_zoo", SANDBAGGING),
        Section(26, "full_sae_swap_smollm2", SANDBAGGING),
        Section(27, "head_sweep", SANDBAGGING),
        Section(28, "circuit_ablation", SANDBAGGING),
        Section(29, "neutral_prompts", SANDBAGGING),
        Section(30, "across_models", SANDBAGGING),
        Section(31, "full_sae_swap_tinyllama", SANDBAGGING),
        Section(32, "topk_against_jumprelu", SANDBAGGING),
    )
}


@cache
def _title(notebook: Path) -> str:
    text = notebook.read_text(encoding="utf-8")
    found = re.search(r"^# # §\d+ (.+)$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{notebook.name} has no heading \"# §NN Title\"; begin its first cell so")
    return found[1]
