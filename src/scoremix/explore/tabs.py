"""What stands on the page: four tabs over an open run, each a few inputs and the pieces they fill."""

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from scoremix.config import ConfigError
from scoremix.data.csv_text import numbers_of
from scoremix.data.decode import decode, with_channels
from scoremix.explore import people, view
from scoremix.explore.mplets import listed, pages_of
from scoremix.explore.opened import MixRequest, OpenedRun
from scoremix.stages.show.illustrate import TICKS

MOST, THUMBS = 4, 60  # classes of a mix; classes shown to choose from
LARGEST = 64 << 20  # bytes of a photograph
NET: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "networks"}  # one after the other
QUICK: dict[str, Any] = {**NET, "show_progress": "hidden"}
PICK, COPY = ((Path(__file__).parent / name).read_text() for name in ("pick.js", "copy.js"))


def or_problem(piece: Callable[..., str]) -> Callable[..., str]:
    """The same piece, or in its place what was wrong with what was asked for."""

    @wraps(piece)
    def answered(*args: Any) -> str:
        try:
            return piece(*args)
        except (ValueError, ArithmeticError, OSError) as problem:
            return view.error(problem)

    return answered


class Mixer:
    """What the tab of mixes answers, from what stands in its inputs."""

    def __init__(self, run: OpenedRun) -> None:
        self.run = run

    def thumbs(self, words: str, chosen: list[int]) -> str:
        """The classes that the words find, those chosen first where there are no words."""
        run = self.run
        try:
            matching = run.matching(words, THUMBS)
        except ValueError as problem:
            return view.error(problem)
        if not words:
            matching = [*chosen, *(k for k in matching if k not in chosen)]
        images = {k: run.train.of_class(k)[0] for k in matching}
        return view.piece("thumbs", found=matching, images=images, names=run.names, chosen=chosen)

    def sliders(self, chosen: list[int]) -> list[dict[str, Any]]:
        """Label, value and visibility of each slider: equal weights of the chosen classes."""
        equal = {"visible": True, "value": round(1 / len(chosen), 2)} if chosen else {}
        shown = [{"label": f"weight of {self.run.names[k]}", **equal} for k in chosen]
        return shown + [{"label": "weight", "visible": False, "value": 0.0}] * (MOST - len(chosen))

    def toggled(self, chosen: list[int], words: str, event: gr.EventData) -> list[Any]:
        """The choice with the class that was clicked or without it, and what follows of it."""
        k = int(event.k)
        if k in chosen:
            chosen = [other for other in chosen if other != k]
        elif len(chosen) < MOST:
            chosen = [*chosen, k]
        return [chosen, self.thumbs(words, chosen), *(gr.update(**each) for each in self.sliders(chosen))]

    def asked(self, chosen: list[int], *given: Any) -> MixRequest:
        """The inputs as a mix; ConfigError for what is none."""
        m = len(chosen)
        if m < 2:
            raise ConfigError(f"{m} class chosen: choose two to {MOST}")
        weights, (convex, end, guidance, steps, seed) = np.array(given[:m], float), given[MOST:]
        if convex:
            if not weights.sum():
                raise ConfigError("weights: all are 0, at least one must be above")
            weights = weights / weights.sum()
        plan = float(guidance), int(steps), int(seed or 0)
        return MixRequest(tuple(chosen), tuple(weights.tolist()), numbers(end, m), *plan)

    @or_problem
    def mixed(self, *given: Any) -> str:
        """The mix between its sources, its path, and how to make it again."""
        of = self.asked(*given)
        mix, command, python = self.run.mix(of), self.run.as_command(of), self.run.as_python(of)
        return view.piece("mixed", made=mix, command=command, python=python)

    @or_problem
    def grid(self, *given: Any) -> str:
        """All pairs of weights of two classes."""
        of = self.asked(*given)
        if len(of.classes) != 2:
            raise ConfigError(f"{len(of.classes)} classes chosen: pairs of weights need two")
        names = dict(zip(("first", "second"), (self.run.names[k] for k in of.classes), strict=True))
        return view.piece("grid", cells=self.run.grid(of), ticks=TICKS, **names)


