"""Request bodies for schemathesis: valid images and archives of them, where its own bodies would be random bytes.

To use them on the command line, set SCHEMATHESIS_HOOKS=harness.openapi_bodies.
"""

import base64
import io
import tarfile

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image


def picture(width: int, height: int, seed: int, kind: str) -> bytes:
    """Noise as an image file of some kind."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(noise).save(out := io.BytesIO(), kind)
    return out.getvalue()


def archive(files: list[tuple[str, bytes]]) -> bytes:
    """A tar archive of files."""
    with tarfile.open(fileobj=(out := io.BytesIO()), mode="w") as written:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            written.addfile(info, io.BytesIO(content))
    return out.getvalue()


SIDES = st.integers(1, 90)
IMAGES = st.builds(picture, SIDES, SIDES, st.integers(0, 99), st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF"]))
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=120)
# One file has a plain name always: an archive of nothing but files that systems leave behind is refused.
ARCHIVES = st.builds(
    lambda files, image: archive([*files, ("photo.png", image)]),
    st.lists(st.tuples(NAMES, IMAGES | st.binary(max_size=30)), max_size=3),
    IMAGES,
)

schemathesis.openapi.format("byte", IMAGES.map(lambda data: base64.b64encode(data).decode()))
schemathesis.openapi.media_type("application/octet-stream", IMAGES)
schemathesis.openapi.media_type("application/x-tar", ARCHIVES)
