"""``nss-wgpu eval``: masks and cut-outs held against the truth, image by image and on average."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nss.cli.run_options import JsonOption, MaxPixelsOption
from nss.cli.table import aligned
from nss.cli.terminal import complain, describe, escaped
from nss.photos.image_size import MAX_PIXELS, limit_pillow

if TYPE_CHECKING:
    from nss.evaluation.metrics import Scores
    from nss.evaluation.pairs import Evaluation

COLUMNS = {
    "mae": ("MAE", 5),
    "sad": ("SAD", 3),
    "mse": ("MSE", 6),
    "gradient": ("GRADIENT", 3),
    "connectivity": ("CONNECTIVITY", 3),
    "max_f": ("MAX F", 4),
    "weighted_f": ("WEIGHTED F", 4),
    "s_measure": ("S", 4),
    "colour": ("COLOUR", 2),
}
"""The measures, each with the head of its column and its decimal places."""


def evaluate(
    pred_dir: Annotated[
        Path, typer.Argument(metavar="PRED_DIR", help="Folder of masks or cut-outs.", show_default=False)
    ],
    truth_dir: Annotated[Path, typer.Argument(metavar="TRUTH_DIR", help="Folder of true masks.", show_default=False)],
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    as_json: JsonOption = False,
) -> None:
    """Compare masks or cut-outs with the truth; status 1 where a pair fails or nothing matches.

    The truth of x.cutout.png, x.mask.png or x.png is x.png, of the same size. The alpha channel is taken, or the grey
    of an image that has none. Where TRUTH_DIR holds the true colours as x.foreground.png, COLOUR is how far the
    prediction's colours are from them on soft pixels.

    MAE, SAD, MSE and COLOUR (8-bit levels) and the gradient and connectivity errors are best at 0, the others at 1.
    SAD, gradient and connectivity are sums over the image, in thousands.
    """
    from nss.evaluation import pairs as evaluation

    limit_pillow(max_pixels)
    pairs, unmatched = evaluation.match_pairs(pred_dir, truth_dir)
    for line in unmatched:
        complain(line)
    evaluations = []
    for item in evaluation.compare_pairs(pairs, max_pixels):
        evaluations.append(item)
        if item.error:
            complain(f"{escaped(item.pair.name)}: {describe(item.error)}")
    average = evaluation.mean([item.scores for item in evaluations if item.scores])
    if as_json:
        images = [_record(item) for item in evaluations]
        record = {"images": images, "mean": asdict(average) if average else None, "unmatched": unmatched}
        print(json.dumps(record, indent=2, ensure_ascii=False))
    elif evaluations:
        for line in _lines(evaluations, average):
            print(line)
    if not evaluations:
        complain(f"{pred_dir} and {truth_dir} have no image in common; the truth of x.cutout.png is named x.png")
    if not evaluations or any(item.error for item in evaluations):
        raise typer.Exit(1)


def _record(item: Evaluation) -> dict[str, object]:
    files = {"name": item.pair.name, "pred": str(item.pair.pred), "truth": str(item.pair.truth)}
    return {
        **files,
        "error": describe(item.error) if item.error else None,
        **(asdict(item.scores) if item.scores else {}),
    }


def _lines(evaluations: list[Evaluation], average: Scores | None) -> list[str]:
    rows = [["IMAGE", *(head for head, _ in COLUMNS.values())]]
    rows += [[escaped(item.pair.name), *_cells(item.scores)] for item in evaluations]
    rows += [["mean", *_cells(average)]] if average else []
    return aligned(rows, numbers=range(1, len(COLUMNS) + 1))


def _cells(result: Scores | None) -> list[str]:
    if result is None:
        return ["failed", *["-"] * (len(COLUMNS) - 1)]
    values = [(getattr(result, name), places) for name, (_, places) in COLUMNS.items()]
    return ["-" if value is None else f"{value:.{places}f}" for value, places in values]
