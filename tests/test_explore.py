"""The explorer: what it makes can be made again, what it says is so, and its page works in a browser."""

from __future__ import annotations

import io
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from scoremix.config import Runtime
from scoremix.config.study import DataSet, StudyConfig
from scoremix.execution.artifacts import Artifact
from scoremix.execution.store import Store
from scoremix.execution.work import Work
from scoremix.explore import mplets, people, view
from scoremix.explore.opened import ExploredMix, MixRequest, OpenedRun
from scoremix.outputs.images import write_mixed
from scoremix.stages.mix.sample import noise_seeds
from scoremix.stages.show.magnitudes import measure_magnitudes
from scoremix.stages.show.trajectory import follow
from support.browser import asked_for, browser, faults, until
from support.runs import run as make

EVIL = "<script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str], tiny_npz: Path) -> OpenedRun:
    """A finished run whose classes have names that a page must not believe."""
    out = tmp_path_factory.mktemp("explored")
    with np.load(tiny_npz) as file:
        names = [f"{EVIL} {name}" for name in file["class_names"]]
        np.savez(out / "evil.npz", images=file["images"], labels=file["labels"], class_names=np.array(names))
    settings = [*tiny_settings, f"source={out / 'evil.npz'}", "name=evil"]
    make(out, settings)
    return OpenedRun.of("evil", Runtime(out=out, device="cpu", quiet=True))


