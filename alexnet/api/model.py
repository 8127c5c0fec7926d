"""A trained network to use: loaded from a run or a file of weights, asked about images, explained, exported."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from alexnet.api.bars import progress_callback
from alexnet.api.dataset import Data
from alexnet.api.image_input import ImageLike, ImagesLike, as_image, images_for, list_images, names_of
from alexnet.api.warning import opened
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.evaluate import Evaluation, evaluate
from alexnet.evaluation.predict import Prediction, find_images, predict
from alexnet.evaluation.promises import Promise
from alexnet.evaluation.run_calibration import calibration_of
from alexnet.evaluation.run_distribution import distribution_of
from alexnet.export.write import Exported, export_target
from alexnet.export.write import export as export_network
from alexnet.interpret.attribution import Explanation, explain, methods_of
from alexnet.interpret.features import Features, check_file, features, last_hidden, save_features
from alexnet.interpret.filters import FilterGrowth, Filters, conv1_kernels
from alexnet.interpret.image_index import update_index
from alexnet.interpret.similar import Similar, similar
from alexnet.kernels.device import choose_device
from alexnet.models.network import Network, fingerprint
from alexnet.models.summary import Summary, summarize
from alexnet.progress import ProgressCallback
from alexnet.recipes.recipe import Recipe
from alexnet.runs.kernel_history import kernel_history
from alexnet.runs.run import RunFolder


class Model:
    """A trained network with its classes: `alexnet.load` makes one.

    >>> import alexnet
    >>> model = alexnet.load("runs/last")
    >>> model.class_names, model.summary().parameters
    (('blue', 'green', 'red'), 15567)
    """

    def __init__(self, record: RunFolder, network: Network):
        self.record = record  # the run; of weights without one, as if they had been imported
        recipe, known, images = record.recipe, calibration_of(record, network), distribution_of(record, network)
        self.classifier = Classifier(
            network, record.class_names, recipe.prepare_size, recipe.precision, known, images, recipe.prepare_whole
        )

    @property
    def network(self) -> Network:
        """The `nn.Module`: (N, 3, crop, crop) pixels 0..255 in, (N, classes) logits out."""
        return self.classifier.network

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the outputs."""
        return self.classifier.class_names

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run, or the one that fits the weights."""
        return self.record.recipe

    @property
    def source(self) -> Path:
        """The run folder, or the file of weights."""
        return self.record.folder

    @property
    def fingerprint(self) -> str:
        """sha256 of all weights."""
        return fingerprint(self.network)

    @property
    def _towers(self) -> int:
        return int(getattr(self.recipe.model, "towers", 1))

    def summary(self) -> Summary:
        """The network layer by layer: shapes, parameters, multiply-adds, memory."""
        return summarize(self.network)

    def predict(self, images: ImagesLike, *, views: int = 1, k: int = 5, **options: Any) -> list[Prediction]:
        """Says what is on images, in order; an image that cannot be read gives its reason.

        Args:
            images: a file, a folder (searched to the bottom), a pattern such as "holiday/*.jpg", the bytes of a file,
                a (H, W, 3) uint8 array, a Pillow image; or several of these.
            views: 1 (the center) or 10 (corners, center and their flips, probabilities averaged).
            k: classes to name for each image.
            options: batch_size; max_pixels, as for `alexnet.prepare`; raw, probabilities without the temperature;
                min_precision (0.95: `.sure` where the validation split shows that so many answers are right);
                coverage (0.9: `.prediction_set`, classes that hold the right one so often).

        Returns:
            For every image its `k` most probable classes with their probabilities in [0, 1]; `.none_of_these` is
            whether it is unlike the training images, None where that was not measured.

        Raises:
            UsageError: no images were given, k is below 1, views is neither 1 nor 10, or a share not between 0 and 1.
            DataError: a name stands for nothing, or nothing can be promised.

        >>> import alexnet
        >>> answers = alexnet.load("runs/last").predict(["cat.jpg", "photos/red"], views=10, k=2)
        >>> len(answers), len(answers[0].top)
        (11, 2)
        """
        return list(self.predict_each(images, views=views, k=k, **options))

    def predict_each(self, images: ImagesLike, *, views: int = 1, k: int = 5, **options: Any) -> Iterator[Prediction]:
        """The same as `predict`, batch by batch, for more images than fit into memory."""
        if k < 1:
            raise UsageError(f"k={k}: at least one class must be named", fix="Use 1 or more: --k 1.", code="E263")
        promise = self.promise(views, options.pop("min_precision", None), options.pop("coverage", None))
        return predict(self.classifier, list_images(images), views=views, k=k, promise=promise, **options)

    def promise(self, views: int = 1, min_precision: float | None = None, coverage: float | None = None) -> Promise:
        """What `predict` promises with these options, and how often it answers: `.threshold.answered`, `.notes()`."""
        return self.classifier.promise(views, min_precision, coverage)

    def evaluate(
        self,
        data: str | Path | Data | None = None,
        *,
        split: str | None = None,
        labels: str | Path | None = None,
        views: int = 1,
        raw: bool = False,
        progress: bool | ProgressCallback = False,
        on_prepared: Any = None,
        on_changed: Any = None,
    ) -> Evaluation:
        """Measures the network: top-1 and top-5 error in [0, 1], log loss, and every class.

        Args:
            data: other images than those of the run, as for `train`; a folder of classes, or of some of
                them, without train/ is one split.
            labels: as for `train`.
            split: train, val or test; by default test where there is one, else val, else all there is.
            views: 1 (the center) or 10 (corners, center and their flips).
            raw: probabilities as the network gives them, without the temperature of the run.
            on_changed: is given a sentence if the folder of the run's images now holds others.

        Raises:
            DataError: there is no such split, or the network does not know its classes.

        >>> import alexnet
        >>> alexnet.load("runs/last").evaluate("photos/").count
        30
        """
        with progress_callback(progress) as told:
            prepared = images_for(self.record, data, told, on_prepared, labels, on_changed)
            chosen = split or next(name for name in ("test", "val", "train") if name in prepared.splits)
            heat = self.classifier.temperature(views, raw)
            names, precision = self.class_names, self.recipe.precision
            options: dict[str, Any] = {"views": views, "precision": precision, "temperature": heat, "progress": told}
            result = evaluate(self.network, prepared, chosen, class_names=names, **options)
        return replace(result, split="all") if list(prepared.splits) == ["train"] else result

    def explain(
        self,
        image: ImageLike,
        *,
        method: str = "all",
        class_name: str | None = None,
        patch: int | None = None,
        progress: bool | ProgressCallback = False,
    ) -> Explanation:
        """Maps which parts of an image speak for a class.

        Args:
            image: a file, its bytes, an array or a Pillow image.
            method: occlusion, saliency or grad-cam; by default all, since the map of one alone may be blank.
            class_name: the class to explain; by default the most probable.
            patch: occlusion: pixels a side of the square that covers; by default a seventh of the view.

        Returns:
            `.map` (H, W) float32 over the central view, `.view` (H, W, 3) uint8, `.explained` the class with its
            probability, `.maps` one map for each method, `.notes` what a blank map means; `.map` is the first of them;
            `.save(path)` writes a PNG.

        Raises:
            UsageError: there is no such class or method, or the square does not fit.
            DataError: the image cannot be read.

        >>> import alexnet
        >>> found = alexnet.load("runs/last").explain("cat.jpg", method="occlusion", class_name="red")
        >>> found.map.shape, found.explained.name
        ((20, 20), 'red')
        """
        label = None if class_name is None else self.classifier.index_of(class_name)
        prepared = self.classifier.prepare(as_image(image))
        with progress_callback(progress) as told:
            return explain(self.classifier, prepared, methods_of(method), label=label, patch=patch, progress=told)

    def similar(
        self,
        images: str | Path | Iterable[str | Path],
        *,
        index: str | Path,
        k: int = 6,
        layer: str | None = None,
        progress: bool | ProgressCallback = False,
    ) -> Similar:
        """Finds the images of a folder that are most like some others, by the distance of their vectors (Figure 4).

        Args:
            images: files, folders or patterns.
            index: the folder to search in, to the bottom; vectors are kept in the cache.
            k: images to find for each.
            layer: compare in this layer; by default the last hidden one, as the last fully connected layer sees it.

        Raises:
            UsageError: k is below 1, or there is no such layer.
            DataError: there are no images.

        >>> import alexnet
        >>> found = alexnet.load("runs/last").similar("cat.jpg", index="photos/", k=3)
        >>> len(found.answers[0].found)
        3
        """
        if k < 1:
            raise UsageError(f"k={k}: at least one image must be found", fix="Use 1 or more: --k 6.", code="E248")
        paths = find_images(names_of(images))
        chosen = layer or last_hidden(self.network)
        with progress_callback(progress) as told:
            searched = update_index(self.classifier, Path(index), layer=chosen, progress=told)
        return similar(self.classifier, searched, paths, layer=chosen, k=k)

    def features(
        self,
        images: str | Path | Iterable[str | Path],
        *,
        layer: str | None = None,
        out: str | Path | None = None,
        progress: bool | ProgressCallback = False,
    ) -> Features:
        """What one layer gives for images: `.values` (N, units) or (N, channels, H, W), `.paths`, `.errors`.

        Args:
            images: files, folders or patterns.
            layer: as `summary` names it: fc7 is before its non-linearity, relu7 after it; by default the last hidden
                layer as the last fully connected layer sees it.
            out: write them as well: a name that ends in .safetensors, or in .npy with the file names in a .json.

        Raises:
            UsageError: there is no such layer, or `out` exists or ends otherwise.
            DataError: there are no images.

        >>> import alexnet
        >>> alexnet.load("runs/last").features("photos/red", layer="fc7").values.shape
        (10, 64)
        """
        if out is not None:
            check_file(Path(out))
        paths = find_images(names_of(images))
        with progress_callback(progress) as told:
            found = features(self.classifier, paths, layer=layer or last_hidden(self.network), progress=told)
        return found if out is None else save_features(found, Path(out), network=self.fingerprint)

    def filters(self) -> Filters:
        """The conv1 filters as in Figure 3, and how much each tower sees color; `.save(path)` writes a PNG.

        Raises:
            UsageError: the first layer has one gray channel.

        >>> import alexnet
        >>> path = alexnet.load("runs/last").filters().save("filters.png")
        """
        return Filters(conv1_kernels(self.network), self._towers, self.source.resolve().name)

    def filters_over_training(self, most: int = 8) -> FilterGrowth:
        """The conv1 filters after some epochs, a row each in the PNG of `.save(path)`; UsageError if none were kept."""
        return FilterGrowth.of(kernel_history(self.record), self._towers, self.source, most)

    def export(
        self,
        out: str | Path | None = None,
        *,
        to: str | None = None,
        data: str | Path | Data | None = None,
        split: str | None = None,
        pixels: str = "uint8",
        int8: bool = False,
        progress: bool | ProgressCallback = False,
        on_prepared: Any = None,
    ) -> Exported:
        """Writes the network for other programs, after the file has answered every validation image as the run does.

        Args:
            out: the file or folder to write; by default the name of the run with .onnx, .pt2 or -hf.
            to: onnx, torch-export or hf; by default as `out` ends, else onnx.
            data: images to compare on; by default those of the run.
            split: the split to compare on; by default val, else all there is.
            pixels: type that an ONNX file takes, uint8 or float32; values are 0..255 in both.
            int8: ONNX in 8 bits; written if its accuracy falls by no more than a point.

        Raises:
            UsageError: `out` exists, or a package is missing.
            UntrustedFileError: the answers are not equal; nothing is written.

        >>> import alexnet
        >>> exported = alexnet.load("runs/last").export("net.onnx")  # doctest: +SKIP
        """
        target, form = export_target(out, to, self.source.resolve().name)
        with progress_callback(progress) as told:
            prepared = images_for(self.record, data, told, on_prepared)
            chosen = split or next(name for name in ("val", "test", "train") if name in prepared.splits)
            return export_network(
                self.record,
                self.network,
                prepared,
                target,
                form=form,
                split=chosen,
                pixels=pixels,
                int8=int8,
                progress=told,
            )

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:3]) + (", ..." if len(self.class_names) > 3 else "")
        return f"Model({self.recipe.name} from {self.source}: {len(self.class_names)} classes: {names})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.summary()._repr_html_()}"


def load(source: str | Path, *, checkpoint: str = "best", device: str = "auto") -> Model:
    """Loads a trained network.

    Args:
        source: a run folder (`runs/last` is the newest), a file of weights that `identify` knows, or "imagenet" for
            torchvision's published weights. What of a file had to be assumed is a warning, `AssumedSettings`.
        checkpoint: of a run, the "best" on validation or the "last".
        device: auto, cpu, cuda, mps, or a torch device such as cuda:1.

    Raises:
        UsageError: there is no such run or file, or the device is not there.
        UntrustedFileError: a file is damaged, or would run code.
        ResourceError: the published weights cannot be fetched.

    >>> import alexnet
    >>> len(alexnet.load("runs/last").predict("photos/red"))
    10
    """
    folder, network = opened(source, checkpoint)
    return Model(folder, network.place(choose_device(device)))
