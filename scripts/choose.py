"""How often the rule of the choice takes a recipe that is worse than real images: by simulation, and on the stored studies.

    python scripts/choose.py            # simulates, writes docs/results/choose.json, then docs/choose.md
    python scripts/choose.py --page     # the page alone

A candidate's value on a class is its mean, what all candidates share of that class, what it has of its own there, and what
chance in training gives each seed. Spreads are those of the stored studies: 60 validation classes and three seeds give a
lead's 95 % interval a width of about 6 points. In folds there are seven times as many classes, as by the default fractions;
each fold's recognizers have chance of their own, a candidate's effect with fewer classes to train on is another one, and
what a generator makes has a gain, from knowing the fold's classes, that it would not have on others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scoremix.config import Choice
from scoremix.config.arms import ARMS
from scoremix.evaluation.estimate import Estimate, choose

DOCS = Path(__file__).parents[1] / "docs"
STORED = DOCS / "results"
SAFE = ("real", "equal_steps")
ENOUGH = 5  # classes, the fewest that are simulated
FEW = Choice().enough  # validation classes below which there are folds
CANDIDATES = ("real", "equal_steps", "averages_first", "cutmixes", "scoremix", "coherent_first")
CLASS, OWN, SEED = 15.0, 5.0, 0.9  # points: spread over classes shared by all, of a candidate's own, of a seed's mean
EFFECT = (-1.0, 2.4)  # points: mean and spread of a candidate's true difference to real images with equal steps
LONGER = (1.0, 1.7)  # points: the same of more steps on real images over their own number
FOLDS, IN_FOLDS, ALL_FOLDS = (
    3,
    7,
    (5, 10, 20, 40),
)  # folds; their classes over validation classes; where they are simulated
FEWER = 1.0  # points: spread of how a candidate's effect differs where it trains on two thirds of the classes
LEAK, GENERATED = 1.0, ("scoremix", "coherent_first")  # points, of the rule on folds that leak
SEEDS, DRAWS, TRIALS, TEST = 3, 200, 500, 250

Rule = Callable[[dict[str, np.ndarray]], str]


def by_rule(values: dict[str, np.ndarray]) -> str:
    return choose(values, SAFE, ENOUGH).chosen


def by_mean(values: dict[str, np.ndarray]) -> str:
    return choose(values, SAFE, ENOUGH).best


def always_safe(values: dict[str, np.ndarray]) -> str:
    return choose(values, SAFE, ENOUGH).safe


SAFEST = "always the better of the real ones"
ON_FOLDS = {"the rule in folds": 0.0, "the rule in folds that leak": LEAK}
RULES: dict[str, Rule] = {
    "the rule": by_rule,
    **dict.fromkeys(ON_FOLDS, by_rule),
    "the best mean": by_mean,
    SAFEST: always_safe,
    "always coherent_first": lambda values: "coherent_first",
}


def simulated(classes: int, trials: int, seed: int) -> dict[str, dict[str, float]]:
    """Each rule's outcomes on so many validation classes, shares of the trials and points.

    `mixed`: it takes mixed classes; `broken`: and these are truly below the better real arm; `seen`: and 250 test classes
    say so beyond noise; `gain`: the mean true gain over the better real arm.
    """
    rng, of_folds = np.random.default_rng(seed), np.random.default_rng([seed, FOLDS])
    rules = {name: rule for name, rule in RULES.items() if classes in ALL_FOLDS or name not in ON_FOLDS}
    found = {name: np.zeros((trials, 4)) for name in rules}
    for trial in range(trials):
        effects = {name: rng.normal(*EFFECT) for name in CANDIDATES}
        effects |= {"equal_steps": 0.0, "real": -rng.normal(*LONGER)}
        values, test = (measured(effects, n, rng) for n in (classes, TEST))
        better = max(SAFE, key=effects.__getitem__)
        for name, rule in rules.items():
            leak = ON_FOLDS.get(name)
            taken = rule(values if leak is None else measured_in_folds(effects, classes, leak, of_folds))
            gain = effects[taken] - effects[better]
            broken = taken not in SAFE and gain < 0
            seen = broken and Estimate.of(test[better] - test[taken]).beyond_doubt
            found[name][trial] = taken not in SAFE, broken, seen, gain
    keys = ("mixed", "broken", "seen", "gain")
    return {name: dict(zip(keys, of.mean(0).tolist(), strict=True)) for name, of in found.items()}


def measured(effects: dict[str, float], classes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Values (seeds, 1 + draws) of every candidate on classes drawn at random, by the same draws."""
    n = (
        np.concatenate([np.ones((1, classes)), rng.multinomial(classes, np.full(classes, 1 / classes), DRAWS)])
        / classes
    )
    shared = rng.normal(0, CLASS, classes)
    return {
        name: effect
        + rng.normal(0, SEED, (SEEDS, 1))
        + (shared + rng.normal(0, OWN, classes) + rng.normal(0, OWN, (SEEDS, classes))) @ n.T
        for name, effect in effects.items()
    }