def mix_tab(run: OpenedRun, blocks: gr.Blocks) -> None:
    """Classes, weights, guidance, steps and seed; the mix between its sources, its path, how to make it again."""
    mixer, first = Mixer(run), [int(k) for k in run.first_mplet[:MOST]]
    chosen = gr.State(first)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            search = gr.Textbox(label="Find classes", placeholder="part of a name, far from NAME, close to NAME")
            gallery = gr.HTML(mixer.thumbs("", first), js_on_load=PICK, elem_id="classes")
            sliders = [
                gr.Slider(0, 1, step=0.01, elem_id=f"weight-{i}", **each) for i, each in enumerate(mixer.sliders(first))
            ]
            convex = gr.Checkbox(True, label="weights sum to 1")
            example = "as many numbers, such as 0, 1; empty: the same"
            end = gr.Textbox(label="Weights at the lowest noise", placeholder=example)
            guidance = gr.Slider(0, 4, run.exp.sampling.guidance, step=0.05, label="guidance", elem_id="guidance")
            steps = gr.Slider(2, 64, run.exp.sampling.steps, step=1, label="steps")
            seed = gr.Number(0, label="seed", precision=0, minimum=0)
        with gr.Column(scale=5, min_width=300):
            picture = gr.HTML(js_on_load=COPY, elem_id="picture")
            button = gr.Button("All pairs of weights of the two classes")
            cells = gr.HTML(elem_id="grid")
    inputs = [chosen, *sliders, convex, end, guidance, steps, seed]
    search.input(mixer.thumbs, [search, chosen], gallery, trigger_mode="always_last", show_progress="hidden")
    changed = gallery.click(mixer.toggled, [chosen, search], [chosen, gallery, *sliders], show_progress="hidden")
    changed.then(mixer.mixed, inputs, picture, **QUICK)
    for control in (*sliders, convex, end, guidance, steps, seed):
        control.input(mixer.mixed, inputs, picture, trigger_mode="always_last", **QUICK)
    button.click(mixer.grid, inputs, cells, **NET)
    blocks.load(mixer.mixed, inputs, picture, **QUICK)


def numbers(text: str, m: int) -> tuple[float, ...] | None:
    """The numbers in a text, none of an empty one; ConfigError where they are not m."""
    if not text.strip():
        return None
    weights = numbers_of(",".join(text.replace(",", " ").split()), "weights at the lowest noise")
    if len(weights) != m:
        raise ConfigError(f"weights at the lowest noise {text!r}: {m} numbers are needed")
    return weights


def mplets_tab(run: OpenedRun, blocks: gr.Blocks) -> None:
    """The m-plets of an arm as a table with pictures."""
    arms = list(run.parts.added)
    if not arms:
        gr.HTML(view.error("No arm of this run adds images."))
        return

    @or_problem
    def table(arm: str, number: float) -> str:
        rows, about = listed(run, arm, int(number) - 1)
        return view.piece("mplets", rows=rows, about=about)

    def pages(arm: str) -> dict[str, Any]:
        count = pages_of(run, arm)
        return {"minimum": 1, "maximum": max(2, count), "value": 1, "visible": count > 1}

    with gr.Row():
        arm = gr.Dropdown(arms, value=arms[0], label="arm", elem_id="mplet-arm")
        number = gr.Slider(**pages(arms[0]), step=1, label="page")
    shown = gr.HTML(elem_id="mplets")
    arm.input(lambda arm: gr.update(**pages(arm)), arm, number).then(table, [arm, number], shown, **NET)
    number.input(table, [arm, number], shown, trigger_mode="always_last", **NET)
    blocks.load(table, [arm, number], shown, **NET)


def classes_tab(run: OpenedRun, blocks: gr.Blocks) -> None:
    """A map of all classes, and the worst errors of two arms."""
    kinds: list[people.Kind] = []

    @or_problem
    def drawn() -> str:
        kinds[:], share = people.embedding_map(run)
        return view.piece("map", kinds=kinds, points=view.map_points(kinds), share=share)

    @or_problem
    def one(event: gr.EventData) -> str:
        kind = kinds[int(event.kind)]
        images = kind.images.of_class(int(event.k))[: people.SHOWN]
        return view.piece("one_class", name=kind.images.class_names[int(event.k)], kind=kind.name, images=list(images))

    place = gr.HTML(js_on_load=PICK, elem_id="map")
    of = gr.HTML(elem_id="of-class")
    place.click(one, None, of, show_progress="hidden")
    blocks.load(drawn, None, place, **NET)

    @or_problem
    def worst(arm: str) -> str:
        errors, images = people.errors(run)
        return view.piece("mistakes", arm=arm, found=errors, images=images)

    arms, treatment = list(run.exp.arms), run.exp.evaluation.treatment
    other = next((name for name in run.exp.evaluation.controls if name in arms), arms[0])
    gr.HTML('<div class="sm"><h2>Pairs that are judged wrongly</h2></div>')
    with gr.Row():
        for place_of, start in (("left", other), ("right", treatment)):
            with gr.Column(min_width=280):
                arm = gr.Dropdown(arms, value=start, label="arm", elem_id=f"errors-{place_of}")
                shown = gr.HTML(worst(start))
                arm.input(worst, arm, shown)


def upload_tab(run: OpenedRun) -> None:
    """A photograph of one's own: nearest classes, and the decision at the run's thresholds."""
    arms, size, channels = list(run.exp.arms), run.train.size, run.train.channels

    @or_problem
    def judged(file: bytes | None, arm: str) -> str:
        if not file:
            return ""
        image = with_channels(decode(io.BytesIO(file), size)[None], channels)[0]
        rows, dims = run.judge(arm, image)
        return view.piece("judged", image=image, rows=rows, dims=dims, thresholds=people.thresholds(run, arm), arm=arm)

    with gr.Row():
        file = gr.File(
            label="a photograph (it stays on this machine)", type="binary", file_types=["image"], elem_id="upload"
        )
        arm = gr.Dropdown(arms, value=run.exp.evaluation.treatment, label="recognizer: arm")
    shown = gr.HTML(elem_id="judged")
    for control in (file, arm):
        control.change(judged, [file, arm], shown, **NET)
