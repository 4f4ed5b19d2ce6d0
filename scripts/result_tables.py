"""Markdown tables of the stored JSON: studies, runs, quality, and what was measured of speed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from scoremix.report.study import Study

PRECISIONS = ("float32", "bfloat16")


def prose(text: str) -> str:
    """A sentence in lines that can be read in an editor."""
    return textwrap.fill(text, 150, break_long_words=False, break_on_hyphens=False)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def quality_section(stored: dict[str, Any]) -> str:
    """What a run's images are and leak, one line per set."""
    heads = {
        "images": ("images", "{:,.0f}"),
        "ics": ("alike within a class", "{:.2f}"),
        "align": ("distance to the target", "{:.2f}"),
        "precision": ("precision", "{:.2f}"),
        "recall": ("recall", "{:.2f}"),
        "nearest": ("similarity to the nearest training image", "{:.2f}"),
        "leak@0.01": ("nearer than FMR 10⁻² allows, %", "{:.0%}"),
        "leak@0.001": ("nearer than FMR 10⁻³ allows, %", "{:.0%}"),
        "leak_others@0.001": ("the same, its own classes aside, %", "{:.0%}"),
    }
    rows = (
        [name, *(form.format(values[key]).rstrip("%") if key in values else "" for key, (_, form) in heads.items())]
        for name, values in stored["sets"].items()
    )
    lines = markdown(["images", *(head for head, _ in heads.values())], rows)
    made = stored["manifest"]
    about = f"Run {stored['run']}; {'; '.join(stored['notes'])}. Manifest: {made['key'][:12]}, code {str(made['commit'])[:12]}, finished {made['finished'][:10]}."
    return "\n".join([*lines, "", prose(about)])


def study_section(stored: dict[str, Any]) -> str:
    """Tables of a study: every arm, and its differences to the last control."""
    parts = [table_section(table) for table in stored["tables"]]
    if stored["missing"]:
        runs = Study(stored["name"], (), tuple(stored["missing"])).not_run()
        parts += [prose(f"Not run in {run}: {', '.join(arms)}.") for run, arms in runs.items()]
    return "\n\n".join(parts)


def table_section(table: dict[str, Any]) -> str:
    wanted = [m for m in table["metrics"] if m.startswith(("tar@", "rank", "mmpmr@", "accuracy"))]
    heads = [m.replace("tar@", "TAR@FAR ").replace("rank", "rank-").replace("mmpmr@", "morphs@FAR ") for m in wanted]
    control = table["controls"][-1]
    rows = []
    for row in table["rows"]:
        cells = [mean_and_spread(row["metrics"][m]) if m in row["metrics"] else "–" for m in wanted]
        difference = next(
            (d for d in row["differences"] if (d["control"], d["metric"]) == (control, table["headline"])), None
        )
        held = f"{row['mix']['own_center']:.2f}" if "own_center" in row["mix"] else ""
        against = percent(difference, True) if difference else ""
        p = f"{row['adjusted'][control]:.3f}" if control in row["adjusted"] else ""
        runs = len(next(iter(row["metrics"].values()))["runs"])
        rows.append([row["arm"], *cells, against, str(runs), p, held])
    gain = f"{heads[wanted.index(table['headline'])]} minus {control}"
    lines = markdown(["arm", *heads, gain, "runs", "p, Holm", "coherence"], rows)
    for arm, other, cells in table.get("pairs", ()):
        shown = "; ".join(f"{head} {percent(cells[m], True)}" for m, head in zip(wanted, heads, strict=True))
        lines += [
            "",
            prose(
                f"{arm} minus {other}, points: {shown}. Seed by seed in {heads[wanted.index(table['headline'])]}: "
                f"{', '.join(f'{100 * v:+.1f}' for v in cells[table['headline']]['runs'])}."
            ),
        ]
    gates = ", ".join(f"{100 * g['top1']:.0f} % (seed {seed})" for seed, g in table["gates"].items())
    named = f" Reproductions named by the baseline: {gates}." if gates else ""
    made = next(iter(table["manifests"].values()))
    return "\n".join(
        [
            f"### {table['data']}",
            "",
            prose(f"**{table['sentence']}**"),
            "",
            *lines,
            "",
            prose(
                f"Per cent: mean ± standard deviation over runs (recognizer seeds × generators), on {table['classes']} classes, {table['size']} px; "
                f"the difference with its 95 % interval over classes; Holm's correction is over all arms and controls of this data."
                f"{named} Manifests: {', '.join(m['key'][:12] for m in table['manifests'].values())}, code {str(made['commit'])[:12]}, "
                f"torch {made['versions']['torch']}, finished {made['finished'][:10]}."
            ),
        ]
    )


