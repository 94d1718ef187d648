"""What each group of options becomes, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import engine
from nss.batch.planning import Exists
from nss.cli import option_groups
from nss.cli.cutout_options import WhenExists
from nss.cli.option_groups import EncodingOptions
from nss.errors import UsageError


def test_a_mask_takes_the_place_of_a_network(tmp_path: object) -> None:
    assert option_groups.mask_source(mask=str(tmp_path)).open(quiet=True) is None
    for fields in ({"model": "u2netp"}, {"require_gpu": True}):
        with pytest.raises(UsageError, match="--mask takes the place of a network"):
            option_groups.mask_source(mask=str(tmp_path), **fields)  # type: ignore[arg-type]
    for name in ("nowhere", "", "x" * 300, "a\0b"):
        with pytest.raises(UsageError, match="no such file or directory"):
            option_groups.mask_source(mask=name)


def test_a_threshold_is_both_points_in_one() -> None:
    refinement = option_groups.refinement(threshold=0.4)
    assert (refinement.black, refinement.white) == (0.4, 0.4)
    with pytest.raises(UsageError, match="'threshold' is 'black' and 'white' in one"):
        option_groups.refinement(threshold=0.4, black=0.1)


def test_the_encoding_follows_the_output() -> None:
    for name, format_, expected in (
        (None, None, "png"),
        (None, "webp", "webp"),
        ("x.avif", None, "avif"),
        ("x.JPG", "jpeg", "jpeg"),
    ):
        assert EncodingOptions(format_, None, None).encoding(Path(name) if name else None).format == expected
    for name in ("x.webp", "x"):
        with pytest.raises(UsageError):
            EncodingOptions("png" if name == "x.webp" else None, None, None).encoding(Path(name))
    assert (EncodingOptions(None, None, None).suffix, EncodingOptions("jpg", None, None).suffix) == (".png", ".jpg")


def test_the_old_names_of_exists_are_its_values() -> None:
    assert {value.value for value in WhenExists} == set(get_args(Exists))
    for exists in (None, *WhenExists):
        for old, value in (("overwrite", "overwrite"), ("skip_existing", "skip"), ("rename", "rename")):
            if exists in (None, value):
                assert option_groups.batch(exists=exists, **{old: True}).exists == value  # type: ignore[arg-type]
            else:
                option = f"--{old.replace('_', '-')}"
                with pytest.raises(UsageError, match=f"^--exists {exists} and {option} exclude each other$"):
                    option_groups.batch(exists=exists, **{old: True})  # type: ignore[arg-type]
    assert option_groups.batch().exists == "fail"
    assert [option_groups.batch(exists=exists).exists for exists in WhenExists] == [*WhenExists]
    with pytest.raises(UsageError, match=r"^--overwrite and --rename exclude each other$"):
        option_groups.batch(overwrite=True, rename=True)


def test_the_memory_of_images_in_work() -> None:
    for text, nbytes in (("1G", 1 << 30), ("500M", 500 << 20), ("4096", 4096)):
        assert option_groups.batch(memory=text).budget().nbytes == nbytes
    for text in ("0", "", "much", "-1G"):
        with pytest.raises(UsageError, match=f"^--memory {text}: is no size; 1G and 500M are possible$"):
            option_groups.batch(memory=text)
    assert 0 < option_groups.batch().budget().nbytes < engine.available_memory()
