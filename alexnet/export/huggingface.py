"""A run as a folder that the Hugging Face hub takes: config.json, model.safetensors and a card of the run's records."""

import json
from typing import Any

import safetensors.torch

from alexnet.models.network import Network
from alexnet.runs.run import RunFolder
from alexnet.storage.jsonl import read_rows

LIBRARY = "alexnet"


def folder_files(run: RunFolder, model: Network, about: dict[str, Any]) -> dict[str, bytes]:
    """The files by name.

    model.safetensors is what `alexnet import` reads: it holds the recipe and the classes as well.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    inside = json.dumps({"recipe": about["recipe"], "classes": about["class_names"]}, ensure_ascii=False)
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
        "model.safetensors": safetensors.torch.save(state, {"alexnet": inside}),
        "README.md": model_card(run, model, about).encode(),
    }


def model_card(run: RunFolder, model: Network, about: dict[str, Any]) -> str:
    """The card: what the network is, what it was trained on, how good it was, and what nobody knows of it."""
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
        f"`{recipe.name}` of the program `alexnet`. This card was written by that program from the records of the run.",
        "",
        "## Use",
        "",
        "```bash",
        "alexnet import model.safetensors RUN",
        "alexnet predict RUN PICTURE.jpg",
        "```",
        "",
        f"Pixels 0..255 go in: {about['preprocessing']['before']}. Then, inside the network: "
        f"{about['preprocessing']['inside']}. The class `transformers.AutoModel` does not know this network.",
        "",
        "## Training",
        "",
        f"- classes: {shown}",
        f"- epochs {recipe.epochs}, batch {recipe.batch_size}, seed {recipe.seed}, {recipe.optim.algorithm}",
        f"- fingerprint of the pictures: `{run.data.get('fingerprint') or 'unknown'}`",
        *_environment(run),
        "",
        "The whole recipe stands in config.json.",
        "",
        "## Figures",
        "",
        *_figures(run),
        "",
        "## Limits",
        "",
        "The figures hold for pictures like those it was trained on. A picture of anything else still gets one of the "
        "classes above. What the training pictures show, who is on them and whether they may be used is not recorded.",
        "",
    ]
    return "\n".join(lines)


def _environment(run: RunFolder) -> list[str]:
    path = run.folder / "environment.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    parts = [f"{name} {known[name]}" for name in ("alexnet", "torch", "python", "processor") if known.get(name)]
    return [f"- {', '.join(parts)}"] if parts else []


def _figures(run: RunFolder) -> list[str]:
    """The table of evaluation.json, or else what the last look at the held-out pictures gave."""
    path = run.folder / "evaluation.json"
    if path.is_file():
        rows = ["| split | views | pictures | top-1 error, % | top-5 error, % |", "|---|---|---|---|---|"]
        for found in json.loads(path.read_text()):
            top5 = found["top5_error"]
            rows.append(
                f"| {found['split']} | {found['views']} | {found['images']} | {100 * found['top1_error']:.1f} | "
                f"{'-' if top5 is None else f'{100 * top5:.1f}'} |"
            )
        return rows
    metrics = run.folder / "metrics.jsonl"
    looks = [row for row in read_rows(metrics)[0] if "val_top1_error" in row] if metrics.is_file() else []
    if not looks:
        return ["None are recorded with the run."]
    best = min(looks, key=lambda row: row["val_top1_error"])
    return [f"Top-1 error on the held-out pictures: {100 * best['val_top1_error']:.1f} % after epoch {best['epoch']}."]
