"""Does a generator know its classes? The gate at every snapshot and guidance, for the generators of a study's arms.

python benchmarks/gates.py STUDY.yaml --data NAME [--arms a,b] [--guidance 1,2] [--out scoremix_runs] [--json FILE]

Trains what is missing (the study takes it over) and reproduces every training class. A row has the share of the
reproductions that the baseline recognizer names as their own class (top1), and among the five nearest (top5), their mean
cosine to their own class center, how alike the images of one class are (coherence), and the share that is nearer to a
training image than 99 % of the images of validation classes are (copies).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.config import Experiment, Runtime
from scoremix.config.study import read_study
from scoremix.data.files import write_file
from scoremix.data.image_order import stream_seed
from scoremix.diffusion import checkpoints
from scoremix.diffusion.unet import frozen
from scoremix.evaluation.coherence import own_similarity
from scoremix.execution import processes as engine
from scoremix.execution import runner
from scoremix.execution.artifacts import Artifact
from scoremix.execution.records import source_of
from scoremix.execution.store import Store
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images
from scoremix.outputs.networks import GeneratorSummary, centers_of
from scoremix.stages.embedding import all_embedded, embedded_pixels, opened
from scoremix.stages.mix.plan import guide_for
from scoremix.stages.mix.sample import Networks, noise_seeds


def artifacts(exp: Experiment, arm: str, judge: str, runtime: Runtime) -> tuple[Artifact, Artifact, Artifact, float]:
    """Real images, the judging recognizer and the arm's generator, with the CPU seconds that its training took just now."""
    source, store = source_of(exp), Store(runtime.out / "store")
    labels = {step.label for step in runner.plan_all(exp, source, store)}

    def made(label: str) -> Artifact:
        return runner.run(exp, source, runner.Runner(store, runtime, label))

    real, recognizer = made("ingest"), made(judge)
    own = f"generator for {arm}"
    before = time.process_time()
    generator = made(own if own in labels else "generator")
    return real, recognizer, generator, time.process_time() - before


def nearest(unit: torch.Tensor, known: torch.Tensor) -> NDArray[np.float32]:
    """The similarity of each embedding to the most similar of others."""
    return np.concatenate([(part @ known.T).amax(1).numpy() for part in torch.split(unit, 1024)])


def rows(
    exp: Experiment, real: Artifact, judge: Artifact, generator: Artifact, guidances: list[float], images: int
) -> Iterator[dict[str, Any]]:
    """One per snapshot from the guide's own on, and guidance; a guide of the end is each snapshot itself."""
    info, train, centers = GeneratorSummary.load(generator), real_images(real), centers_of(judge)
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), Runtime(device="cpu", quiet=True), "gates")
        recognizer, sampling = opened(judge, work), exp.sampling
        known, unseen = (all_embedded(recognizer, real_images(real, part)) for part in ("train", "validation"))
        near = float(np.quantile(nearest(unseen, known), 0.99))
        labels = np.repeat(np.arange(len(train.class_names)), images)
        seeds = noise_seeds(stream_seed(0, "gates"), np.arange(len(labels)))
        for std, seen, _ in checkpoints.stored(generator.folder):
            guide_at = seen if info.guide_at == info.images_seen else info.guide_at
            if round(std, 3) != round(sampling.ema, 3) or seen < guide_at:
                continue
            main, pixels = checkpoints.average(generator.folder, std, seen, sampling.precision)
            guide, _ = checkpoints.average(generator.folder, sampling.guide_ema, guide_at, sampling.precision)
            for guidance in guidances:
                plan = sampling.model_copy(update={"guidance": guidance, "weights_end": None})
                networks = Networks(plan, work, frozen(main), guide_for(plan, frozen(guide)), pixels, plan)
                unit = embedded_pixels(recognizer, networks.images(labels[:, None], (1.0,), seeds))
                similarity = unit @ centers.T
                hits = similarity.topk(min(5, len(centers)), dim=1).indices.numpy() == labels[:, None]
                grouped = unit.view(-1, images, unit.shape[1])
                yield {
                    "classes": len(centers),
                    "photographs": len(train),
                    "images_seen": seen,
                    "per_class": seen / len(centers),
                    "guidance": guidance,
                    "top1": float(hits[:, 0].mean()),
                    "top5": float(hits.any(1).mean()),
                    "own_cosine": float(similarity[torch.arange(len(labels)), torch.from_numpy(labels)].mean()),
                    "coherence": float(own_similarity(grouped).mean()) if images > 1 else None,
                    "copies": float((nearest(unit, known) > near).mean()),
                    "reproductions": len(labels),
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", required=True, help="a data set of the study")
    parser.add_argument("--arms", default="coherent_first", help="arms whose generators are measured")
    parser.add_argument("--guidance", default="1,2")
    parser.add_argument(
        "--judge", default="baseline", help="the recognizer that names them, such as 'recognizer real/1'"
    )
    parser.add_argument("--images", type=int, default=4, help="reproductions of a class")
    parser.add_argument("--out", type=Path, default=Path("scoremix_runs"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runtime = Runtime(out=options.out, device="cpu", threads=1)
    engine.use_threads(1)
    config = read_study(options.study)
    if options.data not in config.data:
        parser.error(f"--data {options.data!r}: the study has {', '.join(config.data)}")
    exp = runner.decided(config.experiment(options.data, config.generator_seeds[0]), "cpu")
    if unknown := [arm for arm in options.arms.split(",") if arm not in exp.arms]:
        parser.error(f"--arms {unknown[0]!r}: the study has {', '.join(exp.arms)}")
    found = []
    for arm in options.arms.split(","):
        real, judge, generator, seconds = artifacts(exp, arm, options.judge, runtime)
        own = exp.changed_by(exp.arms[arm])
        measured = []
        for row in rows(own, real, judge, generator, [*map(float, options.guidance.split(","))], options.images):
            print(arm, json.dumps(row), flush=True)
            measured.append(row)
        about = {
            "arm": arm,
            "data": options.data,
            "cpu_seconds": seconds,
            "parameters": GeneratorSummary.load(generator).parameters,
            "judge": options.judge,
            "key": generator.key,
            "generator": own.generator.model_dump(mode="json"),
            "ema": own.sampling.ema,
            "guide_interval": own.sampling.guide_interval,
        }
        found.append({**about, "rows": measured})
        if options.json:
            write_file(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
