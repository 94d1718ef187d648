"""What a photo can be given as; PIL is imported for it, so that others import it where types are checked."""

from __future__ import annotations

import os
from typing import IO, TypeAlias

import numpy as np
from PIL import Image

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray
"""A path, the bytes of an image file, a binary file object, a PIL image, or an array as `pixel_arrays` takes it."""
