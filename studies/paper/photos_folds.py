"""Ingredients on photos, by cross-validation: every image is held out once, instead of a small test set.

python -m studies.paper.photos_folds PHOTOS [--together 2]

PHOTOS has train/ and other parts with class folders; the images of all parts are taken together, at 64 pixels. Recipe
small-photos for 30 epochs. A repetition divides the images of each class into five folds by its seed, and trains five
networks, each on four of them; its error is that over all images. Three repetitions of each arm and six of the base,
then two more of each arm whose interval is wider than 1.5 points to each side (and four of the base), nine at most:
studies/PLAN.md. First the learning rates of ReLU and tanh, by the search of the plan, on one fold of another division.

About five hours of one core.
"""

from collections.abc import Mapping, Sequence

from alexnet.experiments import results
from alexnet.experiments.inference import Estimate
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.recipes.ingredients import BASE
from studies.paper import rates, study
from studies.paper.evidence import ACTIVATIONS, ARMS, CHOICE, CHOICE_SEED, RELU, TANH, final_error, shape
from studies.paper.folds import FOLDS, effect
from studies.paper.study import Options

NAME, RECIPE, EPOCHS = "photos_folds", "small-photos", 30
CHANGES: Mapping[str, tuple[str, ...]] = {
    BASE: (),
    **{arm: ARMS[arm] for arm in ("no-crops-flips", "no-dropout", "no-lrn", "tanh", "half-net")},
}
FIRST_ROUNDS, MORE_ROUNDS, MOST_ROUNDS = 3, 2, 9
BASE_RUNS = 2  # repetitions of the base for each of an arm
AIM = 0.015


def job(options: Options, variant: str, seed: int, fold: int, changes: tuple[str, ...], rate: float) -> Job:
    """The network of one fold."""
    changes = (*shape(EPOCHS), f"evaluate_every={EPOCHS}", *changes, f"optim.lr={rate:g}")
    data = study.fold(options.folders[0], FOLDS, fold, seed)
    return options.job(data, RECIPE, variant, changes, seed, views=(1,))


def repetition(options: Options, arm: str, seed: int, chosen: Mapping[str, float]) -> list[Job]:
    """The networks of all folds."""
    rate = chosen[TANH if arm == "tanh" else RELU]
    return [job(options, arm, seed, fold, CHANGES[arm], rate) for fold in range(FOLDS)]


def looked_at(rows: Sequence[Row], arm: str) -> Estimate | None:
    """The effect of an arm, once the repetitions of the first look are there; before, nothing is told."""
    found = effect(rows, arm)
    if found is None or found.counts[0] < FIRST_ROUNDS or found.counts[1] < BASE_RUNS * FIRST_ROUNDS:
        return None
    return found


def wanted_rounds(rows: Sequence[Row]) -> dict[str, int]:
    """Arm -> how many repetitions it gets, by the rows that are there: two more while its interval is wide."""
    out = {}
    for arm in CHANGES:
        rounds = FIRST_ROUNDS
        while arm != BASE and rounds < MOST_ROUNDS:
            mine = [row for row in rows if row["variant"] == arm and row["seed"] < rounds]
            base = [row for row in rows if row["variant"] == BASE and row["seed"] < BASE_RUNS * rounds]
            found = effect([*mine, *base], arm)
            whole = len(mine) == FOLDS * rounds and len(base) == FOLDS * BASE_RUNS * rounds
            if not whole or (found is not None and (found.half_width or 1) <= AIM):
                break
            rounds += MORE_ROUNDS
        out[arm] = rounds
    out[BASE] = BASE_RUNS * max(out.values())
    return out


def next_runs(options: Options) -> list[Job]:
    """The search, and then the repetitions, round by round."""
    searches = {
        name: rates.search(
            options,
            lambda rate, name=name, changes=changes: [  # type: ignore[misc]
                job(options, f"{CHOICE}: {name} at {rate:g}", CHOICE_SEED, 0, changes, rate)
            ],
            final_error,
        )
        for name, changes in ACTIVATIONS.items()
    }
    chosen = {name: rate for name, (_, rate) in searches.items() if rate is not None}
    if len(chosen) < len(searches):
        return [short for jobs, _ in searches.values() for short in jobs]
    rounds = wanted_rounds(results.read(options.out))
    ordered = sorted(
        ((seed // (BASE_RUNS if arm == BASE else 1), arm, seed) for arm, n in rounds.items() for seed in range(n)),
        key=lambda each: each[0],
    )
    return [one for _, arm, seed in ordered for one in repetition(options, arm, seed, chosen)]


if __name__ == "__main__":
    study.main(NAME, __doc__, ["photos"], [], rounds=next_runs)
