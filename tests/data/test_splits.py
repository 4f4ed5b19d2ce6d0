import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoremix.data.splits import SPLITS, by_fractions, checked, folded, from_list, subset

NAMES = [f"class {i}" for i in range(40)]


def named(splits, names):
    return {part: {names[i] for i in members} for part, members in splits.items()}


@given(n=st.integers(6, 400), seed=st.integers(0, 2**31), weights=st.tuples(*[st.integers(1, 20)] * 3))
@settings(max_examples=60, deadline=None)
def test_fractions_give_disjoint_parts_of_the_right_size(n, seed, weights):
    names = [f"n{i}" for i in range(n)]
    fractions = [w / sum(weights) for w in weights]
    splits = by_fractions(names, fractions, seed)
    assert list(splits) == list(SPLITS)
    assert np.array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(n))
    sizes = [len(splits[part]) for part in SPLITS]
    assert min(sizes) >= 2 and all((np.diff(m) > 0).all() for m in splits.values())
    if all(n * f >= 2 for f in fractions):
        assert all(abs(size - n * f) <= 1 + 1e-6 for size, f in zip(sizes, fractions, strict=True))


def test_folds_divide_training_and_validation_classes_alone():
    splits = by_fractions(NAMES, (0.6, 0.1, 0.3), 3)
    folds = folded(splits, NAMES, 3, 0)
    looked_at = np.concatenate([splits["train"], splits["validation"]])
    assert np.array_equal(np.sort(np.concatenate(folds)), np.sort(looked_at))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert all(1 <= np.isin(fold, splits["validation"]).sum() <= 2 for fold in folds)
    assert not np.array_equal(folds[0], folded(splits, NAMES, 3, 1)[0])


def test_fractions_do_not_depend_on_the_order_of_classes():
    shuffled = list(np.random.default_rng(0).permutation(NAMES))
    assert named(by_fractions(NAMES, (0.6, 0.1, 0.3), 3), NAMES) == named(
        by_fractions(shuffled, (0.6, 0.1, 0.3), 3), shuffled
    )
    assert named(by_fractions(NAMES, (0.6, 0.1, 0.3), 3), NAMES) != named(
        by_fractions(NAMES, (0.6, 0.1, 0.3), 4), NAMES
    )


def test_one_more_class_moves_few():
    before = named(by_fractions(NAMES, (0.6, 0.1, 0.3), 0), NAMES)
    after = named(by_fractions([*NAMES, "new"], (0.6, 0.1, 0.3), 0), [*NAMES, "new"])
    assert sum(len(before[part] - after[part]) for part in SPLITS) <= 2


def test_subset_keeps_proportions_and_is_contained_in_larger_ones():
    names = [f"n{i}" for i in range(500)]
    splits = by_fractions(names, (0.6, 0.1, 0.3), 0)
    previous = set()
    for classes in (6, 10, 50, 200, 499, 500, 900):
        kept = subset(splits, names, classes, 7)
        assert len(kept) == min(classes, 500) and (np.diff(kept) > 0).all()
        sizes = [len(np.intersect1d(kept, splits[part])) for part in SPLITS]
        assert min(sizes) >= 2
        if classes >= 50:
            assert np.abs(np.array(sizes) / len(kept) - (0.6, 0.1, 0.3)).max() < 0.02
        if classes in (50, 200, 500):  # no rounding
            assert previous <= set(kept.tolist())
            previous = set(kept.tolist())
    assert not np.array_equal(subset(splits, names, 50, 7), subset(splits, names, 50, 8))
    assert set(subset(splits, names, 499, 7)) < set(range(500))


def test_subset_of_lopsided_parts():
    splits = {"train": np.arange(2), "validation": np.arange(2, 4), "test": np.arange(4, 100)}
    kept = subset(splits, [str(i) for i in range(100)], 50, 0)
    assert len(kept) == 50 and {0, 1, 2, 3} <= set(kept.tolist())


