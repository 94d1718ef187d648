"""One damaged image through the library or the command: what they say, and what they leave behind."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nss import apply_mask
from nss.cli import main
from nss.cli.terminal import PROGRAM
from nss.cutouts.compose import Composition, Cutout
from nss.errors import NssError
from nss.evaluation import examine
from nss.masks.refine import Refinement
from nss.photos import image_io
from nss.photos.image_file import open_image
from tools.fuzzing import image_mutations
from tools.fuzzing.children import Context, kind_of_noise
from tools.fuzzing.image_seeds import SIZE, seeds
from tools.fuzzing.verdict import ROOT, Verdict, misworded

MOST_PIXELS = 4_000_000
"""Of an image that is decoded: a larger one is read as far as its header, and counted."""

WAYS = {"library": 50, "mask": 8, "background": 5, "check": 5, "command": 24, "command on pipes": 7, "process": 0.3}
"""How an image goes through the project, and how often."""

FORMATS = ("png", "png", "png", "webp", "jpg", "tif", "avif")

STATUSES = (0, 1, 2, 3)
"""What the command may end with; see ``nss.errors``."""

PYTHON_WARNING = re.compile(r"\.py:\d+: \w*Warning: ")

COMPOSITIONS = (
    Composition(),
    Composition(keep_exif=True),
    Composition(keep_exif=True, keep_gps=True, hidden="bleed"),
    Composition(hidden="zero", crop=2, decontaminate=1.0),
    Composition(background="white", invert=True),
    Composition(background="blur:3"),
    Composition(mask_only=True),
)

OPTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("--keep-exif",),
    ("--background", "blur:3"),
    ("--mask-only", "--mask-bits", "16"),
    ("--feather", "1", "--sidecar"),
    ("--crop", "1", "--hidden", "bleed"),
)


@dataclass(frozen=True)
class ImageCases:
    """Cases of a seed of the random numbers."""

    seed: int
    name: str = "images"

    def prepare(self) -> None:
        """Make what all cases begin with, before the first child is forked, and import what they need.

        Nothing is refined or saved here: that would start threads, and a child inherits none.
        """
        for name, data in seeds().items():
            image_io.load(data, name)

    def make(self, index: int, folder: Path) -> str:
        """Write the case's file; returns the name of what it was made from."""
        return self._damaged_file(index, folder)[0]

    def judge(self, index: int, context: Context) -> Verdict:
        """Take the case's image on its way, and look at what is left."""
        _, path, rng = self._damaged_file(index, context.folder)
        way = rng.choices(list(WAYS), list(WAYS.values()))[0]
        return watch(path, context, lambda: judge_image(path, way, rng, context), way)

    def _damaged_file(self, index: int, folder: Path) -> tuple[str, Path, random.Random]:
        rng = random.Random(f"{self.seed}/images/{index}")
        name = rng.choice(sorted(seeds()))
        path = folder / f"damaged.{name.split('-')[0]}"
        path.write_bytes(image_mutations.mutate(name, seeds()[name], rng))
        return name, path, rng


def watch(path: Path, context: Context, go: Callable[[], Verdict], way: str) -> Verdict:
    """What comes of ``go``, unless it leaves something behind or touches the image."""
    before = path.read_bytes()
    try:
        verdict = go()
    finally:
        lines = context.written()
    if verdict.fault:
        return verdict
    if path.read_bytes() != before:
        return Verdict("left behind", f"the input has changed, by {way}")
    strangers = sorted(entry.name for entry in context.folder.iterdir() if entry.name.startswith(".nss-"))
    if strangers:
        return Verdict("left behind", f"a temporary file, by {way}", detail=", ".join(strangers))
    if PYTHON_WARNING.search(lines):
        return Verdict("noise", kind_of_noise(lines), detail=lines)
    # what C libraries write is the command's to name; a program's standard error the library leaves alone
    return replace(verdict, why=f"{verdict.why}, decoder wrote lines") if lines else verdict


def judge_image(path: Path, way: str, rng: random.Random, context: Context) -> Verdict:
    """What becomes of an image on one of WAYS."""
    context.stage("header")
    try:
        with open_image(path) as handle:
            width, height = handle.image.size
        if width * height > MOST_PIXELS:
            return Verdict("too much work")
        if way in ("library", "mask", "background", "check"):
            return _through_library(path, way, rng, context)
    except NssError as error:
        if way in ("library", "mask", "background", "check"):
            if wrong := misworded(str(error)):
                return Verdict("message", f"{wrong} in {context.at}", detail=str(error))
            return Verdict("refused", f"{type(error).__name__} in {context.at}", detail=str(error))
    return _through_command(path, way, rng, context)


