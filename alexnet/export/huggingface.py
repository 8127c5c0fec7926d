"""A run as a folder for the Hugging Face hub: config.json, model.safetensors and a model card."""

import json
from typing import Any

import safetensors.torch

from alexnet.models.network import Network
from alexnet.runs.metrics import best_epoch, read_epochs
from alexnet.runs.run import RunFolder
from alexnet.storage.files import parse_json

LIBRARY = "alexnet"


def folder_files(run: RunFolder, model: Network, about: dict[str, Any]) -> dict[str, bytes]:
    """Builds the files of the folder by name.

    model.safetensors also holds the recipe, the class names and the temperature, so `alexnet import` can read it alone.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    header = {"recipe": about["recipe"], "classes": about["class_names"]}
    header |= {"temperature": about["temperature"]} if about["temperature"] != 1 else {}
    metadata = json.dumps(header, ensure_ascii=False)
    names = about["class_names"]
    config = {
        "architectures": [type(model).__name__],
        "model_type": run.recipe.model.architecture,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "num_labels": len(names),
        "image_size": run.recipe.model.crop_size,
        "num_channels": 3,
        "torch_dtype": "float32",
        "alexnet": about,
    }
    return {
        "config.json": json.dumps(config, indent=2, ensure_ascii=False).encode(),
        "model.safetensors": safetensors.torch.save(state, {"alexnet": metadata}),
        "README.md": model_card(run, model, about).encode(),
    }


def model_card(run: RunFolder, model: Network, about: dict[str, Any]) -> str:
    """Writes the model card: what the network is, how it was trained, how good it is, and what is not known."""
    recipe, names = run.recipe, about["class_names"]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    front = {
        "library_name": LIBRARY,
        "pipeline_tag": "image-classification",
        "tags": list(dict.fromkeys(("alexnet", recipe.model.architecture, recipe.name))),
    }
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()), "---", ""]
    count = sum(tensor.numel() for tensor in model.parameters())
    lines += [
        f"# {recipe.name}, {len(names)} classes",
        "",
        f"A network of the AlexNet family ({recipe.model.architecture}), {count:,} parameters, trained with the recipe "
        f"`{recipe.name}` of the program `alexnet`. The program wrote this card from the files of the run.",
        "",
        "## Use",
        "",
        "```bash",
        "alexnet import model.safetensors RUN",
        "alexnet predict RUN IMAGE.jpg",
        "```",
        "",
        f"The input is pixels in 0..255: {about['preprocessing']['before']}. Inside the network: "
        f"{about['preprocessing']['inside']}. `transformers.AutoModel` cannot load this network.",
        "",
        *(
            [f"Probabilities are the softmax of the logits divided by {about['temperature']:.6g}, the temperature.", ""]
            if about["temperature"] != 1
            else []
        ),
        "## Training",
        "",
        f"- classes: {shown}",
        f"- epochs {recipe.epochs}, batch size {recipe.batch_size}, seed {recipe.seed}, {recipe.optim.algorithm}",
        f"- fingerprint of the dataset: `{run.data.get('fingerprint') or 'unknown'}`",
        *_environment(run),
        "",
        "The full recipe is in config.json.",
        "",
        "## Results",
        "",
        *_results(run),
        "",
        "## Limits",
        "",
        "The results hold for images like those it was trained on. An image of anything else still gets one of the "
        "classes above. What the training images show, who is in them and whether they may be used is not recorded.",
        "",
    ]
    return "\n".join(lines)


def _environment(run: RunFolder) -> list[str]:
    path = run.folder / "environment.json"
    known = parse_json(path.read_text()) if path.is_file() else {}
    parts = [f"{name} {known[name]}" for name in ("alexnet", "torch", "python", "processor") if known.get(name)]
    return [f"- {', '.join(parts)}"] if parts else []


def _results(run: RunFolder) -> list[str]:
    """Returns the table of evaluation.json; without that file, the validation error of the best epoch."""
    try:
        evaluations = parse_json((run.folder / "evaluation.json").read_text())
        rows = [
            f"| {each['split']} | {each['views']} | {each['images']} | {100 * each['top1_error']:.1f} | "
            f"{'-' if each['top5_error'] is None else format(100 * each['top5_error'], '.1f')} |"
            for each in evaluations
        ]
    except (OSError, ValueError, TypeError, LookupError):
        rows = []  # it was not evaluated, or another program has written the file
    if rows:
        return ["| split | views | images | top-1 error, % | top-5 error, % |", "|---|---|---|---|---|", *rows]
    epochs, _ = read_epochs(run.folder / "metrics.jsonl")
    chosen = best_epoch(epochs)
    if chosen is None:
        return ["None are recorded with the run."]
    best = next(row for row in epochs if row["epoch"] == chosen)
    return [f"Top-1 error on the validation split: {100 * best['val_top1_error']:.1f} % after epoch {best['epoch']}."]
