"""Pictures of every kind that a PNG file holds, and their files as the project writes them."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import strategies as st

from nss.files import png
from nss.files.picture import Picture

KINDS = ["rgba", "opaque", "rgb", "8 bits", "16 bits"]
"""What `tests.nss.pictures.pixels` makes."""


def written(picture: Picture, effort: int | None = None) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    png.write(picture, file, effort)
    return file.getvalue()


def small_pictures() -> st.SearchStrategy[np.ndarray]:
    """Of up to 20 x 20 pixels, of every kind but opaque ones, of noise and of what deflates well."""

    def picture(height: int, width: int, kind: str, content: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        channels = {"rgba": (4,), "rgb": (3,)}.get(kind, ())
        top = 65536 if kind == "16 bits" else 256
        shape = (height, width, *channels)
        values = {
            "noise": rng.integers(0, top, shape),
            "contrast": rng.integers(0, 2, shape) * (top - 1),
            "flat": np.full(shape, rng.integers(0, top)),
            "ramp": np.cumsum(rng.integers(0, 3, shape), axis=1) % top,
        }[content]
        return values.astype(np.uint16 if kind == "16 bits" else np.uint8)

    return st.builds(
        picture,
        st.integers(1, 20),
        st.integers(1, 20),
        st.sampled_from(["rgba", "rgb", "8 bits", "16 bits"]),
        st.sampled_from(["noise", "contrast", "flat", "ramp"]),
        st.integers(0, 2**32 - 1),
    )