def _through_library(path: Path, way: str, rng: random.Random, context: Context) -> Verdict:
    if way == "check":
        context.stage(way)
        examine.examine(path)
        return Verdict("ok", way)
    composition, target = rng.choice(COMPOSITIONS), path.with_name(f"out.{rng.choice(FORMATS)}")
    if way == "mask":
        context.stage(way)
        cutout = apply_mask(_photo(), image_io.load_mask(path))
    else:
        context.stage("load")
        source: Path | bytes = path.read_bytes() if rng.random() < 0.3 else path
        photo = image_io.load(_photo() if way == "background" else source)
        cutout = apply_mask(photo, _mask(photo.size))
    if way == "background":
        composition = Composition(background=str(path))
    if rng.random() < 0.2:
        context.stage("refine")
        cutout = cutout.refined(Refinement(guided=2.0, smooth=1.0, feather=1.0))
    context.stage("save")
    return _save(cutout, composition, target, way)


def _save(cutout: Cutout, composition: Composition, target: Path, way: str) -> Verdict:
    try:
        cutout.save(target, composition=composition)
    except NssError:
        if target.exists():
            return Verdict("left behind", f"a file that {way} says it could not write")
        raise
    return Verdict("ok", way)


def _through_command(path: Path, way: str, rng: random.Random, context: Context) -> Verdict:
    context.stage(way)
    target, mask = path.with_name(f"out.{rng.choice(FORMATS)}"), path.with_name("mask.png")
    _save_mask(mask, path)
    arguments = ["remove", str(path), "--mask", str(mask), "-o", str(target), *rng.choice(OPTIONS)]
    arguments.append(rng.choice(("--quiet", "--json")))
    if "16" in arguments:
        target = path.with_name("out.png")
        arguments[arguments.index("-o") + 1] = str(target)
    if way == "command" and rng.random() < 0.2:
        arguments, target = ["check", "--json", str(path)], path
    elif way == "command" and rng.random() < 0.2:
        target = path.with_name("out.png")
        arguments = ["preview", str(path), "--mask", str(mask), "-o", str(target), "--quiet"]
    context.written()  # what decoders wrote of it so far, when the command did not run yet
    if way == "process":
        command = [sys.executable, "-m", "nss", *arguments]
        status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    elif way == "command on pipes":
        arguments[1] = "-"
        with path.open("rb") as file:
            status = _with_input(file.fileno(), arguments)
    else:
        status = main.main(arguments)
    return _judge_command(status, context.written(), target, way)


def _with_input(descriptor: int, arguments: list[str]) -> int:
    """The command with a file as its standard input."""
    standard_input = os.dup(0)
    os.dup2(descriptor, 0)
    stream, sys.stdin = sys.stdin, open(0, closefd=False)  # noqa: SIM115 - it is put back
    try:
        return main.main(arguments)
    finally:
        sys.stdin = stream
        os.dup2(standard_input, 0)
        os.close(standard_input)


def _judge_command(status: int, lines: str, target: Path, way: str) -> Verdict:
    """Whether what the command has printed, its status and its output belong together."""
    for line in lines.splitlines():
        if line.startswith("{"):
            json.loads(line)
        elif not line.startswith(f"{PROGRAM}: "):
            return Verdict("noise", kind_of_noise(line), detail=lines)
        elif "unexpected" in line:
            return Verdict("foreign", line.split("unexpected", 1)[1].split(":")[0].strip() + f" in {way}", detail=lines)
        elif not line.isprintable():
            return Verdict("message", f"characters that cannot be printed, by {way}", detail=lines)
    if status not in STATUSES:
        return Verdict("status", f"{status} by {way}", detail=lines)
    if target.exists() != (status == 0) and target.name.startswith("out."):
        return Verdict("status", f"{status} by {way}, and the output is {'' if status else 'not '}there", detail=lines)
    if status and not lines:
        return Verdict("status", f"{status} by {way}, and nothing was said")
    return Verdict("ok", way) if status == 0 else Verdict("refused", f"status {status} by {way}", detail=lines)


def _mask(size: tuple[int, int]) -> np.ndarray:
    """A mask of height and width ``size``: 1 in the middle, soft edges, 0 at the border."""
    rows, columns = (np.sin(np.linspace(0, np.pi, side, dtype=np.float32)) for side in size)
    return np.clip(2 * rows[:, None] * columns - 0.5, 0, 1)


def _save_mask(target: Path, photo: Path) -> None:
    """A mask for the photo, of the seeds' size if the photo cannot be read."""
    from PIL import Image

    try:
        size = image_io.load(photo).size
    except NssError:
        size = SIZE[::-1]
    Image.fromarray((255 * _mask(size)).astype(np.uint8)).save(target)


def _photo() -> np.ndarray:
    """A photo of the seeds' size."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    return np.stack([6 * x, 9 * y, 255 - 5 * x], -1).astype(np.uint8)
