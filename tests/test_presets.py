"""Presets: EDM2's published sizes, and face recognition's published recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scoremix.config import Generator, load
from scoremix.config.arms import named
from scoremix.config.presets import EDM2_SIZES, PRESETS, RECIPES, edm2_generator, experiment, run_name
from scoremix.config.study import StudyConfig
from scoremix.data.splits import by_fractions
from scoremix.diffusion.training import learning_rate
from scoremix.diffusion.unet import EDM2, ResidualBlock
from scoremix.recognition.iresnet import build
from scoremix.recognition.training import learning_rate as recognizer_rate
from scoremix.stages.train.generator import guide_taken_at

PUBLISHED = {"xxs": 31, "xs": 125, "s": 280, "m": 498, "l": 777, "xl": 1119, "xxl": 1523}  # million, 1000 classes


def built(size: str, img_resolution: int = 64, label_dim: int = 1000, **options: object) -> EDM2:
    config = edm2_generator(size)
    names = ("model_channels", "channel_mult", "num_blocks", "attention", "dropout")
    with torch.device("meta"):
        return EDM2(img_resolution, 3, label_dim, **{**{n: getattr(config, n) for n in names}, **options})


def millions(net: EDM2) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


def attending(net: EDM2) -> int:
    return sum(bool(block.heads) for block in net.modules() if isinstance(block, ResidualBlock))


@pytest.mark.parametrize("size", PUBLISHED)
def test_sizes_are_the_published_ones(size: str):
    assert round(millions(built(size))) == PUBLISHED[size]
    assert PRESETS[f"edm2-{size}"]().generator == edm2_generator(size)


def test_attention_sits_at_the_two_deepest_levels_at_any_side():
    assert attending(built("s")) == attending(built("s", attn_resolutions=[16, 8])) == 15  # the official layout
    assert attending(built("s", 112)) == 15
    assert attending(built("s", 112, attn_resolutions=[])) == 1
    assert millions(built("s", 112, 10_000, attn_resolutions=[])) == pytest.approx(261.3, abs=0.1)
    with pytest.raises(ValueError, match="img_resolution=100: must be a multiple of 8"):
        built("xxs", 100)
    with pytest.raises(ValueError, match="none is the side of a level"):
        built("xxs", 112, attn_resolutions=[16, 8])


def test_schedule_is_the_published_one():
    config = edm2_generator("s")
    rate = lambda nimg: learning_rate(
        nimg, config.lr, config.decay_start * config.images_seen, config.rampup * config.images_seen
    )
    assert config.images_seen == 1024 * 2**20 and config.batch == 2048
    assert rate(5e6) == pytest.approx(0.005) and rate(60e6) == pytest.approx(0.01)
    assert rate(4 * 35_000 * 2048) == pytest.approx(0.005)


def test_a_guides_snapshot_waits_for_the_end_of_the_rampup():
    config = RECIPES["webface160k"].make().generator
    assert 0 <= guide_taken_at(config) - 10_000_000 < config.batch
    short = Generator(images_seen=8000, batch=10)
    assert guide_taken_at(short) == 1000
    assert guide_taken_at(short.model_copy(update={"rampup": 0.5})) == 4000
    assert guide_taken_at(short.model_copy(update={"rampup": 0.0, "guide_at": 0.0})) == 10


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match=r"'xxxl'.* xxs, xs, s"):
        edm2_generator("xxxl")
    assert list(EDM2_SIZES) == list(PUBLISHED)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_build_their_networks_and_schedules(name: str):
    exp = RECIPES[name].make()
    assert exp.name == name and (exp.data.size, exp.data.channels) == (112, 3)
    with torch.device("meta"):
        build(exp.recognizer.network)
    assert exp.recognizer.batch * exp.recognizer.epochs in (512 * 26, 1024 * 20)


@pytest.mark.parametrize("name", [name for name in sorted(RECIPES) if not name.startswith("webface160k")])
def test_recipes_for_any_set_train_on_all_but_a_few_identities(name: str):
    data = RECIPES[name].make().data
    assert data.classes is None
    for identities in (10_575, 85_742):  # CASIA-WebFace's, MS1MV2's
        sizes = [len(members) for members in by_fractions([*map(str, range(identities))], data.fractions, 0).values()]
        assert sizes[0] >= 0.9996 * identities and min(sizes) >= 2


def test_adafaces_rate_falls_after_12_20_and_24_epochs():
    recognizer = RECIPES["adaface-ir50"].make().recognizer
    steps = 100 * 26
    falls = [round(steps * epoch / recognizer.epochs) for epoch in recognizer.milestones]
    rates = [recognizer_rate(step, steps, recognizer.lr, milestones=falls) for step in (0, 1199, 1200, 2000, 2400)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001])


def test_the_papers_experiment_trains_on_ten_thousand_classes():
    exp = RECIPES["webface160k"].make()
    names = [str(k) for k in range(exp.data.classes)]
    sizes = {part: len(members) for part, members in by_fractions(names, exp.data.fractions, 0).items()}
    assert sizes == {"train": 10_000, "validation": 100, "test": 100}
    assert exp.selection.count * exp.sampling.images_per_mplet == 200_000


def test_who_names_arms_names_what_is_judged() -> None:
    """A folder of one's own chooses among its candidates, unless other arms or another judge are asked for."""
    for settings, judged, arms in (
        ([], None, ["real", "equal_steps", "averages_75", "cutmixes", "scoremix", "coherent_75"]),
        (["arms=real,equal_steps,scoremix"], "scoremix", ["real", "equal_steps", "scoremix"]),
        (["arms=real,equal_steps,scoremix,first"], "coherent_75", None),
        (["arms=real,equal_steps,coherent_first"], "coherent_first", None),
        (["arms=real,auggen"], "scoremix", ["real", "equal_steps", "scoremix", "auggen"]),
        (["arms=real,equal_steps,auggen", "evaluation.treatment=auggen"], "auggen", None),
    ):
        exp = load(PRESETS["folder"](), (), settings, named)
        assert (exp.choice is not None) == (judged is None)
        assert judged is None or exp.evaluation.treatment == judged
        assert arms is None or set(exp.arms) == set(arms)


@pytest.mark.parametrize(
    ("preset", "weight"), [("webface160k", 0.8), ("webface160k-ir101", 0.8), ("adaface-ir50", 0.7), ("demo", 0.7)]
)
def test_auggen_has_the_weights_its_authors_chose_for_the_set(preset: str, weight: float) -> None:
    data = None if preset in ("demo", "webface160k", "webface160k-ir101") else "faces"
    arms = experiment(preset, data=data, arms="auggen,auggen_alone,auggen_searched").arms
    for name in ("auggen", "auggen_alone"):
        assert arms[name].sampling["weights"] == [weight, weight]
    assert f"({weight:g}, {weight:g})".replace("0.", ".") in arms["auggen"].note
    assert experiment(preset, data=data).arms == PRESETS[preset]().arms  # nothing more is trained unless asked for
    own = StudyConfig.model_validate(
        {"name": "s", "arms": ["auggen"], "headline": ["auggen"], "data": {"d": {"preset": preset, "source": "faces"}}}
    )
    assert own.experiment("d", 0).arms["auggen"] == arms["auggen"]


def test_a_run_is_named_after_its_folder_or_after_its_file_without_the_ending(tmp_path: Path) -> None:
    (tmp_path / "a.b").mkdir()
    assert run_name(tmp_path / "a.b") == "a.b"
    assert run_name(tmp_path / "omniglot.npz") == "omniglot"
    assert run_name(tmp_path / "store") == "of-store"
