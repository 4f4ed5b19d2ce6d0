"""The command line: `scoremix run`, one verb per stage, `show`, `report`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from scoremix.artifacts import Store
    from scoremix.config import Experiment, Runtime

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make a recognizer better with nothing but its own labelled images, and learn whether it did.",
)

Preset = Annotated[
    str | None, typer.Argument(help="demo, omniglot, folder (the default with --data), 3-plet-sum-max, 3-plet-sum-min")
]
ConfigFile = Annotated[
    list[Path] | None, typer.Option("--config", "-c", help="YAML, TOML or JSON file of settings; repeatable")
]
DataPath = Annotated[
    str | None,
    typer.Option("--data", help="folder of class folders, RecordIO, parquet, packed set, fonts, .npz, or 'glyphs'"),
]
Arms = Annotated[
    str | None, typer.Option("--arms", help="arms and groups by name, such as table2,controls; see docs/arms.md")
]
Settings = Annotated[list[str] | None, typer.Option("--set", "-s", help="one setting, a.b=c; repeatable")]
Out = Annotated[Path, typer.Option("--out", help="folder of everything scoremix makes")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="leave unreadable files out (and count them) instead of stopping")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")]
Checkpoint = Annotated[str, typer.Argument(help="a recognizer: checkpoint file, or RUN/ARM or RUN/ARM/SEED of a run")]
RunsIn = Annotated[Path, typer.Option("--runs", help="folder in which runs are looked for")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]

VERBS = {
    "ingest": "Read the images, split the classes, pack them.",
    "recognizer": "Train the baseline recognizer.",
    "generator": "Train the class-conditional diffusion generator.",
    "select": "Choose the classes to mix.",
    "sample": "Sample the mixed images.",
    "combine": "Put real and mixed images into one training set.",
}
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".onnx")
LAST_STEP = {"recognizer": "baseline", "select": "describe"}


@app.command()
def run(
    preset: Preset = None,
    config: ConfigFile = None,
    data: DataPath = None,
    arms: Arms = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """From a folder of classes to a report that says whether mixing helped."""
    _run_until(None, preset, config, data, arms, _with(settings, skip_bad), out, device, quiet)


def _verb(name: str, text: str) -> None:
    def verb(
        preset: Preset = None,
        config: ConfigFile = None,
        data: DataPath = None,
        arms: Arms = None,
        settings: Settings = None,
        skip_bad: SkipBad = False,
        out: Out = Path("scoremix_runs"),
        device: Device = "auto",
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> None:
        _run_until(LAST_STEP.get(name, name), preset, config, data, arms, _with(settings, skip_bad), out, device, quiet)

    verb.__doc__ = text + " Runs what it needs and stops there."
    app.command(name)(verb)


for _name, _text in VERBS.items():
    _verb(_name, _text)


@app.command()
def evaluate(
    preset: Annotated[
        str | None, typer.Argument(metavar="[PRESET|CHECKPOINT]", help="a preset, or a recognizer's file, or RUN/ARM")
    ] = None,
    config: ConfigFile = None,
    data: DataPath = None,
    arms: Arms = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--sets", help="public sets: lfw,cfp_fp,cplfw,calfw,agedb_30,ijbb,ijbc,tinyface, or paths; repeatable"
        ),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="folder that holds the named sets")] = Path("."),
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol", help="arcface_torch, adaface, cvlface, or one with ,switch=value; default all three"
        ),
    ] = None,
    colour: Annotated[
        str | None, typer.Option("--colour", help="rgb or bgr, where a published checkpoint does not say")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="images per forward on the public sets")] = 64,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train every arm and compare them on unseen classes; with --sets, also on public face benchmarks.

    A checkpoint (ours, arcface_torch's, AdaFace's or CVLFace's) is only evaluated: scoremix evaluate FILE --sets lfw,ijbc
    --root FACES.
    """
    settings = _with(settings, skip_bad)
    from scoremix.presets import PRESETS

    known = preset is None or preset in PRESETS
    is_file = not known and (
        Path(str(preset)).exists() or "/" in str(preset) or Path(str(preset)).suffix in CHECKPOINTS
    )
    if not sets and not is_file:
        _run_until("compare", preset, config, data, arms, settings, out, device, quiet)
        return
    from scoremix import facesets, runs
    from scoremix.arms import named as arms_named
    from scoremix.artifacts import Store
    from scoremix.config import ConfigError, Embedding, Runtime

    if not sets:
        raise ConfigError(f"{preset}: what shall it be evaluated on? give --sets, such as lfw or a list of pairs")
    if is_file and (config or data or arms or settings):
        raise ConfigError(f"{preset}: a checkpoint takes no --config, --data, --arms or --set (where sets are: --root)")
    # arms of their own beside the run's: only theirs are trained and evaluated
    beside = ",".join(["real,equal_steps,scoremix", arms]) if arms else None
    exp = None if is_file else _experiment(preset, config, data, beside, settings)
    runtime = Runtime(out=out, device=_device(device), quiet=quiet)
    faces = facesets.opened(sets, root)
    chosen = [facesets.protocol(text) for text in protocol or ()]
    store = Store(out / "store")
    if exp is not None:
        wanted = list(arms_named(arms.split(","), exp.arms)) if arms else list(exp.arms)
        folder = facesets.evaluate_run(exp, wanted, faces, chosen, runtime, store, Embedding(batch=batch))
    else:
        path = Path(str(preset))
        file = path if path.suffix in CHECKPOINTS else runs.checkpoint_of(out, str(preset))
        named = [(path.name if path.suffix else str(preset), file)]
        called = named[0][0].removesuffix(".safetensors").replace("/", "-")
        settled = Embedding(batch=batch)
        folder = facesets.evaluate(named, faces, chosen, runtime, store, settled, called=called, colour=_colour(colour))
    print(f"\nall numbers and thresholds: {folder / 'measures.csv'}")


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="YAML file: data sets, arms, seeds, budget; see docs/study.md")],
    part: Annotated[
        str, typer.Option("--part", help="K/N: this process takes every N-th arm, from K = 0; one device each")
    ] = "0/1",
    only_tables: Annotated[
        bool, typer.Option("--tables", help="run nothing, write the tables of what is done")
    ] = False,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Arms x data sets x seeds on shared artifacts, and their tables."""
    import re

    from scoremix import study as studies
    from scoremix.artifacts import Store
    from scoremix.config import ConfigError, Runtime

    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or int(found[1]) >= int(found[2]):
        raise ConfigError(f"--part {part!r}: expected K/N with K from 0 to N - 1")
    config = studies.read(file)
    runtime, store = Runtime(out=out, device=_device(device), quiet=quiet), Store(out / "store")
    if only_tables:
        studies.tables(config, runtime, store)
    else:
        studies.execute(config, runtime, store, (int(found[1]), int(found[2])))


@app.command()
def report(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    out: Out = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """Write the report of a run that is done, and print where it is."""
    from scoremix import runs

    exp, runtime, store = _recorded(name, out)
    runs.execute(exp, runtime, store, only_report=True)


@app.command()
def analyze(
    name: Annotated[str | None, typer.Argument(help="name of a finished run; by default the latest")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="another finished run, its generator followed as well; repeatable"),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The geometry of a finished run: conditions against embeddings, as a page, CSV and JSON."""
    from scoremix import runs
    from scoremix.config import Runtime, load

    store = _store(out)
    runtime = Runtime(out=out, device=_device(device), quiet=quiet)
    runs.analyze(name, runtime, store, lambda exp: load(exp, config or (), settings or ()), against or ())


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    out: Out = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """The chain of a run: done, missing or stale, and why, with the cost of each stage."""
    from scoremix import runs

    exp, _, store = _recorded(name, out)
    print(runs.chain_table(store, exp))


