"""What the verbs of the laboratory print."""

from collections.abc import Sequence
from pathlib import Path

from alexnet.api.studies import Comparison, short_names
from alexnet.cli.terminal import print_table, say
from alexnet.evaluation.ensemble import Ensemble
from alexnet.experiments.ablation import Effect, claimed, counts, in_2012, interval, one_run, remarks, verdict
from alexnet.experiments.results import Row, error, reported_split
from alexnet.experiments.sequential import seeds_for
from alexnet.language.speak import said
from alexnet.recipes.ingredients import INGREDIENTS
from alexnet.text import duration, percent


def ingredients() -> None:
    """All ingredients, what one would type for each, and what the paper says."""
    rows = [
        (i.name, " ".join(i.changes) or "(alexnet evaluate RUN --views 10)", i.what, claimed(i.paper) or i.claim)
        for i in INGREDIENTS
    ]
    print_table("", ("ingredient", "what one would type", "what it is", "the paper"), rows, left=4)
    say(
        "pairs of nets of 2012 whose figures stand for an ingredient differ in more; in brackets the net compared with:"
    )
    for i in INGREDIENTS:
        if i.besides:
            say(f"  {i.name}: {i.recorded}; also {i.besides}")


def effects(found: Sequence[Effect], split: str, views: int, matters: float) -> None:
    """What each change adds, and what is known of it, in the words of docs/claims.md."""
    say(
        f"points of top-1 error that each change adds on {split}, {views} view{'s' * (views > 1)}, with 95 % intervals "
        f"over seeds and images; the claim is the sign of 2012, else that it adds some; {matters:.2g} or more matters; "
        "verdicts are corrected for the number of changes; figures of 2012 are of ImageNet"
    )
    rows = []
    for effect in found:
        published = in_2012(effect.ingredient)
        added, before = interval(effect.found.get("top1_error")), "" if published is None else f"{published:+g}"
        rows.append((effect.variant, counts(effect), added, before, said(verdict(effect))))
    columns = ("variant", "runs", "effect", "2012", "verdict")
    print_table("", columns, rows, whole=columns[:-1])
    for effect in found:
        if noted := remarks(effect):
            say(f"{effect.variant}: {noted}")
    if any(map(one_run, found)):
        say("with one seed there is no interval: a difference may be chance")


def expected_cost(until: float, most: int, seconds: float) -> None:
    """What an ablation costs that ends when its intervals are narrow enough: before anything is known of the spread."""
    told = ", ".join(f"{spread:g}: {seeds_for(spread, until):,}" for spread in (0.3, 0.5, 1, 2))
    say(f"this is until the first look; {duration(most * seconds)} for all {most} runs at most")
    say(f"seeds that +-{until:g} points take, by the standard deviation between seeds, images aside: {told}")


def row(found: Row, left: int) -> None:
    """A run that has just ended."""
    split = reported_split([found])
    outcome = (
        "diverged" if found["outcome"] == "diverged" else f"{split} error {percent(error(found, 'top1_error', split))}"
    )
    say(f"{found['variant']}, seed {found['seed']}: {outcome}, {duration(found['seconds'] or 0)}; {left} runs left")


def comparison(found: Comparison) -> None:
    """Every run, and every two of them."""
    names, evaluations = found.names, found.evaluations
    first = evaluations[0]
    rows = [
        (
            name,
            percent(e.top1_error),
            percent(e.top5_error if len(e.class_names) > 5 else None),
            f"{e.log_loss:.3f}",
        )
        for name, e in zip(names, evaluations, strict=True)
    ]
    plural = "s" * (first.views > 1)
    print_table(
        f"{first.split}, {first.count} images, {first.views} view{plural}",
        ("run", "top-1 error", "top-5 error", "log loss"),
        rows,
    )
    table = [
        (
            f"{names[pair.first]} / {names[pair.second]}",
            str(pair.only_first),
            str(pair.only_second),
            f"{100 * pair.difference / first.count:+.1f}",
            f"{pair.p:.2g}",
        )
        for pair in found.pairs
    ]
    columns = ("pair", "only the first is right", "only the second", "points that the second errs more", "p (McNemar)")
    print_table("", columns, table)


def ensemble(runs: Sequence[Path], result: Ensemble, weights_on: str | None) -> None:
    """Each network, their mean, and all together."""
    names = short_names(runs)
    five = len(result.combined.class_names) > 5
    gain1, each1 = result.gain("top1_error")
    gain5, _ = result.gain("top5_error")
    rows = [
        (
            name,
            f"{weight:.2f}",
            percent(member.top1_error),
            percent(member.top5_error if five else None),
            f"{member.log_loss:.3f}",
            f"{-100 * gain:+.1f}",
        )
        for name, weight, member, gain in zip(names, result.weights, result.members, each1, strict=True)
    ]
    top1, top5 = result.combined.top1_error, result.combined.top5_error
    log_loss = result.combined.log_loss
    mean_loss = log_loss + result.gain("log_loss")[0]
    rows += [
        (
            "mean of them",
            "",
            percent(top1 + gain1),
            percent(top5 + gain5 if five else None),
            f"{mean_loss:.3f}",
            f"{-100 * gain1:+.1f}",
        ),
        (said("together"), "", percent(top1), percent(top5 if five else None), f"{log_loss:.3f}", ""),
    ]
    split = result.combined.split
    how = f"weights found on {weights_on}" if weights_on else "equal weights"
    columns = ("network", "weight", "top-1 error", "top-5 error", "log loss", "together against it")
    print_table(f"{split}, {result.combined.count} images, {how}", columns, rows)
