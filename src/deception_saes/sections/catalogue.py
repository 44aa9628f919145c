"""The sixteen sections. A new section is one line here, a module beside it and a notebook."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """number: as in "§23". name: notebook name after `sNN_`. title: on pages. part: of the book."""

    number: int
    name: str
    title: str
    part: str

    @property
    def key(self) -> str:
        """"s23": in file names, ids and units."""
        return f"s{self.number}"

    @property
    def stem(self) -> str:
        """File name of the notebook without its suffix."""
        return f"{self.key}_{self.name}"

    @property
    def module(self) -> str:
        return f"deception_saes.sections.{self.key}"

    @property
    def is_written(self) -> bool:
        """Whether this version of the book has the section."""
        return importlib.util.find_spec(self.module) is not None


DECEPTION, SANDBAGGING = "Behavioural deception", "Sandbagging"

SECTIONS: dict[int, Section] = {
    section.number: section
    for section in (
        Section(17, "behavioural_sampling", "Behavioural sampling", DECEPTION),
        Section(18, "layer_sweep", "Layer sweep", DECEPTION),
        Section(19, "pca_robustness", "PCA robustness", DECEPTION),
        Section(20, "behavioural_saes", "Behavioural SAE grid", DECEPTION),
        Section(21, "sae_probes", "SAE probes", DECEPTION),
        Section(22, "feature_attribution", "Feature attribution", DECEPTION),
        Section(23, "sandbagging_task", "The sandbagging task", SANDBAGGING),
        Section(24, "full_sae_swap_primary", "Full-SAE-swap, primary model", SANDBAGGING),
        Section(25, "sae_zoo", "SAE zoo", SANDBAGGING),
        Section(26, "full_sae_swap_smollm2", "Full-SAE-swap, SmolLM2", SANDBAGGING),
        Section(27, "head_sweep", "Head sweep", SANDBAGGING),
        Section(28, "circuit_ablation", "Circuit ablation", SANDBAGGING),
        Section(29, "neutral_prompts", "Neutral prompts", SANDBAGGING),
        Section(30, "across_models", "Across models", SANDBAGGING),
        Section(31, "full_sae_swap_tinyllama", "Full-SAE-swap, TinyLlama", SANDBAGGING),
        Section(32, "topk_against_jumprelu", "TopK against JumpReLU", SANDBAGGING),
    )
}


def written_sections() -> list[Section]:
    """The sections that this version of the book has."""
    return [section for section in SECTIONS.values() if section.is_written]