@app.command()
def quality(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    arms: Annotated[list[str] | None, typer.Option("--arm", help="only this arm's images; repeatable")] = None,
    images: Annotated[
        list[str] | None, typer.Option("--images", help="other images to measure: folder, .npz, packed; repeatable")
    ] = None,
    real: Annotated[str | None, typer.Option("--real", help="real images, instead of a run's")] = None,
    held_out: Annotated[str | None, typer.Option("--held-out", help="real images not trained on, with --real")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="file of the network that gives features")] = None,
    settings: Settings = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """How faithful, diverse and original a run's reproductions and mixes are, or any images beside real ones."""
    from scoremix import quality as measuring
    from scoremix.artifacts import Store
    from scoremix.config import ConfigError, Experiment, Runtime, load

    runtime = Runtime(out=out, device=_device(device), quiet=quiet)
    if real is None:
        if held_out is not None:
            raise ConfigError("--held-out: only with --real; a run has held-out classes of its own")
        store = _store(out)
        measuring.of_run(
            name, runtime, store, lambda exp: load(exp, (), settings or ()), arms or (), images or (), weights
        )
        return
    if name is not None or arms:
        raise ConfigError("--real: give either a run or --real, not both")
    if not images:
        raise ConfigError("--real: nothing to measure; give --images")
    exp = load(Experiment(), (), settings or ())
    measuring.of_places(exp, runtime, Store(out / "store"), images, real, held_out, weights)


