"""The public names: cheap to import, known to type checkers; the README's own lines of Python."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import scoremix
from scoremix.config import ConfigError, Experiment, Runtime, Sampling, load
from scoremix.data.images import LabeledImages
from scoremix.execution import progress, records, trained
from scoremix.execution.store import Store

README = Path(__file__).parents[1] / "README.md"


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, scoremix; dir(scoremix); print([n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_there_and_known_to_type_checkers():
    assert set(scoremix.__all__) <= set(dir(scoremix))
    for name in scoremix.__all__:
        assert callable(getattr(scoremix, name))
    tree = ast.parse(Path(scoremix.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "importlib"]
    checked = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert checked == {name: f"scoremix.{home}" for name, home in scoremix._HOMES.items()}
    assert sorted(checked) == sorted(scoremix.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scoremix.nothing  # type: ignore[attr-defined]


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (README.parent / target).exists(), target


def test_the_citation_names_this_version_and_the_paper() -> None:
    cited = yaml.safe_load((README.parent / "CITATION.cff").read_text())
    assert cited["version"] == scoremix.__version__
    paper = cited["preferred-citation"]
    assert (
        paper["title"] in README.read_text() and paper["journal"].removeprefix("arXiv preprint ") in README.read_text()
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_npz: Path, tiny_settings: list[str]) -> Path:
    """A folder with images and a run on them that has a generator and a recognizer."""
    place = tmp_path_factory.mktemp("place")
    with np.load(tiny_npz) as file:
        for i, (pixels, label) in enumerate(zip(file["images"], file["labels"], strict=True)):
            (place / "my_images" / f"{label:02d}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / "my_images" / f"{label:02d}" / f"{i}.png")
    exp = load(Experiment(), (), [*tiny_settings, f"source={place}/my_images", "name=my_images"])
    out = place / "scoremix_runs"
    progress.execute(exp, Runtime(out=out, device="cpu", quiet=True), Store(out / "store"), "recognizer scoremix/0")
    return place


@pytest.mark.parametrize("number", [0, 1])
def test_the_lines_of_python_in_the_readme_run(
    number: int, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2 and all(len(block.splitlines()) <= 10 for block in blocks)
    monkeypatch.chdir(place)
    made: dict[str, np.ndarray] = {}
    exec(blocks[number].replace('("my_images")  # a run', '("my_images/scoremix")  # a run'), made)  # unfinished here
    said = capsys.readouterr().out
    if number == 0:
        assert said == "uint8 (4, 8, 8, 1)\n" and len(np.unique(made["images"])) > 10
    else:
        rows = made["embeddings"]
        assert rows.dtype == np.float32 and rows.shape == (144, 16) and said.startswith("(144, 16) ")
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_a_generator_is_found_by_run_record_folder_or_file(place: Path):
    out = place / "scoremix_runs"
    folder = records.step_folder(out, "my_images", "generator")
    whole = scoremix.load_generator("my_images", out=out, device="cpu")
    images = whole.sample([3, 1], [0.25, 0.75], count=5, seed=7)
    recorded = scoremix.load_generator(out / "runs" / "my_images.json", device="cpu")
    assert (recorded.sample([whole.classes[3], 1], (0.25, 0.75), 5, 7) == images).all()
    assert (recorded.sample([3, 1], (0.25, 0.75), 2, 7) == images[:2]).all()
    assert (recorded.sample([3, 1], count=5, seed=7) != images).any()
    settings = records.recorded(out, "my_images").sampling
    same = {"steps": settings.steps, "chunk": settings.chunk, "precision": settings.precision}
    assert (scoremix.load_generator(folder, device="cpu", **same).sample([3, 1], [0.25, 0.75], 5, 7) == images).all()
    file = next(folder.glob("ema-0.050-*.safetensors"))
    alone = scoremix.load_generator(file, device="cpu", **same)
    assert alone.classes == whole.classes
    unguided = scoremix.load_generator("my_images", out=out, device="cpu", guidance=1)
    last = sorted(folder.glob("ema-0.050-*.safetensors"))[-1]
    expected = unguided.sample([3, 1], [0.25, 0.75], 5, 7)
    assert (scoremix.load_generator(last, device="cpu", **same).sample([3, 1], [0.25, 0.75], 5, 7) == expected).all()


def test_an_image_follows_from_its_seed_alone_also_where_a_run_draws_mixes_again():
    exp = Experiment(sampling=Sampling(churn=4.0, resample=0.5))
    assert trained._sampling(exp, Runtime(device="cpu"), {}).resample is None


def test_mixes_of_the_run_are_those_of_its_generator(place: Path):
    """The same bytes as the stage's, image by image."""
    out = place / "scoremix_runs"
    mixes = LabeledImages.load(records.step_folder(out, "my_images", "sample"))
    pairs = np.load(records.step_folder(out, "my_images", "sample") / "mplets.npy")
    made = scoremix.load_generator("my_images", out=out, device="cpu").sample(pairs[0].tolist(), count=3)
    assert (made == mixes.of_class(0)).all()


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ([0, 99], {}, "class 99: the generator knows the classes 0 to"),
        (["nobody", 1], {}, "names 'nobody', not among the .* classes of the generator"),
        ([2, 2], {}, r"labels \[2, 2\]: a class is repeated"),
        ([0, 1], {"weights": [1.0]}, "2 classes are mixed, give one weight for each"),
        ([0, 1], {"weights": [0.5, float("nan")]}, "finite"),
        ([0, 1], {"count": 0}, "count 0: must be at least 1"),
        ([], {}, "at least one name or index"),
    ],
)
def test_senseless_mixes_are_refused_in_one_line(place: Path, classes: list[str | int], options: dict, message: str):
    generator = scoremix.load_generator("my_images", out=place / "scoremix_runs", device="cpu")
    with pytest.raises(ValueError, match=message) as error:
        generator.sample(classes, **options)
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_said_in_one_line(place: Path, tmp_path: Path):
    out = place / "scoremix_runs"
    for asked, message in (
        (lambda: scoremix.load_generator("other", out=out), r"run 'other': not in .* \(runs: my_images\)"),
        (lambda: scoremix.load_generator("my_images", out=tmp_path), "no runs here"),
        (lambda: scoremix.load_generator("my_images", out=out, step=3), "step: no such setting; did you mean steps"),
        (lambda: scoremix.load_generator(tmp_path / "none.safetensors"), "none.safetensors: not a readable snapshot"),
        (lambda: scoremix.load_recognizer("my_images/none", out=out), "no trained recognizer 'none'"),
        (lambda: scoremix.load_recognizer("none.safetensors", out=out), "neither a file nor RUN/ARM"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            asked()
        assert "\n" not in str(error.value)


def test_files_folders_and_arrays_embed_alike(place: Path, tmp_path: Path):
    recognizer = scoremix.load_recognizer("my_images/scoremix/0", out=place / "scoremix_runs", device="cpu")
    files = sorted((place / "my_images").rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])[..., None]
    rows = recognizer.embed(files)
    assert (recognizer.embed(pixels) == rows).all()
    assert (recognizer.embed(pixels.repeat(3, 3)) == rows).all()  # grey in three channels
    assert (recognizer.embed(files[5]) == recognizer.embed([files[5]])).all()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    for images, message in (
        ([files[0], broken], "broken.png: not an image"),
        (pixels[..., 0], r"must be uint8 \(n, height, width"),
        (pixels / 255, "uint8"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            recognizer.embed(images)


def test_the_whole_method_is_one_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[tuple[Experiment, Path]] = []
    monkeypatch.setattr(progress, "execute", lambda exp, runtime, store: asked.append((exp, runtime.out)) or tmp_path)
    settings = {"generator": {"images_seen": 640}, "data": {"size": 16}}
    assert scoremix.run("./my_images", settings, out=tmp_path / "a") == tmp_path
    scoremix.run(settings=Experiment(name="own"), data="elsewhere", out=tmp_path / "b")
    (first, out), (second, _) = asked
    assert (first.name, first.source, first.generator.images_seen, first.data.size) == (
        "my_images",
        "./my_images",
        640,
        16,
    )
    assert out == tmp_path / "a" and (second.name, second.source) == ("own", "elsewhere")
    with pytest.raises(ConfigError, match="nothing to run"):
        scoremix.run(out=tmp_path / "c")
    with pytest.raises(ConfigError, match=r"generator\.images: no such setting"):
        scoremix.run("x", {"generator": {"images": 3}}, out=tmp_path / "d")