def measured_in_folds(
    effects: dict[str, float], classes: int, leak: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The same on folds of training and validation classes; `leak`: points that generated images seem to gain there."""
    there = {name: of + rng.normal(0, FEWER) + leak * (name in GENERATED) for name, of in effects.items()}
    folds = [measured(there, IN_FOLDS * classes // FOLDS, rng) for _ in range(FOLDS)]
    return {name: np.mean([fold[name] for fold in folds], 0) for name in effects}


def replayed() -> Iterator[dict[str, Any]]:
    """The rule on every stored table of validation classes, and what test classes said of the same arms where they did.

    A table has means and intervals over classes, no draws: the lead over the better control is the stored difference.
    """
    tests = {table["data"]: table for name in ("scarcity_test", "first_test", "tier_a") for table in tables(name)}
    for study in ("scarcity", "scarcity_10", "quality", "tier_b", "why", "longer", "more_classes"):
        for table in tables(study):
            taken = rule_on(table)
            told = {"study": study, "data": table["data"], **taken}
            if study in TESTED and table["data"] in tests:
                told["test"] = tested(tests[table["data"]], taken["chosen"])
            yield told


TESTED = ("scarcity", "quality", "tier_b", "why")  # whose images per class and settings the test studies share


def tables(study: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((STORED / f"{study}.json").read_text())["tables"]
    return found


def arms_of(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["arm"]: row for row in table["rows"]}


def rule_on(table: dict[str, Any]) -> dict[str, Any]:
    """The rule's choice from stored means and differences, among the arms that are built in."""
    rows, metric = {name: row for name, row in arms_of(table).items() if name in ARMS}, table["headline"]
    mean = {name: row["metrics"][metric]["value"] for name, row in rows.items()}
    safe = max(SAFE, key=mean.__getitem__)
    best = max(mean, key=mean.__getitem__)
    lead = difference(rows[best], safe, metric)
    beyond = lead is not None and lead["low"] > 0 and min(lead["runs"]) > 0
    return {"chosen": best if beyond else safe, "best": best, "safe": safe, "lead": lead}


def tested(table: dict[str, Any], chosen: str) -> dict[str, Any] | None:
    """What test classes say of the chosen arm against the better real one; None where it was not judged there."""
    rows, metric = arms_of(table), table["headline"]
    if chosen not in rows:
        return None
    better = max(SAFE, key=lambda name: rows[name]["metrics"][metric]["value"])
    return {"against": better, "lead": difference(rows[chosen], better, metric)}


def difference(row: dict[str, Any], control: str, metric: str) -> dict[str, Any] | None:
    found = (d for d in row["differences"] if (d["control"], d["metric"]) == (control, metric))
    return next(({k: d[k] for k in ("value", "low", "high", "runs")} for d in found), None)


def page(stored: dict[str, Any]) -> str:
    """docs/choose.md."""
    text = (STORED / "choose.md.in").read_text()
    parts = {"SIMULATED": simulation_table(stored["simulated"]), "REPLAYED": replay_table(stored["replayed"])}
    for name, table in parts.items():
        text = text.replace(f"@{name}@", table)
    few = [of for classes, of in stored["simulated"].items() if int(classes) < FEW]
    for word, name in (("", "the rule"), ("FOLDS_", "the rule in folds"), ("LEAK_", "the rule in folds that leak")):
        of_rule = [of[name] for of in (few if word else stored["simulated"].values())]
        for key in ("broken", "seen"):
            text = text.replace(f"@{word}{key.upper()}@", span([of[key] for of in of_rule]))
    gains = [of["the rule in folds"]["gain"] - of["the rule"]["gain"] for of in few]
    text = text.replace("@FOLDS_GAIN@", " and ".join(f"{gain:.1f}" for gain in gains))
    return text.replace("@TRIALS@", str(stored["about"]["trials"]))


def span(shares: list[float]) -> str:
    return f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %"


def simulation_table(worlds: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [
        "| validation classes | rule | takes mixed classes | and they are truly worse | and 250 test classes show it | true gain, points |",
        "|---|---|---|---|---|---|",
    ]
    for classes, rules in worlds.items():
        for name, of in rules.items():
            if name == SAFEST:
                continue  # takes no mixed classes
            shares = " | ".join(f"{100 * of[key]:.1f} %" for key in ("mixed", "broken", "seen"))
            lines.append(f"| {classes} | {name} | {shares} | {of['gain']:+.2f} |")
    return "\n".join(lines)


def replay_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| study | images | best mean | its lead on validation classes | chosen | the chosen one on test classes |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        test = row.get("test")
        said = f"{written(test['lead'])} over {test['against']}" if test and test["lead"] else "–"
        lead = f"{written(row['lead'])} over {row['safe']}" if row["lead"] else "–"
        lines.append(f"| {row['study']} | {row['data']} | {row['best']} | {lead} | {row['chosen']} | {said} |")
    return "\n".join(lines)


def written(lead: dict[str, float]) -> str:
    value, low, high = (f"{100 * lead[key]:+.1f}".replace("-", "−") for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write docs/choose.md from what is stored")
    stored = STORED / "choose.json"
    if not parser.parse_args().page:
        worlds = {str(n): simulated(n, TRIALS, n) for n in (5, 10, 20, 40, 80, 160)}
        about = {"trials": TRIALS, "seeds": SEEDS, "draws": DRAWS, "test": TEST, "own": OWN, "seed": SEED}
        about |= {"folds": FOLDS, "fewer": FEWER, "leak": LEAK}
        kept = {
            "about": {**about, "effect": EFFECT, "longer": LONGER},
            "simulated": worlds,
            "replayed": list(replayed()),
        }
        stored.write_text(json.dumps(kept, indent=1) + "\n")
    (DOCS / "choose.md").write_text(page(json.loads(stored.read_text())))


if __name__ == "__main__":
    main()