FORMS = {
    "a.json": lambda table: json.dumps({name: part for part, members in table.items() for name in members}),
    "b.json": json.dumps,
    "c.csv": lambda table: "class,split\n" + "\n".join(f'"{n}",{p}' for p, ms in table.items() for n in ms) + "\n\n",
    "d.txt": lambda table: "\ufeff" + "\n".join(f"{n}, {p}" for p, ms in table.items() for n in ms),
}


@pytest.mark.parametrize("name", FORMS)
def test_lists_in_every_form(tmp_path, name):
    table = {"train": ["class 3", "class 1"], "val": ["class 7", "class 8"], "test": ["class 5", "class 30"]}
    file = tmp_path / name
    file.write_text(FORMS[name](table), "utf-8")
    splits = from_list(file, NAMES)
    assert {part: members.tolist() for part, members in splits.items()} == {
        "train": [1, 3],
        "validation": [7, 8],
        "test": [5, 30],
    }


def test_class_names_with_commas_survive_csv(tmp_path):
    names = ["a,b", 'c"d', "e", "f", "g", "h"]
    (tmp_path / "l.csv").write_text('"a,b",train\n"c""d",train\ne,test\nf,test\ng,val\nh,val\n')
    assert from_list(tmp_path / "l.csv", names)["train"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("l.csv", "class 1,train\nclass 99,test", "names 'class 99', not among the 40 .* did you mean"),
        ("l.csv", "class 1,train\nclass 2,test\nclass 1,test", "names 'class 1' more than once"),
        ("l.json", '{"class 1": "train", "class 1": "test"}', "names 'class 1' more than once"),
        ("l.json", '{"train": ["class 1"], "test": ["class 1"]}', "names 'class 1' more than once"),
        ("l.csv", "class 1,training", "has the split 'training', allowed are train, validation, test"),
        ("l.csv", "class 1,train,x", "has a line 'class 1,train,x', must be class,split"),
        ("l.csv", "class 1,train\nclass 2,train\nclass 3,val", "puts 1 classes in validation"),
        ("l.csv", "", "puts 0 classes in train"),
        ("l.json", "{", "must be JSON"),
        ("l.json", '{"class 1": 3}', "must be JSON"),
        ("l.json", "7", "must be JSON"),
        ("l.json", '["class 1"]', "must be JSON"),
        ("absent.csv", None, "does not exist"),
    ],
)  # fmt: skip
def test_bad_lists_are_refused_in_one_line(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        from_list(tmp_path / name, NAMES)
    assert "\n" not in str(caught.value)


def test_too_few_classes():
    with pytest.raises(ValueError, match=r"5 classes cannot be split .* at least 6 are needed"):
        by_fractions(NAMES[:5], (0.6, 0.1, 0.3), 0)
    assert [len(m) for m in by_fractions(NAMES[:6], (0.6, 0.1, 0.3), 0).values()] == [2, 2, 2]
    with pytest.raises(ValueError, match="at least 6"):
        subset(by_fractions(NAMES, (0.6, 0.1, 0.3), 0), NAMES, 5, 0)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.7, 0, 0.3), (0.6, 0.3, 0.3), (1.2, -0.4, 0.2)])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match=r"^fractions are"):
        by_fractions(NAMES, fractions, 0)


def test_repeated_names_and_bad_given_splits():
    with pytest.raises(ValueError, match="'class 1' more than once"):
        by_fractions([*NAMES, "class 1"], (0.6, 0.1, 0.3), 0)
    good = {"train": np.array([3, 2]), "validation": np.array([0, 1]), "test": np.array([4, 5])}
    assert checked(good, NAMES, "f")["train"].tolist() == [2, 3]
    for change in (
        {"test": np.array([4, 40])},
        {"test": np.array([3, 4])},
        {"test": np.array([4])},
        {"test": np.array([-1, 4])},
    ):
        with pytest.raises(ValueError, match=r"^f "):
            checked(good | change, NAMES, "f")
    with pytest.raises(ValueError, match="must be train, validation, test"):
        checked({"train": good["train"]}, NAMES, "f")
