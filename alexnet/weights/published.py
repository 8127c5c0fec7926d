"""The pretrained weights that torchvision publishes, and files of class names."""

from pathlib import Path
from urllib.error import URLError

import torch

from alexnet.errors import DataError, ResourceError
from alexnet.storage.files import cache_folder, disk_errors, file_sha256

IMAGENET = "imagenet"  # the name of the weights that torchvision publishes


def read_class_names(path: Path) -> tuple[str, ...]:
    """Reads class names, one per line; empty lines are skipped.

    Raises:
        DataError: the file cannot be read as text.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the class names in {path}: {error}",
            fix="Give a text file in UTF-8 with one name per line.",
            code="E348",
        ) from None
    return tuple(line.strip() for line in lines if line.strip())


def published_weights() -> Path:
    """Downloads torchvision's ImageNet weights of AlexNet (233 MB) once; checks them against the hash in their name.

    Raises:
        ResourceError: they cannot be downloaded.
    """
    from torchvision.models import AlexNet_Weights

    url = AlexNet_Weights.IMAGENET1K_V1.url
    name = url.rpartition("/")[2]
    path: Path = cache_folder() / "weights" / name
    if not path.is_file():
        with disk_errors(f"saving {name}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
            except (URLError, RuntimeError, TimeoutError) as error:
                raise ResourceError(
                    f"cannot download {url}: {error}",
                    fix=f"Download it elsewhere and give --weights {name}.",
                    code="E540",
                ) from None
    return path


def describe_published() -> str:
    """Where torchvision's weights come from and how their file is checked, for machines without a network."""
    from torchvision.models import AlexNet_Weights

    url = AlexNet_Weights.IMAGENET1K_V1.url
    name = url.rpartition("/")[2]
    return (
        f"downloads {url} (233 MB, sha256 begins with {Path(name).stem.rpartition('-')[2]}); offline, copy it here and "
        f"give --weights {name}"
    )


def is_published(path: Path, classes: int) -> bool:
    """Whether a file is torchvision's own, of which everything is known that it does not say; compared by its hash."""
    from torchvision.models import AlexNet_Weights

    expected = Path(AlexNet_Weights.IMAGENET1K_V1.url).stem.rpartition("-")[2]
    size = AlexNet_Weights.IMAGENET1K_V1.meta["num_params"] * 4  # of float32
    if classes != 1000 or not size <= path.stat().st_size <= size + (1 << 20):
        return False
    return file_sha256(path).startswith(expected)
