"""Several processes train what one trains: up to rounding, and bit-identical in the exact mode."""

import pytest
import torch

from alexnet.distributed.collectives import ProcessGroup
from alexnet.distributed.cost import step_cost
from alexnet.distributed.hybrid import turns_of
from alexnet.distributed.launch import SHARE_STORE, process_group_of, worker_environment
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override
from alexnet.runs.checkpoint import load_model
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import create_run, open_run
from alexnet.training.loop import train
from harness.groups import farthest, start_teams, stored

CPU = torch.device("cpu")

# Recipes with everything in which images of a batch could depend on each other or on their position in it.
RECIPES = {
    "lrn": ("label_smoothing=0.1", "class_weights=balanced", "optim.lr=0.001", "seed=1"),
    "talkless": ("model.towers_talk=false", "dropout_place=before", "model.norm=batch", "batch_size=7"),
    "batch": (
        *("model.norm=batch", "augment.mixup=0.5", "augment.cutmix=0.3", "average_decay=0.9"),
        *(
            "optim.algorithm=nesterov",
            "batch_size=7",
            "model.input_norm=mean-pixel",
            "model.pool5_grid=2",
            "growing_crops=[[0,16],[0.5,20]]",
        ),
    ),
}


def job(name, recipe="lrn", *, scheme="data", exact=False, **options):
    return {"name": name, "recipe": recipe, "scheme": scheme, "exact": exact, **options}


# 6 steps next to one process, every third with a smaller batch, in which some processes have no image.
SMALL = ["model.width=0.0625", "model.crop_size=64", "model.num_classes=5"]
NORMED = [*SMALL, "optim.algorithm=adamw", "optim.lr=0.001"]
FOLLOWED = {
    size: [
        {"follow": recipe, "changes": changes, "scheme": scheme, "double": double, "counts": [6, 6, 3] * 2}
        for recipe, changes, double in (
            ("alexnet-2012", SMALL, False),
            ("photos", NORMED, True),
            ("lenet", [], True),
        )
        for scheme in schemes
        if (scheme != "towers" or recipe == "alexnet-2012") and (size, recipe) != (4, "lenet")
    ]
    for size, schemes in {2: ("towers", "data", "hybrid"), 4: ("data", "hybrid")}.items()
}
JOBS = {
    2: [
        job("data-2"),
        job("batch-2", "batch"),
        job("towers-2", scheme="towers"),
        job("talkless-2", "talkless", scheme="towers"),
        job("towers-first", scheme="towers", max_steps=5),
        job("hybrid-2", scheme="hybrid"),
        job("hybrid-batch-2", "batch", scheme="hybrid"),
        job("exact-2", exact=True),
        job("exact-first", exact=True, max_steps=5),
        {"same": "lrn"},
        job("swapped-2", "swapped"),
        *FOLLOWED[2],
    ],
    4: [
        job("data-4"),
        job("exact-4", exact=True),
        job("hybrid-4", scheme="hybrid"),
        *FOLLOWED[4],
    ],
}


