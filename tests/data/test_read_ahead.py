"""Batches made ahead of the network: the same ones, in order, with errors in their place and no thread left behind."""

import threading

import pytest

import alexnet.training.loop
import alexnet.training.trainer
from alexnet.data.loader import prefetch
from alexnet.runs.checkpoint import load_checkpoint, load_model
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import open_run
from alexnet.training.monitor import Interrupted
from alexnet.training.trainer import Trainer

DEPTHS = (0, 1, 2, 3)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class Broken(Exception):
    """Not an error of the package."""


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_the_same_items_in_the_same_order(depth, count):
    with prefetch(iter(range(count)), depth) as items:
        assert list(items) == list(range(count))
    # None and false values are items as any others.
    with prefetch(iter([None, 0, None]), depth) as items:
        assert list(items) == [None, 0, None]


@pytest.mark.parametrize("depth", DEPTHS)
def test_at_most_so_many_items_are_made_ahead(depth):
    made, reached = [], threading.Event()

    def items():
        for i in range(10):
            made.append(i)
            if i + 1 == depth:
                reached.set()
            yield i

    with prefetch(items(), depth) as taken:
        assert depth == 0 or reached.wait(60)  # the thread runs without being asked
        for i in range(5):
            assert next(taken) == i
            assert len(made) <= i + 1 + depth
    assert len(made) <= 5 + depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_who_makes_the_items(depth):
    def items():
        yield threading.current_thread()

    with prefetch(items(), depth) as taken:
        assert (next(taken) is threading.current_thread()) is (depth == 0)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("place", [0, 1, 4])
@pytest.mark.parametrize("kind", [Broken, KeyboardInterrupt])
def test_an_error_comes_in_the_place_of_its_item_with_its_message(depth, place, kind):
    def items():
        yield from range(place)
        raise kind("picture 17 is damaged")

    with prefetch(items(), depth) as batches:
        assert [next(batches) for _ in range(place)] == list(range(place))
        with pytest.raises(kind, match="picture 17 is damaged"):
            next(batches)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("kind", [Broken, KeyboardInterrupt])
def test_leaving_early_ends_the_thread(depth, kind):
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    def leave(source):
        with prefetch(source, depth) as taken:
            next(taken)
            raise kind

    source = items()
    with pytest.raises(kind):
        leave(source)
    with prefetch(source, depth):
        pass  # not one item taken
    source.close()  # fails while a thread still runs it
    assert closed.is_set()


# --- in training ---------------------------------------------------------------------------------------------------


def everything(run):
    tensors, state = load_checkpoint(run)[:2]
    weights = {name: t.numpy().tobytes() for name, t in load_model(run, "last").state_dict().items()}
    timed = ("seconds", "images_per_second")
    rows = [{k: v for k, v in row.items() if k not in timed} for row in read_metrics(run)]
    return weights, {name: t.contiguous().numpy().tobytes() for name, t in tensors.items()}, rows, state.step


@pytest.mark.parametrize("changes", [(), ("view=zoom", "jitter=0.2", "mixup=0.5", "cutmix=0.4")], ids=["2012", "mixed"])
def test_a_run_is_the_same_however_far_ahead_its_batches_are_made(start, fit, monkeypatch, changes):
    results = []
    for depth in (0, 1, 3):
        monkeypatch.setattr(alexnet.training.loop, "PREFETCHED", depth)
        whole, parts = start(f"whole-{depth}", "epochs=2", *changes), start(f"parts-{depth}", "epochs=2", *changes)
        fit(whole)
        with pytest.raises(Interrupted):
            fit(parts, 3)
        fit(open_run(parts.folder))
        results += [everything(whole), everything(parts)]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("depth", DEPTHS)
def test_an_error_in_a_batch_ends_the_run_at_its_step_and_not_before(start, fit, monkeypatch, depth):
    batch = Trainer.batch

    def failing(self, samples, at, **options):
        if at.step == 5:
            raise Broken("picture 17 is damaged")
        return batch(self, samples, at, **options)

    monkeypatch.setattr(alexnet.training.loop, "PREFETCHED", depth)
    monkeypatch.setattr(Trainer, "batch", failing)
    steps = []
    taken = alexnet.training.trainer.train_step
    monkeypatch.setattr(alexnet.training.trainer, "train_step", lambda *a: (steps.append(1), taken(*a))[1])
    with pytest.raises(Broken, match="picture 17 is damaged"):
        fit(start("run"))
    assert len(steps) == 5


@pytest.mark.parametrize("depth", DEPTHS)
def test_no_batch_is_made_for_steps_that_are_not_taken(start, fit, monkeypatch, depth):
    seen, batch = [], Trainer.batch

    def noting(self, samples, at, **options):
        seen.append(at.step)
        return batch(self, samples, at, **options)

    monkeypatch.setattr(alexnet.training.loop, "PREFETCHED", depth)
    monkeypatch.setattr(Trainer, "batch", noting)
    with pytest.raises(Interrupted):
        fit(start("run"), 3)
    assert seen == [0, 1, 2]