ASKED = {
    "two": MixRequest((0, 3), (0.3, 0.7), None, 1.3, 5, 2),
    "three, not convex": MixRequest((5, 0, 3), (0.5, 0.75, 0.1), None, 2.0, 4, 0),
    "weights over sigma": MixRequest((0, 3), (0.3, 0.7), (1.0, 0.0), 1.0, 5, 2),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_python_it_shows_makes_the_same_image(run: OpenedRun, name: str) -> None:
    made, names = run.mix(ASKED[name]), dict[str, Any]()
    exec(run.as_python(ASKED[name]), names)
    assert np.array_equal(names["image"], made.image)


def test_the_command_it_shows_saves_the_same_image(
    run: OpenedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python, option, code = shlex.split(run.as_command(ASKED["two"]))
    assert (python, option) == ("python", "-c")
    exec(code, {})
    assert np.array_equal(np.asarray(Image.open("mix.png")), run.mix(ASKED["two"]).image[..., 0])


def test_what_is_asked_for_changes_the_image(run: OpenedRun) -> None:
    asked, images = ASKED["two"], [run.mix(ASKED["weights over sigma"]._replace(guidance=1.3)).image]
    for change in ({}, {"seed": 3}, {"guidance": 3.0}, {"steps": 9}, {"weights": (0.7, 0.3)}, {"classes": (0, 4)}):
        images.append(run.mix(asked._replace(**change)).image)
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_path_ends_in_the_image_that_sampling_makes(run: OpenedRun) -> None:
    sampler, labels = run.sampler, np.array([[0, 3], [4, 1]])
    sampler.plan, seeds = run.planned(ASKED["two"]), noise_seeds(7, np.arange(2))
    weights = np.array([[0.3, 0.7], [0.5, 0.5]])
    followed = follow(sampler, labels, weights, seeds, levels=4)
    sampler.config = sampler.config.model_copy(update={"chunk": 2})
    images, logs = sampler.weighed(labels, weights, seeds)
    sampler.config = sampler.config.model_copy(update={"chunk": 1})
    assert np.array_equal(followed.images, images) and np.allclose(followed.disagreement, logs[:, 1])
    assert followed.estimates.shape[:2] == (2, 4) and (np.diff(followed.sigmas) < 0).all() and followed.sigmas[-1] == 0


def test_the_python_it_shows_mixes_conditions_where_the_run_does(run: OpenedRun) -> None:
    sampling = run.exp.sampling.model_copy(update={"mixture": "conditions"})
    other = OpenedRun(run.parts._replace(exp=run.exp.model_copy(update={"sampling": sampling})), run.runtime)
    made, names = other.mix(ASKED["two"]), dict[str, Any]()
    exec(other.as_python(ASKED["two"]), names)
    assert np.array_equal(names["image"], made.image) and not np.array_equal(made.image, run.mix(ASKED["two"]).image)


@pytest.mark.parametrize(
    "settings", [{"churn": 4.0, "resample": 0.5}, {"mixture": "balanced", "solver": "ddim", "eta": 1.0}]
)
def test_weights_over_sigma_are_asked_of_a_run_whose_mixes_have_none(run: OpenedRun, settings: dict[str, Any]) -> None:
    sampling = run.exp.sampling.model_copy(update=settings)
    other = OpenedRun(run.parts._replace(exp=run.exp.model_copy(update={"sampling": sampling})), run.runtime)
    assert other.planned(ASKED["weights over sigma"]).mixture == "scores"


def test_what_it_says_of_a_mix(run: OpenedRun) -> None:
    made = run.mix(ASKED["two"])
    assert isinstance(made, ExploredMix) and made.nearest == tuple(sorted(made.nearest, key=lambda row: -row[1]))
    told = dict(made.nearest)
    for name, cosine in zip(made.names, made.similarities, strict=True):
        assert name not in told or told[name] == pytest.approx(cosine, abs=1e-6)
    assert any(np.array_equal(made.neighbours[0], image) for image in run.train.of_class(0))
    cells = run.grid(ASKED["two"])
    assert cells.images.shape[:2] == (5, 5) and not np.array_equal(cells.images[0, 4], cells.images[4, 0])


def test_classes_are_found_by_name_and_distance(run: OpenedRun) -> None:
    first = run.names[0]
    far, close = (run.matching(f"{word} {first}", 99) for word in ("far from", "close to"))
    assert far == close[::-1] and 0 not in far and len(far) == len(run.names) - 1
    cosine = (run.centers @ run.centers[0]).numpy()
    assert cosine[far[0]] == min(cosine) and run.matching(first[-7:].upper(), 9) == [0]
    with pytest.raises(ValueError, match="not among the 14 training classes; did you mean"):
        run.matching(f"far from {first[:-1]}", 9)


def test_m_plets_errors_and_a_photograph(run: OpenedRun) -> None:
    rows, about = mplets.listed(run, "scoremix", 0)
    assert len(rows) == 5 and about.startswith("5 m-plets of scoremix, page 1 of 1") and len(rows[0].sources) == 2
    found, images = people.errors(run)
    assert set(found.arms) == set(run.exp.arms) and found.far == 0.1
    least = people.thresholds(run, "real")[found.far]
    assert all(pair.similarity > least for pair in found.arms["real"].false_accepts)
    assert all(pair.similarity <= least for pair in found.arms["real"].false_rejects)
    assert images.shape[1:] == run.train.shape[1:]
    kinds, share = people.embedding_map(run)
    assert [len(kind.places) for kind in kinds] == [14, 7, 5] and 0 < share <= 1
    of_training = run.train.of_class(2)[1]
    nearest, dims = run.judge("real", of_training)
    assert dims == 16 and max(nearest, key=lambda row: row[3])[0] == run.names[2]


def test_names_stay_text(run: OpenedRun) -> None:
    text = view.piece("mixed", made=run.mix(ASKED["two"]), command=run.as_command(ASKED["two"]), python=EVIL)
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "<script" not in view.error(f"class {EVIL!r}")


def test_magnitudes_of_triples_grow_with_their_weights(run: OpenedRun, tmp_path: Path) -> None:
    work, triples = Work(tmp_path, run.runtime, "magnitudes"), np.array([[0, 3, 4], [1, 2, 5]])
    np.save(tmp_path / "classes.npy", triples)
    images, shape = run.train.take(np.arange(6))[0], run.train.shape[1:]
    write_mixed(work, [images], shape, ["one", "two"], triples, np.full((6, 3), 1 / 3))
    of = Artifact("mplets", "", tmp_path)
    measure_magnitudes(run.exp.sampling, run.parts.chain["generator"], of, of, work=work)
    with np.load(tmp_path / "magnitudes.npz") as file:
        assert file["scores"].shape == (5, 3) and np.isfinite(file["ratios"]).all()
        assert file["ratios"].shape[2] == 6  # images: each once, where they are fewer than a chunk
        sums = file["scores"].sum(1)
        np.testing.assert_allclose(file["ratios"][:5], file["ratios"][:1] * sums[:, None, None], rtol=1e-4)


# ---- in a browser


@pytest.fixture(scope="module")
def address(run: OpenedRun) -> Iterator[str]:
    """Where the page is served; at the end nothing but this machine was asked for a name or a connection."""
    pytest.importorskip("gradio")
    from scoremix.explore.server import served

    named, look_up, connect = set[Any](), socket.getaddrinfo, socket.socket.connect
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lambda host, *more, **m: named.add(host) or look_up(host, *more, **m))
        patched.setattr(socket.socket, "connect", lambda self, at: named.add(at[0]) or connect(self, at))
        with served(run) as address:
            yield address
    assert named <= {"127.0.0.1", "localhost", "::1", None}


def picture(opened: Any) -> str | None:
    """The mix that is shown."""
    from selenium.webdriver.common.by import By

    source: str | None = opened.find_element(By.CSS_SELECTOR, "#picture .mix img").get_attribute("src")
    return source


def tab(opened: Any, name: str) -> None:
    from selenium.webdriver.common.by import By

    next(b for b in opened.find_elements(By.CSS_SELECTOR, "button[role=tab]") if b.text == name).click()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_every_tab_is_calm_readable_and_of_this_machine(address: str, width: int, dark: bool, tmp_path: Path) -> None:
    with browser(width, dark=dark) as opened:
        opened.get(address)
        until(opened, picture)
        assert opened.execute_script("return window.hacked") is None and EVIL in opened.page_source.replace(
            "&lt;", "<"
        ).replace("&gt;", ">")
        for name, piece in (("m-plets", "#mplets td"), ("Classes", "#map [role=button]"), ("Mix", "#picture img")):
            tab(opened, name)
            until(opened, lambda o, piece=piece: o.find_element("css selector", piece).is_displayed())
            assert faults(opened) == [], name
        ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 150) == dark
        tab(opened, "Upload")
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "photo.png")
        opened.find_element("css selector", "#upload input[type=file]").send_keys(str(tmp_path / "photo.png"))
        until(opened, lambda o: o.find_element("css selector", "#judged table"))
        assert faults(opened) == []
        assert all(asked.startswith(address) for asked in asked_for(opened))