def mean_and_spread(cell: dict[str, Any]) -> str:
    """Mean and standard deviation over runs in per cent."""
    return f"{100 * cell['value']:.1f}" + ("" if cell["spread"] is None else f" ± {100 * cell['spread']:.1f}")


def percent(estimate: dict[str, Any], signed: bool = False) -> str:
    """Value and interval in per cent."""
    form = "+.1f" if signed else ".1f"
    value, low, high = (format(100 * estimate[n], form) for n in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def seeds(estimate: dict[str, Any]) -> str:
    return ", ".join(f"{100 * v:+.1f}" for v in estimate["seeds"])


def run_section(stored: dict[str, Any]) -> str:
    """Tables of one run."""
    metrics = [m for m in stored["evaluation"]["metrics"] if not m["reason"]]
    judged, counts = stored["verdict"]["arm"], ("classes", "images", "steps")
    heads = [m["label"].replace("\u00a0", " ") for m in metrics]
    arms = (
        [arm["name"], *(str(arm[n]) for n in counts), *(percent(arm["metrics"][m["key"]]) for m in metrics)]
        for arm in stored["arms"]
    )
    lines, differences = markdown(["arm", *counts, *heads], arms), []
    for control in stored["verdict"]["controls"]:
        found = {
            d["metric"]: d["estimate"] for d in stored["differences"] if (d["arm"], d["control"]) == (judged, control)
        }
        cells = [f"{percent(found[m['key']], True)}; {seeds(found[m['key']])}" for m in metrics]
        differences.append([f"{judged} minus {control}", *cells])
    lines += ["", *markdown(["difference, points", *heads], differences)]
    if choice := stored.get("choice"):
        led = {name: percent(lead, True) for name, lead in choice["leads"].items()} | {choice["safe"]: ""}
        label = next(m["label"] for m in metrics if m["key"] == choice["metric"]).replace("\u00a0", " ")
        heads = [f"candidate, {choice['classes']} validation classes", label, f"minus {choice['safe']}"]
        rows = ([name, percent(mean), led[name]] for name, mean in choice["means"].items())
        lines = [*markdown(heads, rows), "", *lines]
    parts = ", ".join(f"{s['classes']} {s['name']} ({s['images']} images)" for s in stored["data"]["splits"])
    gate, cost = stored["gate"], sum(c["seconds"] for c in stored["costs"])
    manifest = stored["manifest"]
    return "\n".join(
        [
            prose(
                f"**Verdict: {stored['verdict']['kind']}.** Classes: {parts}. The baseline recognizer puts {100 * gate['top1']:.0f} % of the "
                f"reproductions in their own class (at least {100 * gate['floor']:.0f} % are needed). {cost / 60:.0f} minutes of computing."
            ),
            "",
            *lines,
            "",
            prose(
                f"Per cent, mean over seeds {stored['evaluation']['recognizer_seeds']} with 95 % interval over test classes, differences also seed by seed; one generator. "
                f"Manifest: compare {manifest['key'][:12]}, code {str(manifest['commit'])[:12]}, torch {manifest['versions']['torch']}, "
                f"finished {manifest['finished'][:10]}."
            ),
        ]
    )


USUAL = {"augment": 0.0, "dropout": 0.0, "noise_mean": -0.8, "label_dropout": 0.0, "label_balance": 0.5}


def gates_table(stored: list[dict[str, Any]]) -> str:
    """The gate of every snapshot and guidance of some generators."""
    heads: tuple[str, ...] = (
        "conditions, batch, rate",
        "images seen",
        "per class",
        "guidance",
        "gate",
        "among 5",
        "cosine to own center",
    )
    counted = "copies" in stored[0]["rows"][0]
    heads += ("copies",) if counted else ()
    rows = []
    for made in stored:
        of = made["generator"]
        changes = {name: of[name] for name, usual in USUAL.items() if of.get(name, usual) != usual}
        changes |= {"alignment loss": of["align"]["weight"]} if of.get("align") else {}
        changes |= (
            {"guided at middle noise up to sigma": made["guide_interval"][1]} if made.get("guide_interval") else {}
        )
        changes |= {"EMA length": made["ema"]} if made.get("ema", 0.05) != 0.05 else {}
        differs = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in changes.items())
        for row in made["rows"]:
            shares = [f"{row[k]:.3f}" for k in ("top1", "top5", "own_cosine")]
            shares += [f"{row['copies']:.3f}"] if counted else []
            what = f"{of['conditions']}, {of['batch']}, {of['lr']:g}{differs}"
            rows.append([what, f"{row['images_seen']:,}", f"{row['per_class']:.0f}", f"{row['guidance']:g}", *shares])
    stopped = [
        f" The one with {m['generator']['conditions']} conditions was stopped {m['stopped']}."
        for m in stored
        if "stopped" in m
    ]
    copies = " Copies are nearer to a training image than 99 % of the images of validation classes." if counted else ""
    about = f"Each gate is of {stored[0]['rows'][0]['reproductions']} reproductions.{copies}{''.join(stopped)}"
    return "\n".join([*markdown(heads, rows), "", about])


