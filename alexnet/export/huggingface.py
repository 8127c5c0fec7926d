"""A run as a folder for the Hugging Face hub: config.json, model.safetensors and a model card."""

import json
from typing import Any

import safetensors.torch

from alexnet.models.network import Network
from alexnet.runs.run import RunFolder
from alexnet.storage.files import read_rows

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
    known = json.loads(path.read_text()) if path.is_file() else {}
    parts = [f"{name} {known[name]}" for name in ("alexnet", "torch", "python", "processor") if known.get(name)]
    return [f"- {', '.join(parts)}"] if parts else []


def _results(run: RunFolder) -> list[str]:
    """Returns the table of evaluation.json; without that file, the lowest validation error in metrics.jsonl."""
    path = run.folder / "evaluation.json"
    if path.is_file():
        rows = ["| split | views | images | top-1 error, % | top-5 error, % |", "|---|---|---|---|---|"]
        for evaluation in json.loads(path.read_text()):
            top5 = evaluation["top5_error"]
            rows.append(
                f"| {evaluation['split']} | {evaluation['views']} | {evaluation['images']} | "
                f"{100 * evaluation['top1_error']:.1f} | {'-' if top5 is None else f'{100 * top5:.1f}'} |"
            )
        return rows
    metrics = run.folder / "metrics.jsonl"
    validated = [row for row in read_rows(metrics)[0] if "val_top1_error" in row] if metrics.is_file() else []
    if not validated:
        return ["None are recorded with the run."]
    best = min(validated, key=lambda row: row["val_top1_error"])
    return [f"Top-1 error on the validation split: {100 * best['val_top1_error']:.1f} % after epoch {best['epoch']}."]
