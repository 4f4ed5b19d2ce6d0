"""A finished run opened to look at: its images, networks and classes, and what can be asked of them."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.config import Experiment, Runtime, Sampling, changed
from scoremix.data.images import LabeledImages
from scoremix.data.lists import positions
from scoremix.execution import records
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.images import MixedImages, real_images
from scoremix.outputs.mplets import chosen_classes
from scoremix.outputs.networks import RecognizerSummary, centers_of
from scoremix.recognition.training import embed
from scoremix.report.charts import Image
from scoremix.stages.embedding import opened
from scoremix.stages.mix.sample import Sampler, noise_seeds
from scoremix.stages.show import illustrate
from scoremix.stages.show.trajectory import Trajectories, follow

NEAREST, NEIGHBOURS = 5, 50  # classes listed; real images of a class among which the nearest is looked for
REMEMBERED = 64  # of what a slider asks for again: paths of classes alone, embeddings of their images
SINGLE = 1  # images per forward, so that one image costs one: part of what its bytes depend on


class MixRequest(NamedTuple):
    """A mix as asked for: training classes, their weights at sigma_max and, if others, at sigma_min, and the plan."""

    classes: tuple[int, ...]
    weights: tuple[float, ...]
    end: tuple[float, ...] | None
    guidance: float
    steps: int
    seed: int


@dataclass(frozen=True)
class ExploredMix:
    """A mix, what it was made of, and what the baseline recognizer says of it."""

    asked: MixRequest
    names: tuple[str, ...]
    image: Image
    reproductions: tuple[Image, ...]  # of the classes, from the same noise
    neighbours: tuple[Image, ...]  # the real image of each class that is most similar to the mix
    sigmas: NDArray[np.float64]
    paths: tuple[tuple[Image, ...], ...]  # estimates over sigmas: of the mix, then of each class alone
    similarities: tuple[float, ...]  # to the centers of the classes
    nearest: tuple[tuple[str, float], ...]
    disagreement: float | None


@dataclass(frozen=True)
class OpenedRun:
    """What a run's last report was made of, and its networks once they are needed."""

    parts: records.FinishedRun
    runtime: Runtime

    @classmethod
    def of(cls, name: str | None, runtime: Runtime) -> Self:
        """ConfigError, one line, where there is no finished run of that name."""
        return cls(records.finished(runtime.out, name), runtime)

    @property
    def exp(self) -> Experiment:
        return self.parts.exp

    @cached_property
    def train(self) -> LabeledImages:
        return real_images(self.parts.chain["real"])

    @property
    def names(self) -> tuple[str, ...]:
        """The training classes, which are those of the generator."""
        return self.train.class_names

    @cached_property
    def unseen(self) -> LabeledImages:
        """The classes that the arms were judged on."""
        return real_images(self.parts.chain["real"], self.exp.evaluation.classes)

    @property
    def verdict(self) -> str:
        verdict = Comparison.load(self.parts.chain["results"]).verdict
        return f"Verdict on {verdict.arm}: {verdict.kind}."

    @property
    def first_mplet(self) -> NDArray[np.int64]:
        """The classes of the first m-plet, or two classes where those are single."""
        first: NDArray[np.int64] = chosen_classes(self.parts.chain["mplets"])[0]
        return first if len(first) > 1 else np.arange(2)

    @cached_property
    def work(self) -> Work:
        return Work(self.parts.chain["generator"].folder, self.runtime, "explore")

    @cached_property
    def net(self) -> torch.nn.Module:
        """The baseline recognizer."""
        return opened(self.parts.chain["baseline"], self.work)

    @cached_property
    def centers(self) -> torch.Tensor:
        """Its centers of the training classes (classes, d), unit rows."""
        return centers_of(self.parts.chain["baseline"])

    @cached_property
    def sampler(self) -> Sampler:
        return Sampler(changed(self.exp.sampling, {"chunk": SINGLE}), self.parts.chain["generator"], self.work)

    def planned(self, asked: MixRequest) -> Sampling:
        """The run's sampling with what was asked; ValueError, one line, for what no sampling can be."""
        changes: dict[str, Any] = {"guidance": asked.guidance, "steps": asked.steps, "chunk": SINGLE, "convex": False}
        return changed(self.exp.sampling.alone, {**changes, "weights": None, "weights_end": asked.end})

    def mix(self, asked: MixRequest) -> ExploredMix:
        """The mix that was asked for. ValueError or FloatingPointError, one line, where there is none."""
        sampler = self.sampler
        sampler.plan = self.planned(asked)
        mixed = follow(sampler, np.array([asked.classes]), np.array([asked.weights]), _noise(asked))
        alone = self.alone(asked._replace(weights=(), end=None))
        unit = units(self.net, mixed.images)[0]
        cosine = self.centers @ unit
        best = cosine.topk(min(NEAREST, len(cosine))).indices.tolist()
        disagreement = float(mixed.disagreement[0])
        return ExploredMix(
            asked,
            tuple(self.names[k] for k in asked.classes),
            mixed.images[0],
            tuple(alone.images),
            tuple(self.nearest_real(k, unit)[0] for k in asked.classes),
            mixed.sigmas,
            (tuple(mixed.estimates[0]), *map(tuple, alone.estimates)),
            tuple(cosine[list(asked.classes)].tolist()),
            tuple((self.names[k], float(cosine[k])) for k in best),
            disagreement if np.isfinite(disagreement) else None,
        )

    @cached_property
    def alone(self) -> Callable[[MixRequest], Trajectories]:
        """Each class by itself from the noise of the mix; remembered, since the weights do not change it."""

        def followed(asked: MixRequest) -> Trajectories:
            sampler, labels = self.sampler, np.array(asked.classes)[:, None]
            sampler.plan = self.planned(asked)
            return follow(sampler, labels, np.ones(labels.shape), _noise(asked) * len(labels))

        return lru_cache(REMEMBERED)(followed)

    @cached_property
    def embedded(self) -> Callable[[int], torch.Tensor]:
        """Unit embeddings (n, d) of a training class's first images by the baseline recognizer; remembered."""
        return lru_cache(REMEMBERED)(lambda k: units(self.net, np.array(self.neighbours(k))))

    def neighbours(self, k: int) -> NDArray[np.uint8]:
        """The images of a training class among which the nearest is looked for."""
        return self.train.of_class(k)[:NEIGHBOURS]

    def grid(self, asked: MixRequest) -> illustrate.Pictures:
        """One noise under every pair of weights of two classes: rows alpha, of the first class, columns beta."""
        sampler = self.sampler
        sampler.plan = self.planned(asked._replace(end=None))
        return illustrate.grid(sampler, np.array(asked.classes), _noise(asked)[0])

    def nearest_real(self, k: int, unit: torch.Tensor, net: torch.nn.Module | None = None) -> tuple[Image, float]:
        """The image of a training class most similar to a unit embedding, and how similar."""
        images = self.neighbours(k)
        cosine = (self.embedded(k) if net is None else units(net, np.array(images))) @ unit
        best = int(cosine.argmax())
        return images[best], float(cosine[best])

    # ---- finding classes

    def matching(self, words: str, most: int) -> list[int]:
        """Training classes whose names hold the words, or those `far from NAME` or `close to NAME`, best first.

        ValueError where NAME is no class.
        """
        words = words.strip()
        for start, largest in (("far from ", False), ("close to ", True)):
            if words.lower().startswith(start):
                of = self.class_named(words[len(start) :].strip())
                order = (self.centers @ self.centers[of]).argsort(descending=largest).tolist()
                return [k for k in order if k != of][:most]
        return [k for k, name in enumerate(self.names) if words.lower() in name.lower()][:most]

    def class_named(self, name: str) -> int:
        """The class of that name, in any case; ValueError, with the nearest name, where there is none."""
        lower = [known.lower() for known in self.names]
        if name not in self.names and name.lower() in lower:
            return lower.index(name.lower())
        return int(positions([name], self.names, "the search", "training classes")[0])

    # ---- making it again

    def as_python(self, asked: MixRequest) -> str:
        """Lines that make the same image, bit by bit."""
        settings = self._settings(asked)
        options = "".join(f", {name}={value!r}" for name, value in settings.items())
        name, out, names = (
            json.dumps(of, ensure_ascii=False)  # a string in double quotes, which a shell's single ones may hold
            for of in (self.exp.name, str(self.runtime.out.resolve()), [self.names[k] for k in asked.classes])
        )
        return (
            "import scoremix\n\n"
            f"generator = scoremix.load_generator({name}, out={out}{options})\n"
            f"(image,) = generator.sample({names}, weights={list(asked.weights)!r}, count=1, seed={asked.seed})\n"
        )

    def as_command(self, asked: MixRequest) -> str:
        """A line for the shell that makes the same image as mix.png."""
        save = 'from scoremix.data.decode import png\nopen("mix.png", "wb").write(png(image))\n'
        return shlex.join(["python", "-c", self.as_python(asked) + save])

    def _settings(self, asked: MixRequest) -> dict[str, Any]:
        """The settings of sampling that differ from the run's."""
        sampling = self.exp.sampling
        wanted: dict[str, Any] = {"chunk": SINGLE, "guidance": asked.guidance, "steps": asked.steps}
        if asked.end is not None:
            wanted |= {"weights_end": asked.end, "convex": False}
        differing = {name: value for name, value in wanted.items() if value != getattr(sampling, name)}
        mixture = self.planned(asked).mixture  # `load_generator` mixes scores where it is not told otherwise
        return differing if mixture == "scores" else {**differing, "mixture": mixture}

    # ---- m-plets

    def mixes(self, arm: str) -> MixedImages:
        return MixedImages.load(self.parts.added[arm])

    def recognizer(self, arm: str) -> Artifact:
        """The first seed's of an arm."""
        return self.parts.recognizers[f"{arm}/{self.exp.seeds[0]}"]

    def judge(self, arm: str, image: Image) -> tuple[list[tuple[str, float, Image, float]], int]:
        """Of an image by an arm's recognizer: the nearest training classes, (name, cosine to its center, its most similar
        image, cosine to that), and the dimension of the embedding.
        """
        recognizer = self.recognizer(arm)
        net = opened(recognizer, self.work)
        unit = units(net, np.array(image[None]))[0]
        known = RecognizerSummary.load(recognizer).class_names
        place = {name: k for k, name in enumerate(self.names)}
        shared = [k for k, name in enumerate(known) if name in place]
        cosine = centers_of(recognizer)[shared] @ unit
        best = cosine.topk(min(NEAREST, len(shared))).indices.tolist()
        rows = [
            (known[shared[i]], float(cosine[i]), *self.nearest_real(place[known[shared[i]]], unit, net)) for i in best
        ]
        return rows, len(unit)


def _noise(asked: MixRequest) -> list[int]:
    """The seed of the one noise that a mix and each of its classes start from."""
    return noise_seeds(asked.seed, np.arange(1))


def units(net: torch.nn.Module, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Unit embeddings of a few images (B, H, W, C), on the CPU: as many are computed, where stages pad to whole chunks."""
    raw = embed(net, torch.from_numpy(pixels).permute(0, 3, 1, 2), batch=len(pixels))
    return torch.nn.functional.normalize(raw).cpu()