@app.command()
def embed(
    checkpoint: Checkpoint,
    images: Annotated[Path, typer.Argument(help="folder of class folders or of images, one image, .npz, packed set")],
    out: Annotated[Path, typer.Option("--out", help=".npz with everything, or .npy with a .csv beside it")] = Path(
        "embeddings.npz"
    ),
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="leave unreadable files out instead of stopping")
    ] = False,
    runs_in: RunsIn = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Embeddings of images by a trained recognizer."""
    from scoremix import runs
    from scoremix.config import Runtime
    from scoremix.embedding import embed_images

    runtime = Runtime(out=runs_in, device=_device(device), quiet=quiet)
    count = embed_images(runs.checkpoint_of(runs_in, checkpoint), images, out, runtime, skip_bad)
    print(f"{out}: {count} embeddings")


@app.command()
def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="the .onnx file to write")],
    runs_in: RunsIn = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """A trained recognizer as an ONNX file, checked against onnxruntime."""
    from scoremix import runs
    from scoremix.export import export_onnx

    worst = export_onnx(runs.checkpoint_of(runs_in, checkpoint), out)
    print(f"{out}: onnxruntime and torch differ by at most {worst:.1g} in an entry of a unit embedding")


@app.command()
def plan(
    preset: Preset = None,
    config: ConfigFile = None,
    data: DataPath = None,
    settings: Settings = None,
    measure: Annotated[bool, typer.Option("--measure", help="compare images of the run's trained generator")] = False,
    images: Annotated[int | None, typer.Option("--images", min=1, help="images timed; by default a chunk")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="how often each plan is timed")] = 3,
    to: Annotated[Path | None, typer.Option("--json", help="also write the table to this file")] = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What ways of sampling cost here: evaluations, seconds per image, hours; by default of the latest run."""
    from scoremix import planning
    from scoremix.artifacts import Store
    from scoremix.config import Runtime, load

    if preset or config or data:
        exp, store = _experiment(preset, config, data, None, settings), Store(out / "store")
    else:
        exp, _, store = _recorded(None, out)
        exp = load(exp, (), settings or ())
    runtime = Runtime(out=out, device=_device(device), quiet=quiet)
    planning.show_plans(exp, runtime, store, measure, images, rounds, to)


