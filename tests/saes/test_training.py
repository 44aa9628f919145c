"""Training of one SAE: what it learns, that a seed decides every bit, and what it refuses."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from deception_saes.saes import steps, training
from deception_saes.saes.config import Recipe, SaeConfig, SaeError
from deception_saes.saes.files import CFG, WEIGHTS, save
from deception_saes.saes.quality import quality
from deception_saes.saes.registry import ARCHITECTURES, architecture
from deception_saes.saes.steps import CapturedSteps, Scaled, StepsByHand, rate_left
from deception_saes.saes.topk import TopKRule
from deception_saes.saes.training import Job, fold, train, untrained
from deception_saes.store.files import sha256_file

D_IN, D_SAE, PLANTED = 16, 48, 24
METADATA = {"model_name": "none", "hook_name": "model.layers.0", "prepend_bos": False,
            "context_size": 1}
SPARSITY = {"topk": {}, "gated": {"l1": 0.2},
            "jumprelu": {"target_l0": 2.0, "l0": 0.1, "threshold_rate": 10.0}}
SHORT = Recipe(epochs=4, batch_size=32, learning_rate=3e-3, decay=0.5)


def planted(rows, seed=0):
    """Rows of two of PLANTED directions each, behind a mean and a scale; and the directions."""
    directions = np.random.default_rng(99).normal(size=(PLANTED, D_IN))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    random = np.random.default_rng(seed)
    strength = np.zeros((rows, PLANTED))
    for row in strength:
        row[random.choice(PLANTED, 2, replace=False)] = random.uniform(1, 2, 2)
    x = strength @ directions * 3 + 5 * np.arange(D_IN)
    return torch.tensor(x, dtype=torch.float32), directions


def job_of(name, recipe=SHORT, rows=200, **changed):
    config = SaeConfig(name, D_IN, D_SAE, 2 if name == "topk" else None, metadata=METADATA)
    return Job(f"{name} of the test", dataclasses.replace(config, **changed), recipe,
               np.arange(rows))


@pytest.fixture(scope="module")
def x():
    return planted(200)[0]


@pytest.fixture(params=[*SPARSITY.items(), ("jumprelu", {"learn_threshold": False})])
def name_and_sparsity(request):
    return request.param


@pytest.fixture(params=ARCHITECTURES)
def job(request):
    return job_of(request.param)


def assert_same(one, other):
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        assert torch.equal(weight, other.weights[name]), name


def differ(one, other):
    return [n for n, weight in one.weights.items() if not torch.equal(weight, other.weights[n])]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_planted_features_are_found(name):
    rows, directions = planted(1500)
    job = job_of(name, Recipe(epochs=20, batch_size=50, learning_rate=5e-3, decay=0.3,
                              **SPARSITY[name]), len(rows))
    fresh, _ = planted(500, seed=1)

    def found(sae):
        of = quality(sae, fresh)
        nearest = np.abs(directions @ sae.weights["W_dec"].numpy().T).max(axis=1)
        return of.explained_variance, of.l0, float(np.median(nearest))

    (before, _, random), (after, l0, learnt) = found(untrained(job, rows, 0)), found(
        train(job, rows, 0).sae)
    assert before < 0.6
    assert after > 0.9
    assert l0 < 4
    assert random < 0.7
    assert learnt > 0.92


def test_a_seed_decides_every_byte_and_another_seed_others(job, x, tmp_path):
    digests = []
    for run, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(run)
        save(train(job, x, seed).sae, folder)
        digests.append([sha256_file(folder / name) for name in (WEIGHTS, CFG)])
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[2][0]


def test_seed_and_name_decide_the_weights_to_start_from(job, x):
    first = untrained(job, x, 0)
    assert "W_enc" in differ(first, untrained(dataclasses.replace(job, name="another"), x, 0))
    assert "W_enc" in differ(first, untrained(job, x, 1))
    assert not differ(first, untrained(job, x, 0))


@pytest.fixture
def steps_of_topk(monkeypatch):
    """What every step of TopK is given, and which features fired in it."""
    seen, step = [], TopKRule.step

    def watched(rule, x_BD, dead):
        loss = step(rule, x_BD, dead)
        seen.append((x_BD.clone(), set(dead.tolist()), rule.fired.clone()))
        return loss

    monkeypatch.setattr(TopKRule, "step", watched)
    return seen


def test_every_row_is_seen_once_an_epoch_in_an_order_of_seed_name_and_epoch(steps_of_topk):
    rows = torch.arange(96.0)[:, None].repeat(1, D_IN)
    job = job_of("topk", dataclasses.replace(SHORT, epochs=2), rows=96)

    def orders(seed, name):
        steps_of_topk.clear()
        train(dataclasses.replace(job, name=name), rows, seed)
        seen = torch.cat([x_BD[:, 0] for x_BD, *_ in steps_of_topk]).unflatten(0, (2, 96))
        values, order = seen.sort(dim=1)
        assert torch.equal(values[0], values[1])
        assert len(values[0].unique()) == 96
        return [tuple(of_epoch.tolist()) for of_epoch in order]

    first = orders(0, "one")
    assert orders(0, "one") == first
    assert len({*first, *orders(1, "one"), *orders(0, "other")}) == 6


def test_a_feature_is_dead_once_it_was_silent_for_the_window(x, steps_of_topk):
    recipe = dataclasses.replace(SHORT, epochs=8, dead_window=0.1, learning_rate=1e-2)
    train(job_of("topk", recipe), x, 0)
    window = math.ceil(0.1 * len(steps_of_topk) * 32)
    silent, ever_revived = torch.zeros(D_SAE), 0
    for _, dead, fired in steps_of_topk:
        assert dead == set((silent >= window).nonzero()[:, 0].tolist())
        ever_revived += int(fired[list(dead)].sum())
        silent = (silent + 32) * ~fired
    assert any(dead for _, dead, _ in steps_of_topk)
    assert ever_revived > 0


def test_training_draws_nothing_from_torch_and_leaves_the_activations_alone(job, x):
    state, kept, threads = torch.get_rng_state(), x.clone(), torch.get_num_threads()
    first = train(job, x, 0).sae
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, kept)
    assert torch.get_num_threads() == threads
    torch.manual_seed(123)
    assert_same(train(job, x, 0).sae, first)


def test_rows_that_are_not_chosen_do_not_matter(job, x):
    among = torch.full((1 + 2 * len(x), D_IN), float("nan"))
    among[1::2] = x
    chosen = dataclasses.replace(job, rows=1 + 2 * job.rows)
    assert_same(train(chosen, among, 0).sae, train(job, x, 0).sae)
    assert_same(untrained(chosen, among, 0), untrained(job, x, 0))


def test_decoder_rows_are_of_unit_norm(job, x):
    for sae in (train(job, x, 0).sae, untrained(job, x, 0)):
        torch.testing.assert_close(sae.weights["W_dec"].norm(dim=1), torch.ones(D_SAE))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_folded_weights_do_to_raw_rows_what_the_rule_does_to_scaled_ones(name):
    random = torch.Generator().manual_seed(0)
    config = job_of(name).config
    weights = {n: torch.randn(*shape, generator=random, dtype=torch.float64)
               for n, shape in architecture(name).sae.shapes(config).items()}
    if "threshold" in weights:
        weights["threshold"].abs_()
    rule = architecture(name).rule(config, SHORT, weights)
    mean_D = 1000 * torch.randn(D_IN, generator=random, dtype=torch.float64)
    scale, scaled = 70.0, torch.randn(50, D_IN, generator=random, dtype=torch.float64)
    before = {n: weight.clone() for n, weight in weights.items()}
    inner = architecture(name).sae(config, weights)
    outer = architecture(name).sae(config, fold(rule, Scaled(scaled, mean_D, scale)))
    raw = scaled * scale + mean_D
    features = inner.encode(scaled)
    torch.testing.assert_close(outer.encode(raw), scale * features, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(outer.decode(outer.encode(raw)),
                               scale * inner.decode(features) + mean_D)
    assert 0 < (features > 0).double().mean() < 1
    for n, weight in before.items():
        assert torch.equal(rule.weights[n], weight)
        assert outer.weights[n].data_ptr() != rule.weights[n].data_ptr()


def test_rows_of_another_mean_and_scale_give_the_same_sae_in_their_units(job, x):
    # powers of two and a mean that float32 holds exactly: the scaled rows are then almost the same
    moved = (x - x.mean(0)) * 64 + 1024.0
    of_x, of_moved = (train(job, rows, 0).sae for rows in (x, moved))
    features, far = of_x.encode(x), of_moved.encode(moved)
    assert torch.median((far - 64 * features).abs() / (64 * features).clamp(min=1e-9)) < 1e-2
    assert quality(of_moved, moved).explained_variance == pytest.approx(
        quality(of_x, x).explained_variance, abs=0.01)
    torch.testing.assert_close(of_moved.weights["W_enc"], of_x.weights["W_enc"],
                               rtol=0.02, atol=0.02)


def test_the_untrained_sae_is_the_one_that_training_starts_from(job, x):
    recipe = dataclasses.replace(job.recipe, epochs=1, learning_rate=1e-12)
    still = dataclasses.replace(job, recipe=recipe)
    started = untrained(still, x, 0)
    for name, weight in train(still, x, 0).sae.weights.items():
        torch.testing.assert_close(weight, started.weights[name], rtol=1e-6, atol=1e-6)
    assert differ(started, train(job, x, 0).sae)


def test_the_error_is_that_of_rows_scaled_to_a_mean_square_of_one(job, x):
    recipe = dataclasses.replace(job.recipe, epochs=2, learning_rate=1e-12, batch_size=25)
    still = dataclasses.replace(job, recipe=recipe)
    # the mean square of the scaled rows is 1, so the error is the share that is not explained
    assert train(still, x, 0).mse == pytest.approx(
        1 - quality(untrained(still, x, 0), x).explained_variance, rel=1e-4)


def test_progress_counts_whole_batches_alone(job, x):
    steps = []
    trained = train(job, x, 0, progress=steps.append)
    assert steps == [200 // 32] * 4
    assert trained.seconds > 0


class Interrupted(Exception):
    pass


def interrupt_in_epoch(epoch):
    done = []

    def progress(steps):
        done.append(steps)
        if len(done) == epoch:
            raise Interrupted

    return progress


@pytest.fixture
def every_epoch_kept(monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("steps_of", [StepsByHand, CapturedSteps])
def test_a_resumed_training_gives_the_bits_of_an_undisturbed_one(
        job, x, tmp_path, every_epoch_kept, epoch, steps_of, monkeypatch):
    monkeypatch.setattr(training, "StepsByHand", steps_of)
    # the window is short, so that what has been silent for long matters
    job = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, dead_window=0.3))
    kept, steps = tmp_path / "kept.safetensors", []
    with pytest.raises(Interrupted):
        train(job, x, 0, kept, interrupt_in_epoch(epoch))
    resumed = train(job, x, 0, kept, steps.append)
    assert len(steps) == 4 - (epoch - 1)
    whole = train(job, x, 0)
    assert_same(resumed.sae, whole.sae)
    assert resumed.mse == whole.mse


def test_a_finished_training_is_not_done_again(job, x, tmp_path):
    kept, steps = tmp_path / "kept.safetensors", []
    first = train(job, x, 0, kept)
    again = train(job, x, 0, kept, steps.append)
    assert steps == []
    assert (again.seconds, again.mse) == (first.seconds, first.mse)
    assert_same(again.sae, first.sae)


def test_without_enough_time_gone_by_only_the_end_is_kept(job, x, tmp_path):
    kept = tmp_path / "kept.safetensors"
    with pytest.raises(Interrupted):
        train(job, x, 0, kept, interrupt_in_epoch(4))
    assert not kept.exists()


def test_seconds_of_all_sessions_are_summed(x, tmp_path, every_epoch_kept, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))
    job, kept = job_of("topk"), tmp_path / "kept.safetensors"
    with pytest.raises(Interrupted):
        train(job, x, 0, kept, interrupt_in_epoch(3))
    assert train(job, x, 0, kept).seconds == 4.0  # one tick an epoch


def test_a_checkpoint_of_another_shape_is_refused_by_name(job, x, tmp_path):
    kept = tmp_path / "kept.safetensors"
    train(job, x, 0, kept)
    wider = dataclasses.replace(job, config=dataclasses.replace(job.config, d_sae=D_SAE + 8))
    with pytest.raises(SaeError, match=r"kept\.safetensors"):
        train(wider, x, 0, kept)


@pytest.mark.parametrize("harm", [
    lambda data: data[:-7], lambda data: b"", lambda data: b"not a checkpoint",
    lambda data: data.replace(b'"epochs"', b'"epoxhs"'),
])
def test_a_broken_checkpoint_is_refused_by_name(x, tmp_path, harm):
    job, kept = job_of("topk"), tmp_path / "kept.safetensors"
    train(job, x, 0, kept)
    kept.write_bytes(harm(kept.read_bytes()))
    with pytest.raises(SaeError, match=r"kept\.safetensors"):
        train(job, x, 0, kept)


@pytest.mark.parametrize(("decay", "expected"), [
    (0.0, [1, 1, 1, 1, 1]), (1.0, [1, 0.9, 0.5, 0.25, 0.01]), (0.5, [1, 1, 1, 0.5, 0.02]),
    (0.05, [1, 1, 1, 1, 0.2]),
])
def test_the_rate_falls_to_zero_over_the_last_steps(decay, expected):
    recipe = Recipe(epochs=1, decay=decay)
    assert [rate_left(recipe, step, 100) for step in (0, 10, 50, 75, 99)] == pytest.approx(expected)


def test_every_step_learns_at_its_own_rate(x, monkeypatch):
    asked = []

    def never(recipe, step, steps):
        asked.append((step, steps))
        return 0.0

    monkeypatch.setattr("deception_saes.saes.steps.rate_left", never)
    job = job_of("jumprelu")
    still = train(job, x, 0).sae
    assert asked == [(step, 24) for step in range(24)]
    for name, weight in untrained(job, x, 0).weights.items():
        torch.testing.assert_close(still.weights[name], weight, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"decay": 0.0, "dead_window": 0.05},
                                     {"frozen_decoder": True}])
def test_steps_of_a_gpu_learn_what_those_by_hand_do(x, name_and_sparsity, options, monkeypatch):
    name, sparsity = name_and_sparsity
    job = job_of(name, dataclasses.replace(SHORT, **sparsity, **options))
    by_hand = train(job, x, 0)
    monkeypatch.setattr(training, "StepsByHand", CapturedSteps)
    by_loss = train(job, x, 0)
    assert by_loss.mse == pytest.approx(by_hand.mse, rel=1e-4)
    for n, weight in by_hand.sae.weights.items():
        torch.testing.assert_close(by_loss.sae.weights[n], weight, rtol=1e-3, atol=1e-3)
    assert differ(by_loss.sae, untrained(job, x, 0))


def test_every_thread_may_compile_for_many_sizes(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = steps._compiled(lambda x_N, size: x_N + size)
    zero, limit = torch.zeros(1), torch._dynamo.config.recompile_limit
    with ThreadPoolExecutor(1) as pool:
        for size in range(limit + 2):
            assert int(compiled(zero, size)) == int(pool.submit(compiled, zero, size).result())
    assert torch._dynamo.config.recompile_limit == limit


def test_a_threshold_learns_faster_by_its_own_rate(x):
    def moved(rate):
        recipe = Recipe(epochs=1, batch_size=200, learning_rate=1e-3, threshold_rate=rate)
        job = job_of("jumprelu", recipe)
        before, after = untrained(job, x, 0).weights, train(job, x, 0).sae.weights
        return {n: float((after[n] - before[n]).abs().max()) for n in ("threshold", "b_enc")}

    # the first step of Adam is as long as the rate, whatever the gradient
    scale = float((x - x.mean(0)).square().mean().sqrt())
    assert moved(1.0) == pytest.approx({"threshold": 1e-3 * scale, "b_enc": 1e-3 * scale}, rel=0.01)
    assert moved(5.0) == pytest.approx({"threshold": 5e-3 * scale, "b_enc": 1e-3 * scale}, rel=0.01)


@pytest.mark.parametrize("target", [3.0, 12.0])
def test_l0_comes_near_its_target(target):
    rows, _ = planted(1000)
    recipe = Recipe(epochs=20, batch_size=40, learning_rate=5e-3, decay=0.5, l0=0.1,
                    threshold_rate=10.0, target_l0=target)
    job = job_of("jumprelu", recipe, len(rows))
    assert quality(train(job, rows, 0).sae, rows).l0 == pytest.approx(target, rel=0.1)
    assert quality(untrained(job, rows, 0), rows).l0 == pytest.approx(target, rel=0.35)


def test_without_a_target_thresholds_start_where_the_recipe_says(x):
    scale = float((x - x.mean(0)).square().mean().sqrt())
    start = untrained(job_of("jumprelu", dataclasses.replace(SHORT, initial_threshold=0.3)), x, 0)
    length = start.weights["W_enc"].norm(dim=0)
    assert (start.weights["threshold"] / length).tolist() == pytest.approx([0.3 * scale] * D_SAE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_multiple_of_the_first_features_reconstructs_better(name):
    rows = planted(400)[0]
    start = untrained(job_of(name, SHORT, len(rows)), rows, 0)
    features, bias = start.encode(rows), start.weights["b_dec"]

    def error(times):
        return float((times * (start.decode(features) - bias) + bias - rows).square().mean())

    assert error(1.0) < min(error(0.98), error(1.02))
    assert (start.weights["W_enc"].norm(dim=0) < 0.9).all()  # unit length is too long


@pytest.mark.parametrize("target", [None, 4.0])
def test_without_learning_them_thresholds_stay_zero_and_half_of_the_features_are_active(x, target):
    recipe = Recipe(epochs=10, batch_size=25, learn_threshold=False, target_l0=target, l0=1.0)
    sae = train(job_of("jumprelu", recipe), x, 0).sae
    assert not sae.weights["threshold"].any()
    assert D_SAE / 3 < quality(sae, x).l0 < 2 * D_SAE / 3


def test_dead_features_come_to_life_by_the_auxiliary_loss_alone(monkeypatch):
    # half of the features see the first four coordinates, the others next to nothing; a row has
    # one of the first and one of the last coordinates, and only one feature may describe it
    random = np.random.default_rng(0)
    rows = np.zeros((1000, 8))
    for row in rows:
        for place in (random.integers(4), 4 + random.integers(4)):
            row[place] = random.choice([-1, 1]) * random.uniform(1, 2)
    rows = torch.tensor(rows, dtype=torch.float32)

    def initial(config, recipe, tied, sample):
        axes, away = torch.eye(8)[:4], tied["W_dec"][8:]
        decoder = torch.cat([axes, -axes, away])
        encoder = torch.cat([axes, -axes, 0.01 * away]).T.contiguous()
        return {**tied, "W_dec": decoder, "W_enc": encoder, "b_enc": torch.zeros(16)}

    monkeypatch.setattr(TopKRule, "initial", staticmethod(initial))

    def dead_share(aux_weight):
        recipe = Recipe(epochs=40, batch_size=50, learning_rate=2e-3, aux_weight=aux_weight)
        job = Job("half dead", SaeConfig("topk", 8, 16, 1), recipe, np.arange(1000))
        return quality(train(job, rows, 0).sae, rows).dead_share

    assert dead_share(0.0) == 0.5
    assert dead_share(1 / 32) < 0.2


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("steps_of", [StepsByHand, CapturedSteps])
def test_a_frozen_decoder_stays_as_it_starts_and_all_else_learns(name, x, steps_of, monkeypatch):
    monkeypatch.setattr(training, "StepsByHand", steps_of)
    whole, frozen = (job_of(name, dataclasses.replace(SHORT, frozen_decoder=is_frozen))
                     for is_frozen in (False, True))
    start = untrained(frozen, x, 0)
    assert differ(start, untrained(whole, x, 0)) == []
    assert differ(start, train(whole, x, 0).sae) == list(start.weights)
    assert differ(start, train(frozen, x, 0).sae) == [n for n in start.weights if n != "W_dec"]


@pytest.mark.parametrize("do", [train, untrained])
@pytest.mark.parametrize(("change", "message"), [
    (lambda job, x: (job, x.index_put((torch.tensor(3), torch.tensor(1)), torch.tensor(math.nan))),
     "topk of the test: 1 "),
    (lambda job, x: (job, x.index_put((torch.tensor([3, 5]),), torch.tensor(math.inf))),
     "topk of the test: 2 "),
    (lambda job, x: (job, x[:1].expand_as(x)), "topk of the test: all 200 "),
    (lambda job, x: (dataclasses.replace(job, rows=np.arange(31)), x),
     "topk of the test: 31 .* 32"),
    (lambda job, x: (job, x[:, :-1]), r"topk of the test: .*\[200, 15\]"),
    (lambda job, x: (job, x[0]), r"topk of the test: .*\[16\]"),
    (lambda job, x: (job_of("topk", k=D_SAE + 1), x), "k is 49.* 48"),
    (lambda job, x: (job_of("topk", k=0), x), "k is 0"),
    (lambda job, x: (job_of("topk", k=None), x), "TopK"),
    (lambda job, x: (job_of("topk", d_sae=0, k=1), x), "k is 1.* 0"),
    (lambda job, x: (job_of("jumprelu", d_sae=0), x), "d_sae 0"),
    (lambda job, x: (job_of("topk", architecture="vanilla"), x),
     "'vanilla'.*topk"),
    (lambda job, x: (job_of("topk", dataclasses.replace(SHORT, bfloat16=True)), x),
     "topk of the test: .*bfloat16.* cpu"),
])
def test_what_cannot_be_trained_is_refused(x, do, change, message):
    job, rows = change(job_of("topk"), x)
    with pytest.raises(SaeError, match=message):
        do(job, rows, 0)


def test_a_batch_of_all_rows_is_enough(x):
    job = job_of("topk", dataclasses.replace(SHORT, batch_size=200, epochs=1))
    assert train(job, x, 0).sae.config == job.config


def test_a_training_that_diverges_is_an_error(x):
    with pytest.raises(SaeError, match="diverged"):
        train(job_of("topk", dataclasses.replace(SHORT, learning_rate=1e38)), x, 0)


@pytest.mark.parametrize(("name", "value"), [
    ("epochs", 0), ("batch_size", 0), ("learning_rate", 0.0), ("learning_rate", math.nan),
    ("learning_rate", math.inf), ("bandwidth", -0.1), ("dead_window", 0.0), ("l1", -1e-3),
    ("l0", math.nan), ("initial_threshold", -0.1), ("aux_weight", -1.0), ("decay", -0.1),
    ("decay", 1.1), ("target_l0", 0.0), ("target_l0", -3.0), ("target_l0", math.nan),
])
def test_a_recipe_refuses_what_cannot_be_by_name(name, value):
    with pytest.raises(SaeError, match=f"recipe: {name} is {value}"):
        Recipe(**{"epochs": 1, name: value})