def presentation_table(stored: dict[str, Any]) -> str:
    """How many of the images shown as a training class each arm's recognizers accept; differences to equal steps."""
    shown, differences = stored["accepted"], stored["differences"]
    heads = ["arm", *(f"{what}, %" for what in shown)]
    heads += [f"{what}, minus equal_steps" for what in ("reproductions", "mixes")] + ["told apart, %"]
    rows = []
    for arm in shown["mixes"]:
        cells = [f"{of[arm]['value']:.1f} ({of[arm]['low']:.1f} to {of[arm]['high']:.1f})" for of in shown.values()]
        found = [differences[what].get(arm) for what in ("reproductions", "mixes")]
        signed = [f"{of['value']:+.1f} ({of['low']:+.1f} to {of['high']:+.1f})" if of else "" for of in found]
        told = stored["told_apart"][arm]
        rows.append([arm, *cells, *signed, f"{100 * sum(told) / len(told):.0f}"])
    about = (
        f"{stored['classes']} training classes, a threshold that 1 % of the pairs of two evaluated classes exceed; per cent of pairs with a real image of the "
        f"class, means over seeds with 95 % intervals over classes. Told apart: how often a linear classifier of embeddings tells real training images from "
        f"reproductions (50: never)."
    )
    return "\n".join([*markdown(heads, rows), "", prose(about)])


def shift_table(rows: list[dict[str, Any]]) -> str:
    heads = ("noise", "seed", "arm", "TAR at FAR 1e-3", "TAR at FAR 1e-2", "rank-1", "mean embedding")
    cells = []
    for r in rows:
        values = [f"{100 * r[n]:.1f}" if r.get(n) is not None else "-" for n in ("tar@0.001", "tar@0.01", "rank1")]
        cells.append([f"{r['noise']:g}", str(r["seed"]), r["arm"], *values, f"{r['mean']:.2f}"])
    return "\n".join(markdown(heads, cells))