@app.command()
def sheets(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="noise of an alpha/beta sheet; repeatable")] = None,
    guidance: Annotated[
        list[float] | None, typer.Option("--guidance", help="of a comparison sheet; repeatable (default 1.3, 2.75)")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="m-plets of a comparison sheet")] = 4,
    rows: Annotated[int, typer.Option("--rows", min=1, help="images of each m-plet")] = 4,
    settings: Settings = None,
    to: Annotated[Path, typer.Option("--to", help="folder for the pictures")] = Path("sheets"),
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Pictures of a run's mixes: weights alpha and beta (Fig. 2), and sources beside mixes (Fig. 3, 14, 15)."""
    from scoremix.config import Runtime, load
    from scoremix.sheets import write_sheets

    exp, _, _ = _recorded(name, out)
    exp = load(exp, (), settings or ())
    runtime = Runtime(out=out, device=_device(device), quiet=True)
    for path in write_sheets(exp, runtime, to, seeds or [0], guidance or [1.3, 2.75], pairs, rows):
        print(path)


@app.command()
def ema(
    std: Annotated[float, typer.Option("--std", help="relative length of the average, such as 0.075")],
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    images: Annotated[int | None, typer.Option("--images", help="images seen; by default the end of training")] = None,
    guide: Annotated[bool, typer.Option("--guide", help="of the separately trained guide network")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="the .safetensors file to write")] = None,
    out: Out = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """An average of the generator of any length, reconstructed from its snapshots."""
    from scoremix import runs
    from scoremix.averages import write_average

    folder = runs.step_folder(out, name, "guide network" if guide else "generator")
    path, missing = write_average(folder, std, images, to)
    print(f"{path}: EMA length {std:g}, {missing:.2%} of its profile is beyond the snapshots")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="what --data takes; a .bin, or a list of pairs")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make, or a .bin")],
    to: Annotated[
        str | None,
        typer.Option("--to", help="folders, recordio or webdataset; default: recordio for folders, else folders"),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="side in pixels, as PNG; default: files as they are")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="of the order in WebDataset shards")] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sets of images from one form to another: class folders, RecordIO, WebDataset, verification .bin."""
    from scoremix import datasets

    datasets.convert(source, out, to, size=size, seed=seed, quiet=quiet)


@app.command("verify-data")
def verify_data(
    source: Annotated[str, typer.Argument(metavar="PATH", help="what --data takes, or a .bin")],
    report: Annotated[Path | None, typer.Option("--json", help="also write everything found to this file")] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What is in a set and what is wrong with it: counts, unreadable images, duplicates, traps; status 2 if anything is."""
    from scoremix import datasets

    if not datasets.verify(source, report, quiet=quiet):
        raise typer.Exit(2)


