"""What is published: the wheel in an environment of its own, its files, its versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import scoremix

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MADE = (".*", "__pycache__", "*.egg-info", "build", "dist", "data", "runs", "scoremix_runs")


def bounds(requirements: list[str]) -> dict[str, str]:
    """The oldest version that is allowed of each package, in three parts."""
    found = {}
    for requirement in requirements:
        if named := re.match(r"([\w-]+)>=([\d.]+)", requirement):
            found[named[1]] = ".".join([*named[2].split("."), "0", "0"][:3])
    return found


def test_the_oldest_versions_are_those_that_are_allowed() -> None:
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert oldest == bounds(SETTINGS["project"]["dependencies"])


def test_the_changelog_tells_of_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[:2] == ["Unreleased", scoremix.__version__]


def test_workflows_forms_and_citation_fit_their_schemas() -> None:
    pytest.importorskip("check_jsonschema")
    github = ROOT / ".github"
    for schema, files in (
        ("github-workflows", [*github.glob("workflows/*.yml")]),
        ("github-issue-forms", [file for file in github.glob("ISSUE_TEMPLATE/*.yml") if file.stem != "config"]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ):
        shell(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = {
        name for file in github.glob("workflows/*.yml") for name in re.findall(r"run: make (\w+)", file.read_text())
    }
    assert typed >= {"test", "lint", "docs", "wheel", "oldest"} and typed <= targets


def shell(*command: str | Path, status: int = 0, **options: object) -> str:
    """What a command says, once it ended as it should; no path of the checkout reaches it."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=env, **options)  # type: ignore[call-overload]
    said = str(done.stdout + done.stderr)
    assert done.returncode == status, said
    return said


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source distribution, which is made of a copy of the checkout."""
    place = tmp_path_factory.mktemp("package")
    above, below = shutil.ignore_patterns(*MADE), shutil.ignore_patterns(*MADE[:3])  # src/scoremix/data is code
    shutil.copytree(ROOT, place / "checkout", ignore=lambda at, of: (above if at == str(ROOT) else below)(at, of))
    shell(sys.executable, "-m", "build", "--no-isolation", place / "checkout", "--outdir", place / "dist")
    return place / "dist"


@pytest.mark.slow
def test_the_distributions_are_whole(dist: Path) -> None:
    assert "PASSED" in shell(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())
    package = ROOT / "src" / "scoremix"
    sources = {f.relative_to(package.parent).as_posix() for f in package.rglob("*") if f.is_file()}
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in sources if "__pycache__" not in name}
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"CHANGELOG.md", "CITATION.cff", "constraints.txt", "tests/test_package.py", "docs/settings.md"}


@pytest.fixture(scope="module")
def fresh(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that has the wheel, what it needs, and no extra."""
    place = tmp_path_factory.mktemp("fresh")
    shell(sys.executable, "-m", "venv", place / "venv")
    pip = (place / "venv" / "bin" / "python", "-m", "pip")
    shell(*pip, "install", "-q", "--no-compile", "-c", ROOT / "constraints.txt", next(dist.glob("*.whl")), timeout=1200)
    shell(*pip, "check")
    return place / "venv" / "bin"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_alone_does_the_whole_method(fresh: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    def call(*words: str | Path, status: int = 0) -> str:
        return shell(fresh / "scoremix", *words, status=status, cwd=tmp_path)

    assert call("--version") == f"scoremix {scoremix.__version__}\n"
    assert "Usage" in call("--help")
    typed = "import scoremix, pathlib; assert (pathlib.Path(scoremix.__file__).parent / 'py.typed').exists()"
    shell(fresh / "python", "-c", f"{typed}; [getattr(scoremix, name) for name in scoremix.__all__]", cwd=tmp_path)
    smaller = [setting for setting in tiny_settings if not setting.startswith(("source=", "name="))]
    sizes = [
        "data.classes=24",
        "data.images_per_class=6",
        "recognizer.epochs=1",
        "generator.images_seen=64",
        "seeds=[0]",
    ]
    call("run", "demo", "--device", "cpu", "-q", *(w for s in [*smaller, *sizes] for w in ("--set", s)))
    assert "</html>" in (tmp_path / "scoremix_runs" / "demo" / "report.html").read_text()
    assert "demo" in call("show")
    (tmp_path / "set.parquet").write_bytes(b"PAR1")
    (tmp_path / "study.yaml").write_text(
        "name: s\ndata: {g: {source: glyphs}}\narms: [real, equal_steps, scoremix]\nheadline: [scoremix]\n"
    )
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.arange(2))
    for words, extra in (
        (("convert", "set.parquet", "out"), "hf"),
        (("convert", "set.npz", "out", "--to", "parquet"), "hf"),
        (("export", "demo/real", "real.onnx"), "onnx"),
        (("fit", "demo"), "onnx"),
        (("verify", "real.onnx", "a.png", "b.png"), "use"),
        (("analyze", "demo", "--set", "analysis.paths.map=umap"), "umap"),
        (("study", "study.yaml", "--scheduler", "tcp://127.0.0.1:1"), "dask"),
        (("run", "demo", "--out", "other", "--set", "recognizer.network=timm/resnet18"), "timm"),
        (("explore", "demo"), "explore"),
        (("log", "--tensorboard", "demo"), "track"),
        (("convert", "set.npz", "out", "--push", "me/set"), "hf"),
    ):
        said = call(*words, status=2).strip()
        assert f"pip install 'scoremix[{extra}]'" in said and "Traceback" not in said and said.count("\n") == 0, said