def mplets_table(stored: dict[str, Any]) -> str:
    """Exact m-plets: time in units of the same run's product, work, memory; then the comparisons."""
    machine, results = stored["machine"], stored["results"]
    lines = ["| case | N | D | threads | products | CPU products | sets evaluated, all / | peak GB |", "|---" * 8 + "|"]
    for name, r in results.items():
        if "products" in r:
            times, work = f"{r['products']:.1f} | {r['products_cpu']:.1f}", f"{r['less_work_than_all']:,.0f}"
            threads = r.get("threads", machine["threads"])
            lines.append(f"| {name} | {r['n']:,} | {r['d']} | {threads} | {times} | {work} | {r['peak_gb']:.2f} |")
    lines += ["", "| against | N | D | times as fast | by CPU time | at most, by CPU time |", "|---" * 6 + "|"]
    for name, against in (
        ("exhaustive", "a compiled loop over all triples, heaps of the best 20,000"),
        ("exhaustive-1", "the same, one thread"),
        ("exhaustive-100", "the same, the best 100"),
        ("faiss", "faiss, the best 20,000 pairs"),
    ):
        if "times_faster" in (r := results.get(name, {})):
            most = f"{r['most_times_cpu']:.0f}" if "most_times_cpu" in r else ""
            lines.append(
                f"| {against} | {r['n']:,} | {r['d']} | {r['times_faster']:.1f} | {r['times_faster_cpu']:.1f} | {most} |"
            )
        if "times_faster_than_counting" in r:
            times = f"{r['times_faster_than_counting']:.1f} | {r['times_faster_than_counting_cpu']:.1f}"
            lines.append(
                f"| {against.split(',')[0]} that only counts, told the K-th value | {r['n']:,} | {r['d']} | {times} | |"
            )
    about = f"{machine['cpu']}, {machine['threads']} threads, load {machine['load'][0]:.1f}, numba {machine['numba']}."
    return "\n".join([*lines, "", about])


def plans_table(stored: dict[str, Any]) -> str:
    """What ways of sampling cost, and how far their images are from the faithful ones."""
    heads = ("plan", "evaluations", "ms per image", "times AugGen", "distance", "nearer than AugGen's", "similarity")
    rows = []
    for row in stored["plans"]:
        nearer = "" if row["nearer_than_auggen"] is None else f"{row['nearer_than_auggen']:.0%}"
        price = [str(row["evaluations"]), f"{1000 * row['seconds_per_image']:.1f}", f"{row['times_auggen']:.2f}"]
        rows.append([row["name"], *price, f"{row['pixel_distance']:.3f}", nearer, f"{row['similarity']:.3f}"])
    about = f"Medians of {stored['rounds']} rounds of {stored['images']} images, {where(stored)}, {stored['precision']}, 8 steps."
    return "\n".join([*markdown(heads, rows), "", about])


def speed_table(stored: list[dict[str, Any]]) -> str:
    """Training and sampling of the generator beside the device's matrix products, one row per measurement."""
    heads = ("network", "batch", "where", "what", "images per second", "share of matrix rate")
    rows = []
    for of in stored:
        for row in of["precisions"]:
            what = f"{row['what']}, {row['precision']}, {row['memory']}"
            speed = [f"{row['images_per_second']:.3g}", f"{row['share_of_matrix_rate']:.0%}"]
            rows.append([of["size"], str(of["batch"]), where(of), what, *speed])
    lines = [*markdown(heads, rows), ""]
    for of in stored:
        for precision in PRECISIONS:
            if precision not in of:
                continue
            loop, mix = of[precision]["training"], of[precision]["mix"]
            lines.append(
                f"- {of['size']}, {precision}: {loop['share_outside_network']:.1%} of the training loop outside the network, "
                f"{loop['share_waiting_for_data']:.1%} waiting for data; a mix of two classes costs {mix['ratio']:.2f} times one class, two "
                f"conditions as one batch {mix['one_batch_over_separate_forwards']:.2f} times two forwards."
            )
    return "\n".join(lines)


def where(of: dict[str, Any]) -> str:
    threads = f"{of['threads']} thread" + ("" if of["threads"] == 1 else "s")
    return threads if of["device"] == "cpu" else of["device"]


def stage_table(stored: dict[str, Any]) -> str:
    return "\n".join(f"| {c['stage']} | {c['seconds']:.0f} |" for c in stored["costs"] if c["seconds"] >= 1)
