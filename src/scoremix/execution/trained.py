"""What a run has trained, in a few lines of Python: a generator to sample from, a recognizer to embed with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from scoremix.config import ConfigError, Experiment, Runtime, Sampling, changed, error_lines
from scoremix.config.places import located
from scoremix.data import limits
from scoremix.data.decode import decode, refuse_other_arrays, resize_area, with_channels
from scoremix.data.files import refuse_existing, whole
from scoremix.data.images import LabeledImages
from scoremix.data.lists import positions
from scoremix.data.reading import UnreadableImages
from scoremix.data.sources import open_listing
from scoremix.diffusion import checkpoints as generators
from scoremix.diffusion.unet import frozen
from scoremix.execution import hub, records
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact
from scoremix.execution.recipe import with_arm
from scoremix.execution.runner import decided
from scoremix.execution.work import Work
from scoremix.outputs.networks import CHECKPOINT, GeneratorSummary
from scoremix.recognition import published
from scoremix.recognition.checkpoints import Description, Network, network_input, to_bytes
from scoremix.recognition.training import embed
from scoremix.stages.mix.sample import Networks, Sampler, again, noise_seeds

Device = Literal["auto", "cpu", "cuda"]
ROWS = 64  # images per forward, the last ones padded: an embedding depends on no other image


@dataclass(frozen=True)
class TrainedGenerator:
    """A trained generator; `classes` are the names of the classes that it knows."""

    classes: tuple[str, ...]
    networks: Networks
    artifact: Artifact | None = None  # the folder of its snapshots; a single snapshot has none

    def sample(
        self,
        classes: Sequence[str | int],
        weights: Sequence[float] | None = None,
        count: int = 1,
        seed: int = 0,
    ) -> NDArray[np.uint8]:
        """Images (count, H, W, C) of the mix of these classes, by name or index; without weights 1/m of each.

        Image i follows from the seed and i alone. ValueError, one line, for unknown or repeated classes, weights that
        are not one finite number for each, and a count below 1.
        """
        if isinstance(classes, str | int) or not len(classes):
            raise ValueError(f"classes {classes!r}: must be a list of at least one name or index")
        if count < 1:
            raise ValueError(f"count {count}: must be at least 1")
        labels = np.tile([self._index(k) for k in classes], (count, 1))
        shares = np.full(len(classes), 1 / len(classes)) if weights is None else np.asarray(weights, np.float64)
        if shares.shape != (len(classes),):
            raise ValueError(f"weights {weights!r}: {len(classes)} classes are mixed, give one weight for each")
        return self.networks.weighed(labels, shares, noise_seeds(seed, np.arange(count)))[0]

    def save_pretrained(self, folder: str | Path, push: str | None = None) -> Path:
        """Writes what `from_pretrained` reads, in the conventions of the Hugging Face hub; returns the folder.

        Main and guide network as safetensors, config.json with the settings of sampling, generator.json with the classes. With
        `push` ("OWNER/NAME"), and only then, it is uploaded as a private repository. ValueError, one line, for a
        folder that is there already, or a generator from a single snapshot.
        """
        if self.artifact is None:
            raise ValueError("save_pretrained: this generator is a single snapshot, its file is all there is to keep")
        config, info, source = self.networks.config, GeneratorSummary.load(self.artifact), self.artifact.folder
        if info.labels is not None:
            raise ValueError(
                "save_pretrained: this generator is a model of diffusers; its own folder is all there is to keep"
            )
        alone = replace(info, conditions=[], snapshots={}, guides={}, guide_folder="guide", alignment_loss=None)
        sampling = {"sampling": config.model_dump(mode="json")}
        files = {
            "config.json": _config("generator", sampling),
            GeneratorSummary.FILE: json.dumps(asdict(alone), indent=1).encode(),
            generators.snapshot_name(info.images_seen, config.ema): _average(source, config.ema, info.images_seen),
            f"guide/{generators.snapshot_name(info.guide_at, config.guide_ema)}": _average(
                source / info.guide_folder, config.guide_ema, info.guide_at
            ),
        }
        return _publish(Path(folder), files, push)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: Device = "auto", **settings: Any) -> TrainedGenerator:
        """The generator in a folder of `save_pretrained`, as `load_generator` reads it. Nothing is downloaded."""
        return load_generator(_pretrained(folder), device=device, **settings)

    def _index(self, name: str | int) -> int:
        if isinstance(name, str):
            return int(positions([name], self.classes, "sample", "training classes of the generator")[0])
        if not 0 <= name < len(self.classes):
            raise ValueError(f"class {name}: the generator knows the classes 0 to {len(self.classes) - 1}")
        return int(name)


@dataclass(frozen=True)
class TrainedRecognizer:
    """A trained recognizer and what its input must be."""

    net: Network
    description: Description

    def embed(self, images: NDArray[np.uint8] | str | Path | Sequence[str | Path]) -> NDArray[np.float32]:
        """Embeddings (n, d), unit rows, of images (n, H, W, C), 8-bit RGB or grey, or of those in a file or folder, or in
        a list of files.

        Other sizes and channels become the recognizer's as in training. ValueError for a place without images,
        UnreadableImages with every unreadable file.
        """
        if isinstance(images, str | Path):
            bad: list[tuple[str, str]] = []
            size, channels = self.description.size, self.description.channels
            blocks = [self.embed(pixels) for pixels, _ in open_listing(Path(images)).blocks(size, channels, ROWS, bad)]
            if bad:
                raise UnreadableImages(bad)
            return np.concatenate(blocks)
        if not isinstance(images, np.ndarray):
            images = decoded([Path(file) for file in images], self.description.size)
        refuse_other_arrays(images)
        pixels = with_channels(resize_area(images, self.description.size), self.description.channels)
        x = network_input(torch.from_numpy(np.array(pixels, order="C")), self.description)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(embed(self.net, x, batch=ROWS)).cpu().numpy()
        return unit

    def save_pretrained(self, folder: str | Path, push: str | None = None) -> Path:
        """Writes what `from_pretrained` reads: recognizer.safetensors, without the head, and config.json, which says what the
        input must be; returns the folder.

        `push` and errors as for `TrainedGenerator.save_pretrained`.
        """
        tensors = to_bytes(self.net, torch.nn.Module(), self.description)
        files = {CHECKPOINT: tensors, "config.json": _config("recognizer", asdict(self.description))}
        return _publish(Path(folder), files, push)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: Device = "auto") -> TrainedRecognizer:
        """The recognizer in a folder of `save_pretrained`. Nothing is downloaded."""
        return load_recognizer(_pretrained(folder), device=device)


def load_generator(
    run_or_folder: str | Path, *, out: str | Path = "scoremix_runs", device: Device = "auto", **settings: Any
) -> TrainedGenerator:
    """The generator of a run in `out`, by name or by its record's file; or of an artifact's folder; or a snapshot file.

    Sampled is as the run does, with `settings` of `Sampling` changed (steps=16); from a folder as its config.json says, or with
    the defaults; from a snapshot without a guide, as it has none. ConfigError, a ValueError of one line, where there is no such generator or
    setting.
    """
    path, out = Path(run_or_folder), Path(out)
    runtime = Runtime(out=out, device=device, quiet=True)
    if path.suffix == ".safetensors":
        return _snapshot(path, runtime, _sampling(Experiment(), runtime, {**settings, "guidance": 1.0}))
    if (path / "generator.json").is_file():
        exp, folder = Experiment(sampling=_stored_sampling(path / "config.json")), path
    else:
        name = str(run_or_folder)
        if path.suffix == ".json" and path.is_file():
            out, name = path.resolve().parents[1], path.stem
        exp = records.recorded(out, name)
        folder = records.step_folder(out, name, "guide" if exp.guide else "generator")
    artifact = Artifact("generator", "", folder)
    sampler = Sampler(_sampling(exp, runtime, settings), artifact, Work(folder, runtime, "sample"))
    return TrainedGenerator(tuple(GeneratorSummary.load(artifact).classes), sampler, artifact)


def load_recognizer(
    run_arm_or_file: str | Path,
    *,
    out: str | Path = "scoremix_runs",
    device: Device = "auto",
    colour: Literal["rgb", "bgr"] | None = None,
) -> TrainedRecognizer:
    """The recognizer RUN/ARM or RUN/ARM/SEED of a run in `out`, or of a file or artifact's folder; RUN alone is a finished
    run's, of the arm that did best.

    A file may be ours, arcface_torch's, AdaFace's or CVLFace's; `colour` is needed where it does not say. ValueError, one
    line, where there is none.
    """
    net, description = published.load(
        records.checkpoint_of(Path(out), with_arm(Path(out), str(run_arm_or_file)), "out"), colour
    )
    return TrainedRecognizer(net.to(engine.start(device).device), description)


def replayed(
    run: str | None, label: str, index: int, *, out: str | Path = "scoremix_runs", device: Device = "auto"
) -> tuple[NDArray[np.uint8], bool]:
    """Image `index` (H, W, C) of a set that a run (None: the latest) has sampled, made again; whether it is that of the set.

    `label`: the step that made the set, such as "sample" or "sample for auggen". ConfigError where there is none.
    """
    out = Path(out)
    steps = records.steps_of(out, run)
    sets = [name for name, step in steps.items() if step.stage == "sample"]
    if label not in sets:
        raise ConfigError(f"set {label!r}: the run has {', '.join(map(repr, sets)) or 'no sampled set'}")
    step = steps[label]
    images, generator = records.stored(out, step.key), records.stored(out, step.inputs["0"])
    if images is None or generator is None:
        raise ConfigError(
            f"set {label!r}: {'the set' if images is None else 'its generator'} is gone from {out / 'store'}"
        )
    sampling = Sampling.model_validate(step.config)
    if "2" in step.inputs:  # weights that a search found are those the set keeps
        sampling = sampling.model_copy(update={"weights_end": None})
    if threads := images.manifest.get("threads"):
        engine.use_threads(int(threads))
    work = Work(images.folder, Runtime(out=out, device=device, quiet=True), "replay")
    image = again(sampling, generator, images, index, work=work)
    return image, bool((image == LabeledImages.load(images.folder).images[index]).all())


def run(
    data: str | Path | None = None,
    settings: Experiment | Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    out: str | Path = "scoremix_runs",
    device: Device = "auto",
    quiet: bool = True,
) -> Path:
    """The whole method, as `scoremix run`: does what is not done yet and returns the folder of the report.

    `data`: what `--data` takes; `settings`: an Experiment, or what a config file holds, {"generator": {"lr": 0.01}}, on
    top of a preset's. ConfigError, a ValueError with one line per mistake.
    """
    from scoremix.config import presets
    from scoremix.data.files import refuse_among
    from scoremix.execution import progress
    from scoremix.execution.store import Store

    if isinstance(settings, Experiment):
        exp = settings if data is None else settings.model_copy(update={"source": str(data)})
    else:
        exp = presets.experiment(preset, [settings] if settings else [], str(data) if data else None)
    refuse_among(Path(out), exp.source)
    return progress.execute(
        located(exp), Runtime(out=Path(out), device=device, quiet=quiet), Store(Path(out) / "store")
    )


def decoded(files: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """Images (n, size, size, 3) of files, as ingest reads them; UnreadableImages names all that are none."""
    images, bad = [], []
    for file in files:
        try:
            images.append(decode(file, size))
        except (OSError, ValueError) as error:
            bad.append((str(file), str(error)))
    if bad:
        raise UnreadableImages(bad)
    return np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)


def _sampling(exp: Experiment, runtime: Runtime, settings: Mapping[str, Any]) -> Sampling:
    """The experiment's sampling with some settings changed, its precision decided."""
    sampling = changed(exp.sampling.alone, {"weights": None, "weights_end": None, "mixture": "scores", **settings})
    return decided(exp.model_copy(update={"sampling": sampling}), runtime.device).sampling