@pytest.fixture(scope="module")
def groups(prepared, tiny, tmp_path_factory):
    """A folder with the runs of one process and of process groups, and the results of each process of the groups."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "prepared").symlink_to(prepared.folder)
    about = {"source": "colors", "prepared": str(prepared.folder), "fingerprint": prepared.fingerprint}
    for name, changes in RECIPES.items():
        run = create_run(folder / name, override(tiny, changes), prepared.class_names, about)
        train(run, prepared, device=CPU)
    run = create_run(folder / "exact-1", open_run(folder / "lrn").recipe, prepared.class_names, about)
    train(run, prepared, device=CPU, group=process_group_of(run.recipe, "data", 0, 1, exact=True))
    warm = override(open_run(folder / "lrn").recipe, [f"weights={folder / 'lrn'}"])
    create_run(folder / "swapped", warm, prepared.class_names, {**about, "weights": "0" * 64})
    return folder, start_teams(folder, JOBS)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        *(("lrn", "data-2"), ("lrn", "data-4"), ("lrn", "hybrid-2"), ("lrn", "hybrid-4")),
        *(("batch", "batch-2"), ("batch", "hybrid-batch-2")),
    ],
)
def test_a_group_trains_what_one_process_trains_up_to_the_order_of_sums(groups, recipe, name):
    folder = groups[0]
    assert farthest(folder / recipe, folder / name) < 2e-4
    one, group = stored(folder / recipe).state, stored(folder / name).state
    assert (one.step, one.best_step, one.best_error) == (group.step, group.best_step, group.best_error)
    rows = [read_metrics(open_run(folder / run)) for run in (recipe, name)]
    for ours, theirs in zip(*([r for r in each if r["kind"] == "epoch"] for each in rows), strict=True):
        for figure in ("train_loss", "train_top1_error", "val_loss", "val_top1_error"):
            assert theirs[figure] == pytest.approx(ours[figure], rel=1e-5)


@pytest.mark.parametrize(("recipe", "name"), [("lrn", "towers-2"), ("talkless", "talkless-2")])
def test_two_towers_in_two_processes_train_what_they_train_in_one(groups, recipe, name):
    folder = groups[0]
    assert farthest(folder / recipe, folder / name) < 2e-4
    one, group = stored(folder / recipe).state, stored(folder / name).state
    assert (one.step, one.best_step, one.best_error) == (group.step, group.best_step, group.best_error)
    assert group.best_loss == pytest.approx(one.best_loss, rel=1e-5)


@pytest.mark.parametrize("size", [2, 4])
def test_losses_and_gradients_are_those_of_one_process_over_six_steps(groups, size):
    """Batch normalization in 64 bits: on few images it magnifies rounding, which could hide a fault."""
    found = groups[1][size][0][-len(FOLLOWED[size]) :]
    for asked, seen in zip(FOLLOWED[size], found, strict=True):
        assert len(seen["gradients"]) == 6
        assert max(seen["gradients"]) < (1e-6 if asked["double"] else 1e-5), asked
        assert max(abs(group - one) / one for one, group in seen["losses"]) < 1e-6, asked


def test_a_run_that_two_towers_began_goes_on_in_one_process(groups, prepared):
    folder = groups[0]
    run = open_run(folder / "towers-first")
    assert stored(run.folder).state.step == 5
    train(run, prepared, device=CPU, allow_inexact=True)
    assert farthest(folder / "lrn", run.folder) < 2e-4


def test_the_exact_mode_gives_the_same_bits_for_1_2_and_4_processes(groups):
    folder = groups[0]
    model, training = ((folder / "exact-1/checkpoints").glob(f"*/{name}.safetensors") for name in ("model", "training"))
    newest = max(model).read_bytes(), max(training).read_bytes()
    for size in (2, 4):
        last = stored(folder / f"exact-{size}").state.step
        there = folder / f"exact-{size}/checkpoints/step-{last:08d}"
        assert ((there / "model.safetensors").read_bytes(), (there / "training.safetensors").read_bytes()) == newest


def test_the_exact_mode_trains_what_the_fast_one_trains(groups):
    assert farthest(groups[0] / "lrn", groups[0] / "exact-1") < 2e-4


def test_a_run_that_two_processes_began_ends_the_same_in_one(groups, prepared):
    folder = groups[0]
    run = open_run(folder / "exact-first")
    assert stored(run.folder).state.step == 5
    train(run, prepared, device=CPU, group=process_group_of(run.recipe, "data", 0, 1, exact=True))
    weights = [load_model(open_run(folder / name), "last").state_dict() for name in ("exact-1", "exact-first")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_processes_with_other_settings_are_refused_by_name(groups):
    place = JOBS[2].index({"same": "lrn"})
    for said in groups[1][2]:
        assert said[place]["error"].splitlines()[0] == "E271 optim.lr is 0.01 in process 0 and 0.02 in process 1"


def test_no_process_starts_from_other_weights_than_the_run_was_made_for(groups):
    """Only the main process knows the weights of the run; the others learn them from it."""
    place = next(i for i, asked in enumerate(JOBS[2]) if asked.get("name") == "swapped-2")
    for said in groups[1][2]:
        assert said[place]["error"].startswith(f"E349 {groups[0] / 'lrn'} no longer holds the weights")


@pytest.mark.parametrize(
    ("count", "size", "micro_batch"), [(8, 2, 0), (7, 4, 0), (2, 4, 0), (26, 4, 4), (2, 4, 1), (9, 3, 2)]
)
def test_every_image_of_a_batch_belongs_to_one_process(count, size, micro_batch):
    groups = [ProcessGroup("data", rank, size, micro_batch=micro_batch) for rank in range(size)]
    assert [i for group in groups for i in range(count)[group.rows(count)]] == list(range(count))
    positions = [position for group in groups for position, _ in group.micro_batches(count)]
    assert positions == list(range(len(positions)))
    sizes = [rows.stop - rows.start for group in groups for _, rows in group.micro_batches(count)]
    assert sizes[:-1] == [micro_batch] * (len(sizes) - 1) if micro_batch else max(sizes) - min(sizes) <= 1


def test_the_computed_cost_is_what_was_sent(groups):
    """26 images in 4 steps, 3 epochs, each with an evaluation of 7 images; the count of the kernel includes headers."""
    data, towers = groups[1][2][0][0], groups[1][2][0][2]
    recipe = open_run(groups[0] / "lrn").recipe
    assert data["sent"]["gradients"] == 12 * step_cost(recipe, "data", 2).sent["gradients"]
    assert groups[1][4][0][0]["sent"]["gradients"] == 12 * step_cost(recipe, "data", 4).sent["gradients"]
    batch_norm = step_cost(open_run(groups[0] / "batch").recipe, "data", 2).sent["batch normalization"]
    assert groups[1][2][0][1]["sent"]["batch normalization"] == 12 * batch_norm
    names = [asked.get("name") for asked in JOBS[2]]
    for name, base in (("hybrid-2", "lrn"), ("hybrid-batch-2", "batch")):
        costs = step_cost(open_run(groups[0] / base).recipe, "hybrid", 2).sent
        sent = groups[1][2][0][names.index(name)]["sent"]
        assert sent["gradients"] == 12 * costs["gradients"]
        assert sent.get("batch normalization", 0) == 12 * costs["batch normalization"]
        if base == "lrn":
            for what in ("features", "gradients of features", "gradients of activations"):
                assert sent[what] == 78 * costs[what] // 8
            assert sent["activations"] == 99 * costs["activations"] // 8
    costs = step_cost(recipe, "towers", 2)
    assert towers["sent"]["gradients of activations"] == 78 * costs.sent["gradients of activations"] // 8
    assert towers["sent"]["activations"] == 99 * costs.sent["activations"] // 8
    for counted in (data, towers):
        assert 1 < counted["tcp"] / sum(counted["sent"].values()) < 1.1


def test_the_towers_of_2012_send_what_their_shapes_say():
    """Half of pool2 (11.1 MB for 128 images), pool5 (2.4), fc6 and fc7 (1.05 each); there are 60,965,224 weights."""
    recipe = find_recipe("alexnet-2012")
    towers, data = step_cost(recipe, "towers", 2), step_cost(recipe, "data", 2)
    half = 2 * 128 * (256 * 13 * 13 + 256 * 6 * 6 + 4096 + 4096)
    assert half == pytest.approx((11.1 + 2.4 + 1.05 + 1.05) * 1e6, rel=0.01)
    assert towers.sent == {"activations": half + 4 * 128 * 500, "gradients of activations": half}
    assert data.bytes_sent == 4 * 60_965_224
    assert towers.speedup(1e12, 1e18) == pytest.approx(2, rel=1e-6)
    assert towers.speedup(1e12, 1e9) > data.speedup(1e12, 1e9)


def test_hybrid_sends_several_times_less_than_data_with_two_processes():
    """fc6 to fc8 have 58,631,144 of the weights; the rest is summed, and pool5, fc6 and fc7 of 128 images are sent."""
    hybrid, data = (step_cost(find_recipe("alexnet-2012"), scheme, 2) for scheme in ("hybrid", "data"))
    pool5, units = 4 * 64 * 9216, 4 * 128 * 2048
    expected = 4 * (60_965_224 - 58_631_144) + 2 * pool5 + 4 * units + 4 * 128 * 500
    assert hybrid.bytes_sent == expected
    assert data.bytes_sent / hybrid.bytes_sent == pytest.approx(13.18, abs=0.01)
    assert hybrid.speedup(1e12, 1.25e9) > data.speedup(1e12, 1.25e9)


@pytest.mark.parametrize(("count", "size"), [(8, 2), (7, 4), (2, 4), (26, 3)])
def test_every_image_has_its_turn_in_one_process(count, size):
    group = ProcessGroup("hybrid", 0, size)
    turns = turns_of(group, count, at_once=False)
    assert sorted(i for rows in turns for part in rows for i in range(count)[part]) == list(range(count))
    assert turns_of(group, count, at_once=True) == [[group.part(count, rank) for rank in range(size)]]


def test_workers_do_not_share_the_store_of_the_agent(tmp_path):
    """Only then are restarts with gloo reliable."""
    assert SHARE_STORE == "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    assert worker_environment(2, exact=False, ended=tmp_path)[SHARE_STORE] == "1"
