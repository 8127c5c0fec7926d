"""AlexNet as the system it was: prepare, train, evaluate and use it, every ingredient a switch.

    import alexnet

    run = alexnet.train("photos/", epochs=20, progress=True)
    model = alexnet.load(run.folder)
    model.predict("cat.jpg")

Importing it does nothing else: what is used is loaded when it is used. The packages are the pipeline, from files to the
shell; `README.md` and `CONTRIBUTING.md` have the map.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet.api.ablation import Ablation, ablate
    from alexnet.api.dataset import Data, ImageDataset, examine, load_data, prepare
    from alexnet.api.model import Model, load
    from alexnet.api.networks import bench, check, create_model, identify, import_weights, summary
    from alexnet.api.plan import TrainingPlan, WorkersEnded, plan
    from alexnet.api.records import diff, list_recipes, recipe
    from alexnet.api.run import Run
    from alexnet.api.studies import Comparison, ParityCheck, compare, ensemble, parity
    from alexnet.api.train import resume, train
    from alexnet.errors import (
        AlexNetError,
        DataError,
        DivergedError,
        ResourceError,
        UntrustedFileError,
        UsageError,
    )
    from alexnet.evaluation.evaluate import Evaluation
    from alexnet.evaluation.predict import Prediction
    from alexnet.recipes.recipe import Recipe
    from alexnet.training.monitor import Interrupted, Monitor, Progress, TensorBoard

__version__ = "0.1.0"

_HOMES = {
    "api.dataset": ("Data", "ImageDataset", "examine", "load_data", "prepare"),
    "api.model": ("Model", "load"),
    "api.networks": ("bench", "check", "create_model", "identify", "import_weights", "summary"),
    "api.plan": ("TrainingPlan", "WorkersEnded", "plan"),
    "api.records": ("diff", "list_recipes", "recipe"),
    "api.run": ("Run",),
    "api.ablation": ("Ablation", "ablate"),
    "api.studies": ("Comparison", "ParityCheck", "compare", "ensemble", "parity"),
    "api.train": ("resume", "train"),
    "errors": ("AlexNetError", "DataError", "DivergedError", "ResourceError", "UntrustedFileError", "UsageError"),
    "evaluation.evaluate": ("Evaluation",),
    "evaluation.predict": ("Prediction",),
    "recipes.recipe": ("Recipe",),
    "training.monitor": ("Interrupted", "Monitor", "Progress", "TensorBoard"),
}

__all__ = [
    "Ablation",
    "AlexNetError",
    "Comparison",
    "Data",
    "DataError",
    "DivergedError",
    "Evaluation",
    "ImageDataset",
    "Interrupted",
    "Model",
    "Monitor",
    "ParityCheck",
    "Prediction",
    "Progress",
    "Recipe",
    "ResourceError",
    "Run",
    "TensorBoard",
    "TrainingPlan",
    "UntrustedFileError",
    "UsageError",
    "WorkersEnded",
    "__version__",
    "ablate",
    "bench",
    "check",
    "compare",
    "create_model",
    "diff",
    "ensemble",
    "examine",
    "identify",
    "import_weights",
    "list_recipes",
    "load",
    "load_data",
    "parity",
    "plan",
    "prepare",
    "recipe",
    "resume",
    "summary",
    "train",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"alexnet.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'alexnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