def _pretrained(folder: str | Path) -> Path:
    """ConfigError for what is no folder: names on the hub are not downloaded."""
    if not (Path(folder) / "config.json").is_file():
        raise ConfigError(
            f"{folder}: no folder of save_pretrained (config.json); nothing is downloaded, fetch it first"
        )
    return Path(folder)


def _config(kind: str, settings: Mapping[str, Any]) -> bytes:
    return json.dumps({"made_by": "scoremix", "kind": kind, **settings}, indent=1).encode()


def _stored_sampling(file: Path) -> Sampling:
    """The settings of sampling in a config.json, the defaults without one; ConfigError where they are none."""
    if not file.is_file():
        return Sampling()
    try:
        return Sampling.model_validate(limits.parsed_json(limits.text(file, limits.TEXT_BYTES))["sampling"])
    except (KeyError, TypeError, ValueError) as error:
        said = error_lines(error.errors(), Sampling)[0] if isinstance(error, ValidationError) else error
        raise ConfigError(f"{file}: not the settings of a generator ({said})") from None


def _average(folder: Path, std: float, images_seen: int) -> bytes:
    """The content of a snapshot of that EMA length: the stored one's, or that of a reconstruction."""
    if (stored := folder / generators.snapshot_name(images_seen, std)).exists():
        return stored.read_bytes()
    description, tensors, _ = generators.reconstructed(folder, std, images_seen)
    return generators.to_bytes(tensors, description["network"], generators.Pixels(**description["pixels"]))


def _publish(folder: Path, files: Mapping[str, bytes], push: str | None) -> Path:
    """Writes a folder whole or not at all, and uploads it where it is to be."""
    api = hub.client(push) if push else None
    refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole(folder, folder=True) as part:
        for name, content in files.items():
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_bytes(content)
    if api is not None and push is not None:
        hub.push(api, folder, push, "model")
    return folder


def _snapshot(file: Path, runtime: Runtime, sampling: Sampling) -> TrainedGenerator:
    """One network alone; its classes have numbers where no generator.json beside it names them."""
    net, pixels = generators.load(file, sampling.precision)
    names = tuple(map(str, range(net.label_dim)))
    if (beside := file.parent / "generator.json").is_file():
        names = tuple(GeneratorSummary.load(Artifact("generator", "", beside.parent)).classes)
    net = frozen(net.to(engine.start(runtime.device).device))
    return TrainedGenerator(
        names, Networks(sampling, Work(file.parent, runtime, "sample"), net, net, pixels, sampling, names)
    )
