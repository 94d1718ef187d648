"""What only a card can show: a network in many threads, a device lost among them, and cards of one make told apart.

``python tools/card_check.py [MODEL]`` runs on each hardware adapter of each implementation; without a model on U²-Netp.
Ends with status 1 where something is not as it should be, and with 2 where there is no card.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import engine
from engine.gpu.device.adapters import Adapter, adapters
from engine.gpu.device.device import open_device

THREADS, RUNS = 8, 20
U2NETP = Path(__file__).parents[1] / "nss" / "models" / "weights" / "u2netp.onnx"


def main() -> int:
    """Check every card; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(U2NETP), help="an ONNX file with one input")
    model = parser.parse_args().model
    cards = [adapter for adapter in adapters() if not adapter.software]
    if not cards:
        print("no hardware adapter: NOTHING WAS CHECKED")
        return 2
    listing = engine.devices()
    print(f"the drivers have {listing.cards} cards; implementations that show none: {dict(listing.failures) or 'none'}")
    checks = [_check_identities(model, cards)]
    for card in cards:
        checks += [_check_threads(model, card), _check_loss(model, card)]
    ok = all(checks)
    print("all as it should be" if ok else "NOT AS IT SHOULD BE")
    return 0 if ok else 1


def _report(ok: bool, text: str) -> bool:
    print(f"{'ok  ' if ok else 'FAIL'} {text}", flush=True)
    return ok


def _images(session: engine.Session, count: int) -> list[dict[str, np.ndarray]]:
    (info,) = session.inputs
    rng = np.random.default_rng()
    return [{info.name: rng.random(info.shape, np.float32)} for _ in range(count)]


def _run(session: engine.Session, image: dict[str, np.ndarray]) -> np.ndarray:
    return next(iter(session.run(image).values()))


def _check_threads(model: str, card: Adapter) -> bool:
    """Two sessions on one device, in 8 threads of 20 runs each, against one thread."""
    with _session(model, card) as one, _session(model, card) as two:
        images = _images(one, 4)
        expected = [_run(one, image) for image in images]
        wrong: list[object] = []

        def work(index: int) -> None:
            session = (one, two)[index % 2]
            for run in range(RUNS):
                which = (index + run) % len(images)
                try:
                    if not np.array_equal(_run(session, images[which]), expected[which]):
                        wrong.append("another result")
                except Exception as error:
                    wrong.append(f"{type(error).__name__}: {error}")

        start = time.perf_counter()
        _together(work, lambda: None)
        took = time.perf_counter() - start
    text = f"{THREADS} threads x {RUNS} runs on two sessions, {took:.1f} s, {len(wrong)} not bit-equal {wrong[:2]}"
    return _report(not wrong, f"{card}: {text}")


def _check_loss(model: str, card: Adapter) -> bool:
    """A device is destroyed while threads run: each gets DeviceLostError, and the next session a new device."""
    session = _session(model, card)
    (image,) = _images(session, 1)
    expected = _run(session, image)
    errors: list[Exception] = []

    def work(_: int) -> None:
        try:
            while True:
                _run(session, image)
        except Exception as error:
            errors.append(error)

    def destroy() -> None:
        time.sleep(0.3)
        device = open_device(card)
        with device.guarded("destroying it"):  # a submission to a lost device ends the process
            device.handle.destroy()

    _together(work, destroy)
    session.close()
    with _session(model, card) as another:
        again = np.array_equal(_run(another, image), expected)
    kinds = {type(error).__name__ for error in errors}
    text = f"{card}: destroyed among {THREADS} threads, which got {kinds}; a new session computes the same: {again}"
    return _report(kinds == {"DeviceLostError"} and len(errors) == THREADS and again, text)


def _check_identities(model: str, cards: Sequence[Adapter]) -> bool:
    """A session on each of several equal cards takes memory on each; shown by nvidia-smi."""
    twins = [card for card in cards if card.equals > 1]
    if not twins:
        print("skip no two cards of one make in one implementation: WHICH CARD A SESSION GETS IS NOT CHECKED")
        return True
    before, sessions = _memory(), []
    ok = True
    for card in twins:
        session = _session(model, card)
        _run(session, _images(session, 1)[0])
        sessions.append(session)
        growth = [now - then for now, then in zip(_memory(), before, strict=True)]
        used = sum(mib > 50 for mib in growth)
        text = f"{card}: memory of the cards grew by {growth} MiB with {len(sessions)} sessions"
        ok &= _report(used == len(sessions), text)
    for session in sessions:
        session.close()
    return ok


def _memory() -> list[int]:
    """MiB in use on each card."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return [int(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def _session(model: str, card: Adapter) -> engine.Session:
    return engine.Session(model, backend="webgpu", adapter=card.index)


def _together(work: Callable[[int], None], meanwhile: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
