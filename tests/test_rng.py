from deception_saes.rng import generator, subseed


def test_one_seed_and_purpose_give_one_stream():
    first, second = (generator(3, "heads", "draw").random(4).tolist() for _ in range(2))
    assert first == second


def test_seed_and_each_part_of_the_purpose_move_the_stream():
    seeds = {subseed(0, "a"), subseed(1, "a"), subseed(0, "b"), subseed(0, "a", "b"),
             subseed(0, "ab")}
    assert len(seeds) == 5


def test_a_subseed_is_one_that_torch_takes():
    assert all(0 <= subseed(seed, "x") < 2**63 for seed in range(50))
