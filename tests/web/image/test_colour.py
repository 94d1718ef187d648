"""web/image's conversion of colours between ICC profiles against that of nss, which is LittleCMS's."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import ImageCms

from nss.cutouts.background import to_profile
from tests.nss.images import cmyk_profile, linear_grey_profile, profile
from tests.web.conftest import HERE, Node
from tests.web.image.cases import Cases

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _para(kind: int, *values: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _fixed(*values)


def _curve(*points: int) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(points)}H", len(points), *points)


def _matrix_profile(primaries: tuple[tuple[float, ...], ...], curve: bytes) -> bytes:
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(0.9642, 1, 0.8249)}
    for colour, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[colour + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(*primary)
        tags[colour + b"TRC"] = curve
    return profile(b"RGB ", b"XYZ ", tags)


PROFILES = {
    "sRGB": SRGB,
    "P3": _matrix_profile(P3, _para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
    "Adobe RGB": _matrix_profile(ADOBE, _curve(round(2.19921875 * 256))),
    "linear": _matrix_profile(ADOBE, _curve()),
    "a table": _matrix_profile(P3, _curve(*np.rint(65535 * np.linspace(0, 1, 300) ** 1.8).astype(int).tolist())),
    "type 0": _matrix_profile(P3, _para(0, 1.8)),
    "type 2": _matrix_profile(P3, _para(2, 2.2, 0.9, 0.1, -(0.1**2.2))),
    "type 1": _matrix_profile(P3, _para(1, 2.0, 1.1, -0.1)),
    "type 4": _matrix_profile(P3, _para(4, 2.4, 0.94, 0.052, 1 / 12.92, 0.04, 0.00004, 0)),
}


def test_colour(run_node: Node, tmp_path: Path) -> None:
    rng = np.random.default_rng(20)
    cases = Cases(tmp_path / "cases")
    colours = rng.integers(0, 256, (60, 60, 3)).astype(np.uint8)
    colours[:16, :16] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)  # greys
    for name, icc in PROFILES.items():
        for source, target in ((None, icc), (icc, None), (icc, PROFILES["P3"])):
            notes: list[str] = []
            result = to_profile(colours, source, target, notes)
            assert not notes
            cases.add(
                "colours", f"{name}, {'from' if target is None else 'to P3' if source else 'to'}", colours=colours,
                source=_array(source), target=_array(target), result=result,
            )  # fmt: skip
    broken = {
        "grey": linear_grey_profile(),
        "CMYK": cmyk_profile(),
        "cut": PROFILES["P3"][:200],
        "no profile": b"no profile",
        "empty": b"",
        "with tables": profile(b"RGB ", b"XYZ ", {b"A2B0": b"mft1"}),
        "no matrix": profile(b"RGB ", b"XYZ ", {b"rTRC": _curve()}),
        "black": _matrix_profile(((0, 0, 0),) * 3, _curve()),
    }
    for name, icc in broken.items():
        cases.add("broken", name, icc=_array(icc))
    run_node(HERE / "image/colour.test.mjs", NSS_CASES=cases.write())


def _array(icc: bytes | None) -> np.ndarray | None:
    return None if icc is None else np.frombuffer(icc, np.uint8)
