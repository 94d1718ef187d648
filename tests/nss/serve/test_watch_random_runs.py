"""Whatever happens to a watched folder and its server: each photo is done once, as it is at last."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.serve.watch.hands import Hands
from nss.serve.watch.task import WatchedPhotoTask
from tests.nss.serve.watched import Watch, run_task

NAMES = ("a.png", "b.png", "c/a.png", "c/d/b.png", "a.webp")


@pytest.mark.parametrize("seed", range(2))
def test_each_photo_is_done_once_as_it_is_at_last(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = random.Random(seed)
    monkeypatch.setattr(Hands, "suspect", lambda *_: None)  # kills come too often here for any of them to be guilty
    monkeypatch.setattr("nss.serve.watch.leftovers.MOST_CRASHES", 10**9)
    finished: Counter[Any] = Counter()
    finish = WatchedPhotoTask.finish

    def count(task: WatchedPhotoTask, *arguments: Any) -> Any:
        result = finish(task, *arguments)
        finished[task.photo, task.state] += 1
        return result

    monkeypatch.setattr(WatchedPhotoTask, "finish", count)
    watch = Watch(tmp_path, recursive=True, options={"exists": "overwrite"}, at_once=3).start()
    shades: dict[str, int] = {}
    away = tmp_path / "away"

    def step(number: int) -> None:
        what = choose.choice(
            ("write", "write", "remove", "poll", "poll", "poll", "work", "load", "kill", "stop", "away")
        )
        name = choose.choice(NAMES)
        if what == "write":
            watch.photo(name, number)
            shades[name] = number
        elif what == "remove":
            (watch.inbox / name).unlink(missing_ok=True)
            shades.pop(name, None)
        elif what == "poll":
            watch.poll(choose.randrange(1, 4))
        elif what == "work" and watch.given:
            run_task(watch.given.pop(choose.randrange(len(watch.given))), watch.remover)
        elif what == "load" and watch.given:
            try:
                watch.given[0].load(watch.remover)
            except Exception as error:
                watch.given.pop(0).done(error)
        elif what == "kill":
            watch.kill()
            watch.start()
        elif what == "stop":
            watch.stop()
            watch.work()
            watch.start()
        elif what == "away":
            folder = choose.choice((watch.inbox, watch.outbox))
            folder.rename(away)
            watch.poll()
            while watch.given:
                run_task(watch.given.pop(), watch.remover)
            away.rename(folder)

    for number in range(150):
        step(number)
    watch.photo("last.png")
    shades["last.png"] = 0
    watch.settle_and_work()
    watch.poll(4)
    assert [name for name, times in finished.items() if times > 1] == []
    assert not [name for name in watch.outputs if ".nss-" in name]
    assert not [line for line in watch.lines if "truncated" in line or "unexpected" in line]
    entries = watch.watcher.journal.entries
    assert sorted(entries) == sorted(shades)
    for name, shade in shades.items():
        entry = entries[name]
        assert entry.event == "done"
        with Image.open(watch.outbox / entry.output) as cutout:
            assert np.asarray(cutout)[0, 0, :3].tolist() == [shade] * 3 or name.endswith(".webp")
