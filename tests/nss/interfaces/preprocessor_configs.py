"""A ``preprocessor_config.json`` that says all that is read of one."""

from __future__ import annotations

WHOLE = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [1.0, 1.0, 1.0],
    "rescale_factor": 1 / 255,
    "resample": 2,
    "size": {"width": 768, "height": 1024},
}
