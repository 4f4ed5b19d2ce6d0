"""The model card of a delivered recognizer, in the form of Hugging Face: what it is, how to use it, how far to trust it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import metric_of, power
from scoremix.outputs.comparison import Comparison
from scoremix.report.numbers import difference, interval, mean, noun, unit

TAGS = ("scoremix", "metric-learning", "image-similarity", "verification", "identification")


@dataclass(frozen=True)
class Card:
    """What the card says; `thresholds` is the file of that name."""

    name: str
    version: str
    licence: str
    recipe: str  # the arm
    why: str
    note: str  # of the arm
    seeds: Sequence[int]
    retrained: bool
    counts: Mapping[str, tuple[int, int]]  # part of the run's split -> classes, images
    mixed: tuple[int, int]  # classes and images of mixes, 0 where there are none
    generated: bool  # by a generator
    steps: int
    results: Comparison
    thresholds: Mapping[str, Any]
    description: Mapping[str, Any]  # of the network
    parameters: int

    def text(self) -> str:
        """The whole README.md."""
        front = {
            "license": self.licence,
            "library_name": "onnx",
            "pipeline_tag": "image-feature-extraction",
            "tags": list(TAGS),
        }
        sections = {
            "Use": self._use(),
            "Data": self._data(),
            "Recipe": self._recipe(),
            "What was measured": self._measured(),
            "Thresholds": self._thresholds(),
            "Limits": self._limits(),
        }
        head = f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# {self.name}: a recognizer\n\n{self._about()}\n"
        return head + "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())

    def _about(self) -> str:
        d, of = self.description, sum(classes for classes, _ in self.counts.values())
        colour = "grey" if d["channels"] == 1 else "colour"
        return (
            f"Turns an image ({colour}, {d['size']} px) into a vector of {d['embedding']} numbers, of length 1. The dot product of two images' "
            f"numbers is their similarity, at most 1; above a threshold they count as one class. Trained on "
            f"{of:,} classes by scoremix {self.version}; {self.parameters:,} parameters, {d['provenance']}."
        )

    # ---- sections

    def _use(self) -> Iterator[str]:
        yield "With scoremix (`pip install 'scoremix[use]'`; PyTorch is not loaded):"
        yield "\n```python\nimport scoremix\n"
        yield 'model = scoremix.load_model(".")  # this folder, or recognizer.onnx alone'
        yield 'print(model.verify("a.png", "b.png"))'
        yield 'print(model.identify("gallery", "probes"))  # folders: gallery/NAME/image.png, probes/image.png\n```'
        yield "\nOr without it (`pip install onnxruntime numpy pillow`):\n"
        yield f"```python\n{self._alone()}```"
        yield (
            "\nImages are prepared as they were for training: upright, the centred square, Lanczos to the network's size. "
            "Show it images cut and aligned as the training images were."
        )

    def _alone(self) -> str:
        """Lines of Python that need onnxruntime, numpy and Pillow."""
        d = self.description
        size, channels = d["size"], d["channels"]
        last = {1: '.convert("L")', 3: ""}[channels]
        flip = "[:, :, ::-1]" if d["colour"] == "bgr" else ""
        scaled = {"-1..1": "/ 127.5 - 1", "0..1": "/ 255"}[d["scaling"]]
        point = self._point()
        above = f", similarity > {point['threshold']['value']:.4f})  # at FAR {point['far']:g}" if point else ")"
        return (
            "import numpy as np\n"
            "import onnxruntime\n"
            "from PIL import Image, ImageOps\n\n"
            'session = onnxruntime.InferenceSession("recognizer.onnx")\n\n\n'
            "def embed(file):\n"
            '    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")\n'
            "    side = min(image.size)\n"
            "    left, top = (image.width - side) / 2, (image.height - side) / 2\n"
            f"    image = image.resize(({size}, {size}), Image.Resampling.LANCZOS, (left, top, left + side, top + side))\n"
            f"    pixels = np.asarray(image{last}, np.float32).reshape({size}, {size}, {channels}){flip} {scaled}\n"
            '    return session.run(None, {"images": pixels.transpose(2, 0, 1)[None]})[0][0]\n\n\n'
            'similarity = embed("a.png") @ embed("b.png")\n'
            f"print(similarity{above}\n"
        )

    def _data(self) -> Iterator[str]:
        yield "| in the run | classes | images |\n|---|---|---|"
        yield from (f"| {part} | {classes:,} | {images:,} |" for part, (classes, images) in self.counts.items())
        classes, images = (sum(column) for column in zip(*self.counts.values(), strict=True))
        yield f"| all: trained on | {classes:,} | {images:,} |"
        yield "\n`classes.tsv` lists them."

    def _recipe(self) -> Iterator[str]:
        seeds = ", ".join(map(str, self.seeds))
        about = f" ({self.note})" if self.note else ""
        yield f"`{self.recipe}`{about}: {self.why}"
        if self.mixed[1]:
            by = "no generator needed"
            if self.generated:
                by = "the generator was trained on " + (
                    "all classes" if self.retrained else "the training classes alone"
                )
            own = f" as {self.mixed[0]:,} classes of their own" if self.mixed[0] else ""
            yield f"Added to the real images: {self.mixed[1]:,} mixed images{own}; {by}."
        many = (
            f"The mean of {len(self.seeds)} networks' embeddings, seeds {seeds}" if self.seeds[1:] else f"Seed {seeds}"
        )
        yield f"{many}, {noun(self.steps, 'step')} of training. No seed was picked by its result."
        yield "`settings.json` has every setting, `provenance.json` what the model was made of."

    def _measured(self) -> Iterator[str]:
        r, t = self.results, self.thresholds
        metric, verdict = metric_of(r.headline), r.verdict
        yield (
            f"This very network was trained on all classes, so there is nothing left to measure it on. What follows was "
            f"measured in the run, on {t['classes']:,} {r.classes} classes ({t['images']:,} images) that the run's own "
            "recognizers of the same recipe had not seen."
        )
        yield f"\nVerdict on `{verdict.arm}`: {verdict.kind}.\n"
        columns = ["arm", f"{metric.label}, per cent", *(f"minus `{c}`, {unit(metric)}" for c in verdict.controls)]
        yield f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
        for arm in dict.fromkeys([self.recipe, verdict.arm, *verdict.controls]):
            value = r.arms[arm][metric.key]
            cells = [f"`{arm}`", f"{mean(value, metric)} ({interval(value, metric)})"]
            for control in verdict.controls:
                of = [d.estimate for d in r.differences if (d.arm, d.control, d.metric) == (arm, control, metric.key)]
                cells.append(difference(of[0], metric) if of else "")
            yield f"| {' | '.join(cells)} |"
        yield (
            f"\nIn brackets: {100 * t['level']:.0f} % intervals over classes. "
            + (
                "These classes may have been looked at to choose the recipe."
                if r.classes == "validation"
                else _looks(r.looks)
            )
        )

    def _thresholds(self) -> Iterator[str]:
        t = self.thresholds
        yield (
            f"A pair counts as one class where its similarity is above the threshold. FAR is the share of pairs of two "
            f"classes that are accepted, TAR that of pairs of one class; from {t['impostor_pairs']:,} and "
            f"{t['genuine_pairs']:,} pairs of the classes above, as means over the run's recognizers.\n"
        )
        yield "| FAR | threshold | interval | TAR, per cent | interval |\n|---|---|---|---|---|"
        for point in t["points"]:
            threshold, tar = (Estimate.from_json(point[name]) for name in ("threshold", "tar"))
            ends = [
                f"{e.interval.low * by:.{digits}f} to {e.interval.high * by:.{digits}f}" if e.interval else ""
                for e, by, digits in ((threshold, 1, 3), (tar, 100, 1))
            ]
            yield f"| {power(point['far'])} | {threshold.value:.4f} | {ends[0]} | {100 * tar.value:.1f} | {ends[1]} |"
        if t["unsupported"]:
            missing = ", ".join(power(float(far)) for far in t["unsupported"])
            yield f"\nThe pairs are too few for {missing}: set no threshold there."
        yield (
            "\nThe thresholds belong to classes that were not trained on. Pairs of classes seen in training, those of "
            "`classes.tsv`, look better than these numbers say: fewer are confused, more are recognized."
        )

    def _limits(self) -> Iterator[str]:
        yield "- It knows images like those it was trained on. Others (another camera, another cut, another population) need thresholds of their own."
        yield "- The thresholds were measured with networks trained on fewer classes; this one's similarities may lie somewhat otherwise."
        yield "- Among N enrolled images a stranger is taken for somebody with a chance of up to N times the FAR: a large gallery needs a small FAR."
        yield "- Errors may be more frequent in some groups than in others; the run's report shows them where groups are known."
        if self.licence == "other":
            yield "- No licence was given: whose images these are decides what may be done with the model."

    def _point(self) -> Mapping[str, Any] | None:
        """The operating point of the headline FAR, else the strictest there is."""
        points = self.thresholds["points"]
        return next((p for p in points if p["far"] == self.thresholds["headline"]), points[-1] if points else None)


def _looks(looks: int) -> str:
    return "The classes were looked at once." if looks <= 1 else f"The classes were looked at {looks} times."
