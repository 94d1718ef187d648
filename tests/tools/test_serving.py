"""The tools that try the server: each planted fault is noticed as what it is, and a seed gives the same requests."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.removal.remover import Remover
from tests.tools.misbehaving_server import FAULTS, misbehaving
from tools.serving import hostile, metrics
from tools.serving.client import Answer
from tools.serving.latencies import percentiles
from tools.serving.load import Load, WrongAnswerError, is_same_file
from tools.serving.photos import ORDERS, Library, photos
from tools.serving.plan import LEAVING, Plan, Step, plan
from tools.serving.siege import Siege, faults_of

PLAIN = hostile.Case(
    ((b"GET / HTTP/1.1\r\n\r\n", 0.0),),
    "wait",
    answers=1,
    must_answer=True,
    forbidden=False,
    bodiless=False,
    remark="plain",
)
WORDS = {
    "none": "",
    "500": "500: ",
    "502 as text": "502: ",
    "no problem": "400, and no problem",
    "another status": "404, and no problem",
    "a traceback": "200 with a traceback",
    "no headers of safety": "400 without the headers of safety",
    "a split header": "400 with headers that it must not have",
    "a cookie": "400 with headers that it must not have",
    "twice": "2 answers to 1 requests",
    "no HTTP": "malformed answer",
    "half a body": "malformed answer",
    "half a head": "malformed answer",
    "nothing": "closed without an answer",
    "silence": "hangs",
}


def sent(data: bytes, case: hostile.Case = PLAIN) -> list[str]:
    """The faults of a case that is answered with ``data``."""
    with misbehaving(data) as server:
        bound = 1.0 if data == FAULTS["silence"] else 60.0
        siege = Siege(server, seed=0, bound=bound, healthy=60.0)
        return list(faults_of(case, asyncio.run(siege.send(case))))


@pytest.mark.parametrize("fault", FAULTS)
def test_each_wrong_answer_is_noticed_as_what_it_is(fault: str) -> None:
    faults = sent(FAULTS[fault])
    if fault == "none":
        assert not faults
    else:
        assert WORDS[fault] in "; ".join(faults)


def test_a_success_is_a_fault_where_it_was_forbidden() -> None:
    case = hostile.Case(PLAIN.pieces, "wait", 1, must_answer=False, forbidden=True, bodiless=False, remark="")
    ok = FAULTS["none"].replace(b"400 X", b"200 X")
    assert any("200 to what is forbidden" in fault for fault in sent(ok, case))
    assert not sent(FAULTS["none"], case)


def test_the_same_seed_gives_the_same_requests() -> None:
    cases = [hostile.make(7, index) for index in range(300)]
    assert cases == [hostile.make(7, index) for index in range(300)]
    assert sum(case != other for case, other in zip(cases, (hostile.make(8, n) for n in range(300)), strict=True)) > 290


def test_the_requests_are_of_all_kinds() -> None:
    cases = [hostile.make(0, index) for index in range(2000)]
    remarks = Counter(word.split(": ")[-1] for case in cases for word in case.remark.split(", "))
    for mutation, _ in hostile.MUTATIONS:
        assert remarks[mutation.__name__.strip("_")] > 10
    assert {case.ending for case in cases} == {"wait", "half-close", "leave", "reset"}
    assert sum(case.must_answer for case in cases) > 200
    assert sum(case.forbidden for case in cases) > 100


@pytest.fixture(scope="module")
def library() -> Any:
    sound = photos(0, 2, (32, 48))
    with Remover("u2netp", backend="numpy", quiet=True) as remover:
        yield SimpleNamespace(photos=sound, library=Library(remover, sound))


def test_a_plan_has_every_kind_of_fault_in_its_share(library: Any) -> None:
    steps = plan(library.photos, library.library, 2000, 0).steps
    faults = Counter(step.fault for step in steps)
    assert faults["damaged"] == 40
    assert (faults["bytes"], faults["pixels"]) == (20, 20)
    assert sum(faults[fault] for _, fault in LEAVING[:3]) + faults["events"] == 40
    assert {step.order for step in steps} == set(range(len(ORDERS)))
    assert steps == plan(library.photos, library.library, 2000, 0).steps


def checked(library: Any, step: Step, answer: Answer) -> str:
    library.library.compute([(step.photo, step.order)])
    load = Load(SimpleNamespace(pid=0), Plan(library.photos, [step]), library.library)  # type: ignore[arg-type]
    return load._checked(step, answer)


def test_a_picture_of_which_a_bit_is_wrong_is_noticed(library: Any) -> None:
    step = Step("remove", 0, 0)
    library.library.compute([(0, 0)])
    right = library.library.result(0, 0)
    headers = {"content-type": "image/png", "nss-info": "{}", "server-timing": "decode;dur=1"}
    assert checked(library, step, Answer(200, headers, right, 0.0)) == "right"
    for wrong in (
        Answer(200, headers, right[:-1] + bytes([right[-1] ^ 1]), 0.0),
        Answer(200, {**headers, "content-type": "image/webp"}, right, 0.0),
        Answer(200, {"content-type": "image/png"}, right, 0.0),
        Answer(503, headers, right, 0.0),
    ):
        with pytest.raises(WrongAnswerError):
            checked(library, step, wrong)


def test_what_the_server_counts_otherwise_is_noticed() -> None:
    text = (
        "# HELP nss_requests_total x\n"
        'nss_requests_total{route="/api/v1/remove",status="200"} 5.0\n'
        'nss_photos_total{outcome="done"} 7.0\n'
        "process_open_fds 9\n"
    )
    assert not metrics.wrong_metrics(text, {("/api/v1/remove", 200): 5}, {"done": 7}, 0)
    assert not metrics.wrong_metrics(text, {("/api/v1/remove", 200): 4}, {"done": 6}, 1)
    assert len(metrics.wrong_metrics(text, {("/api/v1/remove", 200): 6}, {"done": 8}, 1)) == 2
    assert metrics.wrong_metrics(text, {("/api/v1/remove", 422): 1}, {}, 0)


def test_memory_that_does_not_come_back_is_noticed() -> None:
    text = "nss_work_bytes 0.0\nnss_waiting_bytes 12.0\n"
    assert metrics.memory_in_use(text, "work") == []
    assert metrics.memory_in_use(text, "work", "waiting") == ["/metrics: nss_waiting_bytes is 12, and nobody has any"]
    assert metrics.memory_in_use("", "work")


def test_percentiles_are_of_the_answers_in_order() -> None:
    assert percentiles([value / 1000 for value in range(100, 0, -1)]) == ["51", "96", "100", "100"]


def tiff(pixels: np.ndarray) -> tuple[bytes, int]:
    """A compressed TIFF, and where its one strip ends."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF", compression="tiff_lzw")
    with Image.open(file) as picture:
        return file.getvalue(), picture.tag_v2[273][0] + picture.tag_v2[279][0]


def test_a_tiff_is_the_same_but_for_what_is_behind_its_strip() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (21, 60, 4), dtype=np.uint8)
    pixels = next(noise[:, :width] for width in range(30, 60) if tiff(noise[:, :width])[1] % 2)
    whole, end = tiff(pixels)
    assert is_same_file(whole[:end] + bytes([whole[end] ^ 255]) + whole[end + 1 :], whole)
    assert not is_same_file(whole[: end - 9] + bytes([whole[end - 9] ^ 1]) + whole[end - 8 :], whole)
    assert not is_same_file(whole + b"\0", whole)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    assert not is_same_file(png.getvalue()[:-1] + b"!", png.getvalue())
