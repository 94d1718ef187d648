"""What a photo takes at its peak, in bytes a pixel: decoded, made into a network's input, cut out and written.

    python -m tools.photo_memory [--megapixels 12 48] [--formats JPEG PNG ...]

Each photo is made in this process, and measured in one of its own, whose peak of private memory is taken back to what
it is before each stage. "held" is what waits for the network: the photo, and an input of 1024 x 1024, 12.6 MB. The
network does not run: its mask, of the same size, is there. Linux alone has what this needs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.fetch_models import ROOT

FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("RGB", ".jpg", {"quality": 92}),
    "PNG": ("RGB", ".png", {"compress_level": 1}),
    "PNG with alpha": ("RGBA", ".png", {"compress_level": 1}),
    "PNG of 16 bits, grey": ("I;16", ".png", {"compress_level": 1}),
    "WEBP": ("RGB", ".webp", {"quality": 80, "method": 0}),
    "WEBP with alpha": ("RGBA", ".webp", {"quality": 80, "method": 0}),
    "TIFF": ("RGB", ".tif", {"compression": "tiff_lzw"}),
    "AVIF": ("RGB", ".avif", {"quality": 60, "speed": 10}),
    "JPEG2000": ("RGB", ".jp2", {"quality_mode": "rates", "quality_layers": [20]}),
}
"""By name: Pillow's mode, the extension and the options of the file."""

OUTPUTS: dict[str, dict[str, Any]] = {
    "cut-out": {},
    "feathered": {"refinement": {"feather": 3, "smooth": 2}},
    "guided": {"refinement": {"guided": 20}},
    "decontaminated": {"composition": {"decontaminate": 1.0}},
    "on a colour": {"composition": {"background": "#204060"}},
    "mask": {"composition": {"mask_only": True}},
    "WebP": {"encoding": "webp"},
    "AVIF": {"encoding": "avif"},
    "TIFF": {"encoding": "tiff"},
    "JPEG": {"composition": {"background": "white"}, "encoding": "jpeg"},
}
"""What is made of a JPEG, by name: refinement, composition and format."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12, 48])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(Path(arguments.measure[0]), json.loads(arguments.measure[1]))))
        return
    print(f"{'':>5} {'photo':<22}{'output':<16}{'decode':>8}{'prepare':>8}{'held':>8}{'finish':>8}   bytes a pixel")
    for megapixels in arguments.megapixels:
        for name in arguments.formats:
            with tempfile.TemporaryDirectory() as folder:
                photo = make(megapixels, name, Path(folder))
                for output, settings in OUTPUTS.items() if name == "JPEG" else [("cut-out", {})]:
                    taken = child(photo, settings)
                    pixels = taken.pop("pixels")
                    row = "".join(f"{nbytes / pixels:8.2f}" for nbytes in taken.values())
                    print(f"{megapixels:5.0f} {name:<22}{output:<16}{row}", flush=True)


def make(megapixels: float, name: str, folder: Path) -> Path:
    """A photo with fine grain, 4 : 3."""
    from PIL import Image

    mode, extension, options = FORMATS[name]
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).resize((width, width * 3 // 4))
    pixels = np.asarray(base) // 2 + rng.integers(0, 8, (width * 3 // 4, width, 1), np.uint8)
    if mode == "RGBA":
        pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 200)], axis=2)
    if mode == "I;16":
        pixels = pixels[..., 0].astype(np.uint16) * 257
    path = folder / f"photo{extension}"
    Image.fromarray(pixels).save(path, **options)
    return path


def child(photo: Path, settings: dict[str, Any]) -> dict[str, int]:
    """`measure`, in a process of its own."""
    command = [sys.executable, "-m", "tools.photo_memory", "--measure", str(photo), json.dumps(settings)]
    return dict(json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout))


def measure(path: Path, settings: dict[str, Any]) -> dict[str, int]:
    """Bytes at the peak of decoding, and of making the input; held after that; and at the peak of all that follows."""
    import nss
    from nss.cutouts.run_info import RunInfo
    from nss.interfaces.interface import complete, parse_size
    from nss.masks.photo_mask import PhotoMask
    from nss.photos import image_io
    from nss.removal import preprocess

    interface = complete({"input": "x", "output": "y", "size": parse_size("1024")})
    y, x = np.ogrid[:1024, :1024]
    raw = np.clip((1 - ((x - 512) / 400) ** 2 - ((y - 512) / 400) ** 2) * 4 + 0.5, 0, 1).astype(np.float32)
    info = RunInfo(None, None, None, None)

    def finish(photo: Any) -> None:
        mask = PhotoMask.enlarged(raw, photo.size)
        cutout = nss.Cutout(mask, photo.rgb, photo.alpha, photo.icc, photo.path, (), info)
        if refinement := settings.get("refinement"):
            cutout = cutout.refined(nss.Refinement(**refinement))
        format_ = settings.get("encoding", "png")
        composition = nss.Composition(**settings.get("composition", {}))
        cutout.save(path.with_name(f"out.{format_}"), composition=composition, encoding=format_, overwrite=True)

    # what is imported, started and kept for good is not the photo's
    small = np.zeros((64, 64, 3), np.uint8)
    image_io.load(path)
    preprocess.prepare(small, interface)
    finish(image_io.load(small))
    before = resident()
    decoding, photo = peak(lambda: image_io.load(path))
    preparing, _kept = peak(lambda: preprocess.prepare(photo.rgb, interface, photo.alpha))
    held = resident()
    _kept = None
    resident()
    finishing, _ = peak(lambda: finish(photo))
    return {
        "pixels": photo.size[0] * photo.size[1],
        "decoding": decoding - before,
        "preparing": preparing - before,
        "held": held - before,
        "finishing": finishing - before,
    }


def peak(call: Callable[[], Any]) -> tuple[int, Any]:
    """The most that is resident while it runs, and what it gives."""
    Path("/proc/self/clear_refs").write_text("5")
    value = call()
    return status("VmHWM"), value


def resident() -> int:
    """What is resident now, once what is free has been given back."""
    import ctypes
    import gc

    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    return status("VmRSS")


def status(key: str) -> int:
    """Bytes on a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise SystemExit(f"photo_memory: this system says no {key}")


if __name__ == "__main__":
    main()
