"""The manifest, and what it leaves to do: held to a run that dies anywhere, again and again."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nss.errors import ImageError
from nss.ray import manifest, storage
from nss.ray.listing import Pair
from nss.ray.manifest import Row, to_do
from tests.nss.ray.stores import memory_store

ROW = Row(
    input="s3://in/a.jpg",
    output="a.cutout.png",
    settings="ab",
    sha256="0" * 64,
    milliseconds={"decode": 1.5, "infer": 2.0},
    backend="numpy",
    node="host",
)
PAIRS = [Pair(f"in/{name}.jpg", f"{name}.cutout.png") for name in "abcdefgh"]


@pytest.fixture(params=["disk", "store"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    memory_store(monkeypatch)
    return str(tmp_path) if request.param == "disk" else "memory://bucket/out"


def test_parts_are_read_as_they_were_written(target: str) -> None:
    from pyarrow import dataset

    assert list(manifest.read_rows(target)) == []
    failed = Row("s3://in/b.jpg", "b.cutout.png", error="cannot be decoded")
    first, second = manifest.new_run(), manifest.new_run()
    assert first < second
    manifest.write_claim(target, first, ["a.cutout.png", "ü.cutout.png"])
    manifest.write_part(target, f"{second}-000000", [failed])
    manifest.write_part(target, f"{first}-000001", [failed])
    manifest.write_part(target, f"{first}-000001", [ROW, ROW])
    manifest.write_part(target, f"{first}-000002", [])
    assert list(manifest.read_rows(target)) == [ROW, ROW, failed], "the newest last"
    bare = [Row(row.input, row.output, row.settings, error=row.error) for row in (ROW, ROW, failed)]
    assert list(manifest.read_rows(target, ["input", "output", "settings", "error"])) == bare
    assert manifest.read_claims(target) == {"a.cutout.png", "ü.cutout.png"}
    storage.put(storage.join(target, "sub/a.cutout.png"), b"")
    assert manifest.existing_outputs(target) == {"sub/a.cutout.png"}
    if not storage.scheme_of(target):
        assert dataset.dataset(f"{target}/manifest").count_rows() == 3, "claims are passed over"
    storage.put(storage.join(target, f"manifest/{second}-000009.parquet"), b"PAR1 cut")
    with pytest.raises(ImageError, match=r"000009.parquet: is no part of a manifest: .*; remove it"):
        list(manifest.read_rows(target))


@pytest.mark.parametrize(
    ("is_there", "row", "claimed", "expected"),
    [
        (True, ROW, False, {"fail": "done", "skip": "done", "overwrite": "done"}),
        (True, replace(ROW, settings="cd"), True, {"fail": "failed", "skip": "skipped", "overwrite": "replaced"}),
        (True, replace(ROW, error="lost"), True, {"fail": "replaced", "skip": "replaced", "overwrite": "replaced"}),
        (True, replace(ROW, error="lost"), False, {"fail": "failed", "skip": "skipped", "overwrite": "replaced"}),
        (True, None, True, {"fail": "replaced", "skip": "replaced", "overwrite": "replaced"}),
        (True, None, False, {"fail": "failed", "skip": "skipped", "overwrite": "replaced"}),
        (False, ROW, True, {"fail": "work", "skip": "work", "overwrite": "replaced"}),
        (False, replace(ROW, error="lost"), True, {"fail": "work", "skip": "work", "overwrite": "replaced"}),
        (False, None, False, {"fail": "work", "skip": "work", "overwrite": "replaced"}),
    ],
)
def test_the_table(is_there: bool, row: Row | None, claimed: bool, expected: dict[manifest.Exists, str]) -> None:
    for exists, what in expected.items():
        names = [ROW.output] if is_there else []
        plan = to_do(
            [PAIRS[0]], [row] if row else [], names, [ROW.output] if claimed else [], settings="ab", exists=exists
        )
        places = {
            "done": plan.done,
            "skipped": plan.skipped,
            "failed": plan.failed,
            "work": [pair for pair, replaces in plan.work if not replaces],
            "replaced": [pair for pair, replaces in plan.work if replaces],
        }
        assert [name for name, found in places.items() if found] == [what], exists


def test_the_newest_row_counts_and_a_known_error_stays() -> None:
    lost, other = replace(ROW, error="lost"), replace(ROW, settings="cd")
    for rows, done in (([lost, ROW], True), ([ROW, lost], False), ([other, ROW], True), ([ROW, other], False)):
        assert bool(to_do(PAIRS[:1], rows, [ROW.output], settings="ab").done) is done
    plan = to_do([Pair("in/x.jpg", "x.cutout.png", ImageError("in/x.jpg: no such file"))], [], [])
    assert ([str(error) for _, error in plan.failed], plan.work, plan.claim) == (["in/x.jpg: no such file"], [], [])


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), foreign=st.sets(st.sampled_from(range(8))), exists=st.sampled_from(["fail", "skip"]))
def test_runs_that_die_anywhere_end_with_each_output_once_and_a_true_manifest(
    seed: int, foreign: set[int], exists: manifest.Exists
) -> None:
    random_ = random.Random(seed)
    outputs = {PAIRS[i].output: "somebody's" for i in foreign}
    rows: list[Row] = []
    claimed: set[str] = set()

    def run(lives: int) -> None:
        plan = to_do(PAIRS, rows, outputs, claimed, settings="ab", exists=exists)
        claimed.update(plan.claim)
        work = list(plan.work)
        random_.shuffle(work)
        while work:
            block, work = work[:3], work[3:]
            made = []
            for pair, replaces in block:
                if (lives := lives - 1) < 0:
                    return
                if random_.random() < 0.2:
                    made.append(Row(pair.input, pair.output, "ab", error="cut"))
                    continue
                assert replaces or pair.output not in outputs, "nothing is overwritten unasked"
                outputs[pair.output] = "ours"
                made.append(Row(pair.input, pair.output, "ab", sha256="ours"))
            if (lives := lives - 1) < 0:
                return
            rows.extend(made)

    for _ in range(40):
        run(random_.randrange(12))
    while to_do(PAIRS, rows, outputs, claimed, settings="ab", exists=exists).work:
        run(1000)
    newest = {row.output: row for row in rows}
    assert {name for name, content in outputs.items() if content == "somebody's"} == {PAIRS[i].output for i in foreign}
    assert set(outputs) == {pair.output for pair in PAIRS}
    assert {name for name, row in newest.items() if not row.error} == {n for n, c in outputs.items() if c == "ours"}
    last = to_do(PAIRS, rows, outputs, claimed, settings="ab", exists=exists)
    assert len(last.done) == 8 - len(foreign)
    assert len(last.failed if exists == "fail" else last.skipped) == len(foreign)


def test_settings_are_told_apart() -> None:
    one = manifest.settings_digest({"model": "u2netp", "feather": 1.0})
    assert one == manifest.settings_digest({"feather": 1.0, "model": "u2netp"})
    assert len(one) == 16
    assert one != manifest.settings_digest({"feather": 1.5, "model": "u2netp"})
