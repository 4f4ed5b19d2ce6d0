import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from scoremix.data.image_order import batch_indices, stream_seed


@given(n=st.integers(1, 300), seed=st.integers(-5, 2**40), start=st.integers(0, 5000), count=st.integers(0, 700))
@settings(max_examples=80, deadline=None)
def test_any_batch_is_a_slice_of_concatenated_permutations(n, seed, start, count):
    epochs = (start + count) // n + 1
    whole = batch_indices(n, seed, 0, epochs * n)
    assert (np.sort(whole.reshape(epochs, n), axis=1) == np.arange(n)).all()
    got = batch_indices(n, seed, start, count)
    assert got.dtype == np.int64 and np.array_equal(got, whole[start : start + count])


def test_restart_equals_undisturbed():
    whole = np.concatenate([batch_indices(1000, 3, s, 128) for s in range(0, 128 * 40, 128)])
    resumed = np.concatenate([batch_indices(1000, 3, 0, 999), batch_indices(1000, 3, 999, 128 * 40 - 999)])
    assert np.array_equal(whole, resumed)


def test_large_n_costs_only_the_batch():
    far = batch_indices(50_000_000_000, 1, 123_456_789_012, 100_000)
    assert (
        len(np.unique(far)) > 99_990 and far.min() >= 0 and far.max() < 50_000_000_000
    )  # crosses no epoch, so distinct
    assert abs(far.mean() / 50e9 - 0.5) < 0.01


def test_seeds_and_epochs_have_different_orders():
    orders = [tuple(batch_indices(50, seed, epoch * 50, 50)) for seed in range(20) for epoch in range(20)]
    assert len(set(orders)) == 400


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10])
def test_places_and_neighbours_are_uniform(n):
    epochs = 20_000
    orders = batch_indices(n, 11, 0, epochs * n).reshape(epochs, n)
    for place in (0, n // 2, n - 1):
        assert chisquare(np.bincount(orders[:, place], minlength=n)).pvalue > 1e-4
    pairs = np.bincount(orders[:, 0] * n + orders[:, 1], minlength=n * n)
    assert chisquare(pairs[~np.eye(n, dtype=bool).ravel()]).pvalue > 1e-4


def test_all_permutations_of_four_are_equally_likely():
    orders = batch_indices(4, 5, 0, 4 * 48_000).reshape(-1, 4) @ [64, 16, 4, 1]
    values, counts = np.unique(orders, return_counts=True)
    assert len(values) == 24 and chisquare(counts).pvalue > 1e-4


def test_the_order_is_frozen():
    # a change of these numbers breaks the resumption of every run in progress
    assert batch_indices(10, 0, 0, 12).tolist() == [8, 4, 1, 9, 2, 6, 3, 0, 5, 7, 8, 0]
    assert stream_seed(0, 1000, "noise") == 7669747614885306335


def test_stream_seed_separates_its_parts():
    seeds = [stream_seed(*p) for p in [(1, 2), (12,), ("1", 2), ("1", "2"), ("12",), (2, 1), (1, 2, ""), (), (-1, 2)]]
    assert len(set(seeds)) == len(seeds) and all(0 <= s < 2**63 for s in seeds)
    assert stream_seed(np.int64(7), "x") == stream_seed(7, "x")
    bits = np.unpackbits(np.array([stream_seed(i) for i in range(4000)], ">u8").view(np.uint8)).reshape(4000, 64)
    assert abs(bits[:, 1:].mean() - 0.5) < 0.01 and np.abs(bits[:, 1:].mean(0) - 0.5).max() < 0.05


def test_stream_seed_is_the_same_in_another_process():
    code = "from scoremix.data.image_order import stream_seed; print(stream_seed(3, 'a', 9))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(out) == stream_seed(3, "a", 9)


@pytest.mark.parametrize(
    "arguments, named",
    [((0, 0, 0, 1), "n"), ((5, 0, -1, 1), "start"), ((5, 0, 0, -1), "count"), ((5, 0, 2**63, 1), "start")],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=f"^{named} "):
        batch_indices(*arguments)


def test_floats_are_refused():
    with pytest.raises(TypeError):
        stream_seed(1.5)
