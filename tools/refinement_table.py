"""What each refinement does to masks that need it, and to masks that do not: a Markdown table, over the synthetic set.

python tools/refinement_table.py [--out DIR] [--seed N] [--count N] [--size WxH]

The photos of tools/synthetic.py get masks with one defect each. For each defect, and for each refinement of it, a
folder of cut-outs is written, and compared with the truth by the functions of ``nss-wgpu eval``; each cell is the mean
over the photos of a row, before and after. With --out the folders stay: ``nss-wgpu eval DIR/pred/FOLDER DIR/truth``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from nss.arrays.quantisation import quantise
from nss.cutouts.foreground import decontaminate
from nss.evaluation import pairs as evaluation
from nss.evaluation.metrics import Scores
from nss.masks.refine import Refinement
from tools import synthetic
from tools.timing import table

Make = Callable[[np.ndarray, np.random.Generator], np.ndarray]

MEASURES = {"mae": "MAE", "sad": "SAD", "gradient": "gradient", "colour": "colour"}


@dataclass(frozen=True)
class Step:
    """Something that can be done to a cut-out.

    Attributes:
        refinement: what is done to the mask.
        decontaminate: the amount by which the background's colour is taken out of soft pixels.
        photos: for each row of the table the shapes or backgrounds whose photos count in it; all where none is named.
    """

    refinement: Refinement = field(default_factory=Refinement)
    decontaminate: float = 0.0
    photos: tuple[tuple[str, ...], ...] = ((),)

    @property
    def name(self) -> str:
        """The settings as options of the command."""
        settings = self.refinement.settings() | ({"decontaminate": self.decontaminate} if self.decontaminate else {})
        return " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in settings.items())

    @property
    def folder(self) -> str:
        """The settings as part of a folder's name."""
        return self.name.removeprefix("--").replace(" --", "-").replace(" ", "-") or "as-it-is"

    def cutout(self, photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The cut-out, uint8 HxWx4, of a photo (uint8 HxWx3) by a mask (float32 HxW)."""
        alpha = self.refinement.apply(mask, photo)
        return np.dstack([decontaminate(photo, alpha, self.decontaminate), quantise(alpha)])


@dataclass(frozen=True)
class Defect:
    """A way in which masks are wrong, and what to do about it.

    Attributes:
        name: as the table has it.
        folder: as part of a folder's name.
        make: the true alpha (uint16 HxW) and a generator to the mask, float32 HxW in 0..1.
        steps: what is tried.
    """

    name: str
    folder: str
    make: Make
    steps: tuple[Step, ...]


def exact(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """The truth."""
    return (alpha / 65535).astype(np.float32)


def network(side: int) -> Make:
    """As a network of that side gives it."""
    return lambda alpha, rng: synthetic.degrade(alpha, side, rng)


def specked(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Specks and pinholes, 20 of each, of up to 5 pixels' radius."""
    mask = exact(alpha, rng)
    for _ in range(2):
        # ten pixels from what is there a speck stands alone
        places = np.argwhere(dilate(mask, 10) == 0)
        for place in places[rng.integers(len(places), size=20)] if len(places) else ():
            synthetic.speck(mask, place, 1 + 4 * rng.random())
        mask = 1 - mask
    return mask


def hazy(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nothing quite black and nothing quite white: 3 to 9 % off, unevenly."""
    size = (alpha.shape[0], alpha.shape[1])
    lower, upper = (0.03 + 0.06 * synthetic.waves(size, rng, range(2, 5)) for _ in range(2))
    return (lower + (1 - upper - lower) * (alpha / 65535)).astype(np.float32)


def stepped(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A binary mask of a quarter of the size, enlarged without interpolation."""
    small = exact(alpha, rng)[2::4, 2::4] > 0.5
    return small.repeat(4, axis=0).repeat(4, axis=1)[: alpha.shape[0], : alpha.shape[1]].astype(np.float32)


def hard(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut at a half."""
    return (exact(alpha, rng) > 0.5).astype(np.float32)


def wide(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contours two pixels too far out."""
    return dilate(exact(alpha, rng), 2)


def narrow(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contours two pixels too far in."""
    return 1 - dilate(1 - exact(alpha, rng), 2)


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """The largest value among the pixels whose centres lie within ``radius``, float32 HxW."""
    height, width = mask.shape
    padded = np.pad(mask, radius, mode="edge")
    out = mask.copy()
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down**2 + right**2 <= radius**2:
                top, left = radius + down, radius + right
                np.maximum(out, padded[top : top + height, left : left + width], out=out)
    return out


def step(*photos: tuple[str, ...], **settings: float) -> Step:
    """A refinement of the mask, with a row for each of the groups of photos."""
    return Step(Refinement(**settings), photos=photos or ((),))


BODIES, HAIR, TEXT, LOW = ("discs", "glass"), ("hair",), ("text",), ("low-contrast",)

DEFECTS = (
    Defect("network of 320²", "network-320", network(320), (step(BODIES, HAIR, TEXT, LOW, guided=8),)),
    Defect(
        "network of 1024²",
        "network-1024",
        network(1024),
        (
            step(BODIES, HAIR, TEXT, LOW, guided=2),
            step(BODIES, TEXT, drop_islands=60, fill_holes=60),
            Step(decontaminate=1),
        ),
    ),
    Defect(
        "specks and pinholes",
        "specked",
        specked,
        (
            step(BODIES, drop_islands=120),
            step(BODIES, fill_holes=120),
            step(BODIES, HAIR, TEXT, drop_islands=120, fill_holes=120),
        ),
    ),
    Defect("haze", "haze", hazy, (step(black=0.06, white=0.94), step(black=0.09, white=0.91))),
    Defect("steps of 4 px", "stepped", stepped, (step(BODIES, TEXT, smooth=2), step(BODIES, smooth=4))),
    Defect("2 px too far out", "wide", wide, (step(expand=-1), step(expand=-2))),
    Defect("2 px too far in", "narrow", narrow, (step(expand=1), step(expand=2))),
    Defect("hard edge", "hard", hard, (step(("discs",), HAIR, feather=0.5), step(("discs",), feather=1))),
    Defect(
        "none",
        "exact",
        exact,
        (
            Step(decontaminate=1, photos=(synthetic.STRONG, ())),
            step(guided=4),
            step(black=0.06, white=0.94),
            step(BODIES, TEXT, drop_islands=120, fill_holes=120),
            step(smooth=2),
            step(expand=-1),
            step(feather=1),
        ),
    ),
)


def rows(out: Path, names: Sequence[str], defects: Sequence[Defect] = DEFECTS, *, seed: int = 0) -> list[list[str]]:
    """The table's rows, over the photos and truths of these names below ``out``; those without photos are left out."""
    result = []
    for defect in defects:
        before, *after = measure(out, names, defect, seed)
        for step, scores in zip(defect.steps, after, strict=True):
            for group in step.photos:
                means = [mean(figures, group) for figures in (before, scores)]
                if means[0] and means[1]:
                    cells = [change(getattr(means[0], name), getattr(means[1], name)) for name in MEASURES]
                    result.append([defect.name, f"`{step.name}`", ", ".join(group) or "all", *cells])
    return result


def measure(out: Path, names: Sequence[str], defect: Defect, seed: int) -> list[dict[str, Scores]]:
    """The scores by image with the defect as it is, then after each step; the cut-outs stay below ``out``."""
    steps = (Step(), *defect.steps)
    folders = [out / "pred" / f"{defect.folder}-{step.folder}" for step in steps]
    for name in names:
        rng = np.random.default_rng([seed, int(name.split("-")[0])])
        photo = np.asarray(Image.open(out / "photos" / f"{name}.png"))
        mask = defect.make(np.asarray(Image.open(out / "truth" / f"{name}.png")), rng)
        for step, folder in zip(steps, folders, strict=True):
            synthetic.save_rgb(folder / f"{name}.cutout.png", step.cutout(photo, mask))
    return [evaluate(folder, out / "truth", names) for folder in folders]


def evaluate(pred: Path, truth: Path, names: Sequence[str]) -> dict[str, Scores]:
    """What ``nss-wgpu eval`` gives for the images of these names in a folder."""
    pairs, _ = evaluation.match_pairs(pred, truth)
    comparisons = list(evaluation.compare_pairs(pairs))
    scores = {item.pair.name: item.scores for item in comparisons if item.scores}
    if missing := [name for name in names if name not in scores]:
        raise SystemExit(
            f"{pred}: {', '.join(missing)}: {[item.error for item in comparisons if item.error] or 'missing'}"
        )
    return {name: scores[name] for name in names}


def mean(scores: dict[str, Scores], group: tuple[str, ...]) -> Scores | None:
    """The mean over the images with one of these shapes or backgrounds, or over all where none is named."""
    return evaluation.mean(
        [item for name, item in scores.items() if not group or set(name.split("-", 2)[1:]) & set(group)]
    )


def change(before: float | None, after: float | None) -> str:
    """Two numbers of three digits, the better one in bold where they differ."""
    texts = ["-" if value is None else f"{value:#.3g}".rstrip(".") for value in (before, after)]
    if before is not None and after is not None and texts[0] != texts[1]:
        better = 0 if before < after else 1
        texts[better] = f"**{texts[better]}**"
    return " → ".join(texts)


def main() -> None:
    """Make the set and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the set and the cut-outs here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=synthetic.COUNT)
    parser.add_argument("--size", type=synthetic.dimensions, default=synthetic.SIZE, metavar="WxH")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        names = synthetic.write(out, seed=options.seed, count=options.count, size=options.size)
        height, width = options.size
        title = f"Mean of {len(names)} images of {width} x {height}, before → after"
        print(table(title, ["defect", "step", "photos", *MEASURES.values()], rows(out, names, seed=options.seed)))


if __name__ == "__main__":
    main()
