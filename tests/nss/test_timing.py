"""Times that are passed on do not change in anyone's hands."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import nss
from nss.cutouts.run_info import RunInfo
from nss.timing import Milliseconds, stage

INFO = RunInfo(None, None, None, None, milliseconds={"decode": 1.5})


@pytest.mark.parametrize(
    "change",
    [
        lambda times: times.__setitem__("decode", 2.0),
        lambda times: times.__delitem__("decode"),
        lambda times: times.__ior__({"encode": 2.0}),
        lambda times: times.update(encode=2.0),
        lambda times: times.setdefault("encode", 2.0),
        lambda times: times.pop("decode"),
        lambda times: times.popitem(),
        lambda times: times.clear(),
    ],
)
def test_times_cannot_be_changed(change: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="the times of a run are not changed"):
        change(INFO.milliseconds)
    assert INFO.milliseconds == {"decode": 1.5}


def test_times_are_read_as_a_dict_is() -> None:
    times = INFO.milliseconds
    assert json.loads(json.dumps(times)) == asdict(INFO)["milliseconds"] == {"decode": 1.5}
    for same in (copy.copy(times), copy.deepcopy(times), pickle.loads(pickle.dumps(times))):
        assert same == times
        assert isinstance(same, Milliseconds)


def test_a_run_keeps_none_of_the_dict_that_it_was_made_with() -> None:
    times = {"decode": 1.5}
    info = RunInfo(None, None, None, None, milliseconds=times)
    with stage(times, "encode"):
        pass
    assert list(info.milliseconds) == ["decode"]
    assert list(info.timed({"encode": 2.0}).milliseconds) == ["decode", "encode"]


@pytest.mark.usefixtures("network")
def test_no_stage_changes_what_the_one_before_it_gave(rgb: np.ndarray, tmp_path: Path) -> None:
    with nss.Remover() as remover:
        prepared = remover.prepare(rgb)
        inferred = remover.infer(prepared)
        cutout = remover.finish(inferred)
        again = remover.finish(inferred)
    before = cutout.info
    refined = cutout.refined(nss.Refinement(black=0.2))
    saved = refined.info
    refined.save(tmp_path / "out.png")
    assert list(prepared.times) == ["decode", "load_model", "preprocess"]
    assert list(inferred.info.milliseconds) == [*prepared.times, "infer"]
    assert (
        list(cutout.info.milliseconds) == list(again.info.milliseconds) == [*inferred.info.milliseconds, "postprocess"]
    )
    assert cutout.info is before
    assert list(saved.milliseconds) == [*before.milliseconds, "levels"]
    assert list(refined.info.milliseconds) == [*saved.milliseconds, "compose", "encode"]