@app.command()
def subset(
    source: Annotated[str, typer.Argument(metavar="IN", help="what --data takes")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make, in the form of IN")],
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="how many; default: all that fit")] = None,
    least: Annotated[int, typer.Option("--min", min=1, help="fewest images of a class")] = 1,
    most: Annotated[int | None, typer.Option("--max", min=1, help="most images of a class")] = None,
    seed: Annotated[int, typer.Option("--seed", help="of the choice")] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Some of the classes of a set, by number of images and a seed (WebFace160K: 10000 classes of 11 to 24)."""
    from scoremix import datasets

    datasets.subset(source, out, classes, least, most, seed=seed, quiet=quiet)


@app.command(name="import-edm2")
def import_edm2(
    pickle: Annotated[Path, typer.Argument(help="a published pixel-space snapshot, such as edm2-img64-s-*.pkl")],
    out: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
    debug: Debug = False,
) -> None:
    """A published EDM2 snapshot as one of ours; nothing in the pickle is executed."""
    from scoremix.averages import write_published

    network = write_published(pickle, out)
    print(f"{out}: {network['img_resolution']} px, {network['label_dim']} classes; the weights keep their own licence")


def _run_until(
    until: str | None,
    preset: str | None,
    config: list[Path] | None,
    data: str | None,
    arms: str | None,
    settings: list[str] | None,
    out: Path,
    device: str,
    quiet: bool,
) -> None:
    from scoremix import runs
    from scoremix.artifacts import Store
    from scoremix.config import Runtime

    exp = _experiment(preset, config, data, arms, settings)
    runtime = Runtime(out=out, device=_device(device), quiet=quiet)
    runs.execute(exp, runtime, Store(out / "store"), until)


def _with(settings: list[str] | None, skip_bad: bool) -> list[str]:
    """The settings and those that stand for other options."""
    return [*(settings or ()), *(["data.skip_bad=true"] if skip_bad else ())]


def _experiment(
    preset: str | None,
    config: list[Path] | None,
    data: str | None,
    arms: str | None,
    settings: list[str] | None,
) -> Experiment:
    """The preset, changed by files and settings."""
    from scoremix.arms import named
    from scoremix.config import ConfigError, load
    from scoremix.presets import PRESETS

    chosen = preset or ("folder" if data or config else None)
    if chosen is None:
        raise ConfigError("nothing to run: give --data FOLDER, or a preset (demo)")
    if chosen not in PRESETS:
        hint = f"; for the images there, say --data {chosen}" if Path(chosen).exists() else ""
        raise ConfigError(f"preset {chosen!r}: no such preset (allowed: {', '.join(PRESETS)}){hint}")
    extra = [f"source={_quoted(data)}"] if data else []
    extra += [f"arms={_quoted(arms)}"] if arms else []
    exp = load(PRESETS[chosen](), config or (), [*extra, *(settings or ())], named)
    if data and exp.name == "run":
        exp = load(exp, (), [f"name={_name_of(data)}"])
    return exp


def _colour(name: str | None) -> Literal["rgb", "bgr"] | None:
    from scoremix.config import ConfigError

    match name:
        case None | "rgb" | "bgr":
            return name
    raise ConfigError(f"--colour {name!r}: allowed are rgb, bgr")


def _device(name: str) -> Literal["auto", "cpu", "cuda"]:
    from scoremix.config import ConfigError

    match name:
        case "auto" | "cpu" | "cuda":
            return name
    raise ConfigError(f"--device {name!r}: allowed are auto, cpu, cuda")


def _recorded(name: str | None, out: Path) -> tuple[Experiment, Runtime, Store]:
    from scoremix import runs
    from scoremix.config import Runtime

    store = _store(out)
    return runs.recorded(out, name), Runtime(out=out), store


def _store(out: Path) -> Store:
    from scoremix.artifacts import Store
    from scoremix.config import ConfigError

    if not (out / "store" / "store.json").exists():
        raise ConfigError(f"{out}: no runs here; start with `scoremix run`")
    return Store(out / "store")


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)


def _name_of(source: str) -> str:
    import re

    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source).resolve().stem).strip("-.")
    return stem or "run"


def main() -> None:
    """Entry point: one line per error; status 2 for wrong input, 1 for what failed, 130 after Ctrl-C."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        print("scoremix: stopped; the next run continues from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv or os.environ.get("SCOREMIX_DEBUG"):
            raise
        status, text = _explain(error)
        print(f"scoremix: {text}", file=sys.stderr)
        sys.exit(status)


def _explain(error: Exception) -> tuple[int, str]:
    """Exit status and the text for an error."""
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f"{error.filename}: " if error.filename else ""
        return 1, f"{where}the disk is full ({error.strerror}); finished stages are safe: free space, run again"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return 2, f"{error.filename}: {error.strerror}"
    if isinstance(error, (ValueError, OSError)):
        return 2, str(error)
    if isinstance(error, (RuntimeError, FloatingPointError, MemoryError)):
        return 1, str(error) or type(error).__name__
    return 1, f"{type(error).__name__}: {error} (use --debug for the traceback)"


if __name__ == "__main__":
    main()