@pytest.mark.browser
def test_a_slider_and_a_class_by_keyboard_change_the_picture(address: str) -> None:
    from selenium.webdriver.common.keys import Keys

    with browser() as opened:
        opened.get(address)
        before = until(opened, picture)
        opened.find_element("css selector", "#guidance input[type=range]").send_keys(Keys.PAGE_UP)
        after = until(opened, lambda o: picture(o) != before and picture(o))
        button = opened.find_element("css selector", "#classes button[aria-pressed=false]")
        k = button.get_attribute("data-k")
        button.send_keys(Keys.ENTER)
        until(opened, lambda o: len(o.find_elements("css selector", "#classes button[aria-pressed=true]")) == 3)
        assert until(opened, lambda o: picture(o) != after and picture(o))
        assert opened.switch_to.active_element.get_attribute("data-k") == k
        tab(opened, "Classes")
        until(opened, lambda o: o.find_element("css selector", "#map [role=button]").is_displayed())
        opened.find_element("css selector", "#map [tabindex='0']").send_keys(Keys.ARROW_RIGHT)
        opened.switch_to.active_element.send_keys(Keys.ENTER)
        assert until(opened, lambda o: len(o.find_elements("css selector", "#of-class img"))) >= 2


@pytest.mark.browser
def test_other_hosts_names_are_refused(address: str) -> None:
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}))
    with urllib.request.urlopen(address) as answer:
        assert "connect-src 'self'" in answer.headers["content-security-policy"]
        assert b"googleapis" not in io.BytesIO(answer.read()).getvalue()


@pytest.fixture(scope="module")
def pages(run: OpenedRun, tiny_settings: list[str]) -> dict[str, Path]:
    """Every kind of page, of the same run."""
    from scoremix import study
    from scoremix.commands.analyze import analyzed
    from scoremix.execution.quality import of_run

    out, own = run.runtime.out, ("source=", "name=", "seeds=", "generator.seed")
    tree: dict[str, Any] = {}
    for path, _, text in (s.partition("=") for s in tiny_settings if not s.startswith(own)):
        section, name = path.split(".")
        tree.setdefault(section, {})[name] = yaml.safe_load(text)
    config = StudyConfig(
        data={"evil": DataSet(source=run.exp.source)}, arms=tuple(run.exp.arms), seeds=(0, 1), settings=tree
    )
    study.execute(config, run.runtime, Store(out / "store"))
    of_run("evil", run.runtime, (), (), (), None)
    analyzed("evil", run.runtime)
    names = ("evil/report", "evil/analysis", "evil/quality", "study/study")
    return {name: out / f"{name}.html" for name in names}


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_every_page_is_calm_and_readable(pages: dict[str, Path], width: int, dark: bool) -> None:
    with browser(width, dark=dark) as opened:
        for name, file in pages.items():
            opened.get(file.as_uri())
            opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert faults(opened) == [], name
            assert opened.execute_script("return window.hacked") is None
            assert all(asked.startswith("file:") for asked in asked_for(opened))
