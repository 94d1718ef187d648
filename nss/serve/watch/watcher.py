"""Looks into the folder every second, gives what has settled to a pipeline, and keeps the journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine
from nss.batch import sidecars
from nss.batch.stages import Result
from nss.errors import ImageError, NssError
from nss.files import output_file
from nss.serve.jobs.tasks import Cancelled, Task
from nss.serve.problem import of_error
from nss.serve.watch.folders import WatchedFolder
from nss.serve.watch.hands import Hands
from nss.serve.watch.journal import Entry, Event, Journal, journal_path
from nss.serve.watch.leftovers import mark_of, remove_temporaries, take_up
from nss.serve.watch.names import Neighbours, Planner
from nss.serve.watch.retries import is_transient
from nss.serve.watch.scan import Scan, State, opens, scan, state_of
from nss.serve.watch.settings import WatchSettings, check
from nss.serve.watch.settling import Clock, Settling
from nss.serve.watch.task import Making, WatchedPhotoTask, announce

ABSENT = 3
"""A photo that so many looks one after the other have missed is forgotten: a directory that changes may leave one out
of its list."""

STOP_S = 5.0
"""How long `Watcher.stop` waits for a look into a folder that does not answer."""


class Watcher:
    """A folder whose photos are cut out as they appear. One in a process."""

    def __init__(
        self,
        settings: WatchSettings,
        put: Callable[[Task], object],
        say: Callable[[str], object],
        *,
        clock: Clock = time,
        at_once: int | None = None,
    ) -> None:
        """Nothing is looked at before `start`.

        Args:
            settings: what is watched.
            put: gives a task to a pipeline; what it raises is taken for a want of room, and the task is given again.
            say: receives what there is to say, one line at a time, from any thread.
            clock: tests have another one.
            at_once: how many tasks are given and not done; twice the number of cores by default.
        """
        self._settings, self._put, self._say, self._clock = settings, put, say, clock
        self._planner, self._making = Planner(settings), Making(settings)
        self._settling = Settling(settings.interval, clock, self._opens)
        self._hands = Hands(at_once or 2 * engine.available_cores(), clock)
        self._said: set[str] = set()
        self._gone: set[WatchedFolder] = set()
        self._absent: dict[str, int] = {}
        self._photos: dict[str, State] = {}
        self._neighbours: Neighbours | None = None
        self._journal: Journal | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @property
    def journal(self) -> Journal:
        """What is known of the photos; there from `open` on."""
        assert self._journal is not None
        return self._journal

    def start(self) -> None:
        """Take the journal, and look into the folder, in a thread. Raises UsageError as `check` does."""
        self.open()
        # a daemon: a share that does not answer keeps no process from its end
        self._thread = threading.Thread(target=self._run, name="nss-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give no further task. Those given go on, and the journal is closed with the last of them. May be repeated."""
        self._hands.stop()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
        self._close_if_idle()

    def open(self) -> None:
        """What `start` does before there is a thread: take up what the last server left, and say what is there."""
        settings = self._settings
        check(settings)
        self._inbox, self._outbox = WatchedFolder(settings.inbox), WatchedFolder(settings.outbox)
        self._journal = journal = Journal(journal_path(settings.outbox), settings.outbox)
        output_file.mark_temporaries(mark_of(settings.outbox), announce)
        if journal.unreadable:
            self._say(f"{journal.path}: {journal.unreadable} lines cannot be read, and are passed over")
        outputs = [entry.output for entry in journal.all() if entry.event in ("begun", "writing", "crashed")]
        for line in take_up(journal, settings):
            self._say(line)
        now = self._clock.monotonic()
        try:
            first = self._scan()
        except OSError:  # as the next look will say
            first = Scan()
        remove_temporaries(settings.outbox, {self._planner.folder(photo) for photo in first.photos}, outputs)
        self._photos = first.photos
        journal.forget(first.gone(entry.photo for entry in journal.all()))
        for entry in journal.all():
            if entry.event == "crashed":
                self._hands.suspect(entry.photo, entry.state)
            elif entry.kind == settings.suffix:
                self._hands.deal_with(entry.photo, entry.state)
        for photo in self._planner.done_before(self._hands.unsettled(first.photos), Neighbours(first.photos)):
            self._hands.deal_with(photo, first.photos[photo])
            if photo in journal.entries and journal.entries[photo].event == "crashed":
                journal.forget([photo])
        self._settling.look(self._hands.unsettled(first.photos), now)
        if reason := journal.compact():
            self._say_once(reason)
        self._say_start(first)

    def poll(self) -> None:
        """One look into the folder; and what has settled is given on."""
        if not all([self._is_there(self._inbox), self._is_there(self._outbox)]):
            return
        now = self._clock.monotonic()
        try:
            found = self._scan()
        except OSError as error:
            self._say_gone(self._inbox, f"cannot be read: {error.strerror or error}")
            return
        for line in found.unreadable.values():
            self._say_once(f"{line}; it is passed over")
        self._forget_missing(found)
        self._photos, self._neighbours = found.photos, None
        if reason := self.journal.mend():
            self._say_once(reason)
        unsettled = self._hands.unsettled(found.photos)
        settled = self._settling.look(unsettled, now)
        settled.sort(key=lambda photo: (unsettled[photo][1], photo))  # the oldest first
        self._hands.add({photo: unsettled[photo] for photo in settled})
        self.feed()

    def feed(self) -> None:
        """Give on what has settled, as far as there is room."""
        while (waited := self._hands.next()) is not None:
            try:
                has_room = self._give(*waited)
            except BaseException:
                self._hands.drop(waited[0])
                raise
            if not has_room:
                return

    def begun(self, task: WatchedPhotoTask) -> None:
        """See `nss.serve.watch.task.Owner`."""
        self._write(task, "begun")

    def writing(self, task: WatchedPhotoTask) -> None:
        """See `nss.serve.watch.task.Owner`."""
        if reason := self._outbox.why_gone():  # its folder would be made where the share is to be mounted
            raise ImageError(f"{task.job.target}: cannot be written: {self._outbox.path} {reason}")

    def named(self, task: WatchedPhotoTask, path: Path, file: tuple[int, int]) -> None:
        """See `nss.serve.watch.task.Owner`."""
        if path.suffix == sidecars.SUFFIX:  # beside a cut-out that has its name
            return
        self._write(task, "writing", output=self._planner.output(path), file=file)

    def ended(self, task: WatchedPhotoTask, outcome: Any) -> None:
        """See `nss.serve.watch.task.Owner`."""
        try:
            if isinstance(outcome, BaseException):
                self._end_of_failed(task, outcome)
            elif isinstance(outcome, Result):
                output = outcome.output
                assert isinstance(output, Path)  # the plan has no pipes and devices
                self._hands.tried(task.photo, well=True)
                self._write(task, "done", output=self._planner.output(output), lasting=True)
                self._hands.deal_with(task.photo, task.state)
                if self._settings.verbose:
                    self._say(_written(task, outcome, output, self._settings.words))
            else:  # its output has come into being meanwhile
                self._hands.tried(task.photo, well=True)
                self._withdraw(task, suspect=False)
                self._skip(task.photo, task.state, f"{task.name} skipped: {task.job.target} exists")
        finally:
            self._hands.drop(task.photo)
            self._wake.set()
            if self._hands.is_stopping:
                self._close_if_idle()

    def _run(self) -> None:
        interval, clock = self._settings.interval, self._clock.monotonic
        following = clock() + interval  # the first look was that of `open`
        while not self._hands.is_stopping:
            self._wake.wait(max(0.0, following - clock()))
            self._wake.clear()
            try:
                if (start := clock()) >= following:
                    following = start + interval
                    self.poll()
                    # a share that takes seconds for an answer has as long a rest
                    following = max(following, 2 * clock() - start)
                elif not self._gone:
                    self.feed()
            except Exception as error:  # the next look may go well
                self._say_once(f"{self._settings.inbox}: {of_error(error).detail}")

    def _scan(self) -> Scan:
        settings = self._settings
        leave_out = self._outbox.identity
        return scan(settings.inbox, recursive=settings.recursive, leave_out=leave_out, known=self._photos)

    def _opens(self, photo: str, state: State) -> bool:
        return opens(self._planner.source(photo), state)

    def _state(self, photo: str) -> State | None:
        """The state of a photo now; None where it is gone, or no one knows."""
        try:
            return state_of(self._planner.source(photo))
        except OSError:
            return None

    def _give(self, photo: str, state: State) -> bool:
        """Plan a photo and give it to the pipeline; false where that has no room."""
        if self._state(photo) != state:  # it has changed, or gone, while it waited
            self._hands.drop(photo)
            return True
        if self._planner.link_within(photo, self._photos):  # a file is done once
            self._skip(photo, state, None)
            return True
        if self._neighbours is None:
            self._neighbours = Neighbours(self._photos)
        job = self._planner.plan(photo, self._neighbours)
        if job.skipped:
            self._skip(photo, state, f"{job.name} skipped: {job.target} exists")
            return True
        task = WatchedPhotoTask(photo, state, job, self._making, self)
        if job.error is not None:
            self.ended(task, job.error)
            return True
        try:
            self._put(task)
        except Exception:
            self._hands.put_back(photo, state)
            return False
        return True

    def _skip(self, photo: str, state: State, line: str | None) -> None:
        """Leave a photo alone without a word in the journal: its output says that it is done."""
        self._hands.deal_with(photo, state)
        self._hands.drop(photo)
        if line:
            self._say(line)

    def _end_of_failed(self, task: WatchedPhotoTask, error: BaseException) -> None:
        """Note a failure, or let the photo come once more."""
        reason = None
        if not isinstance(error, Cancelled):
            if self._inbox.why_gone() or self._outbox.why_gone() or self._state(task.photo) != task.state:
                reason = "gone"  # a folder is gone, or the photo is, or it is not whole yet
            elif self._hands.is_stopping and not isinstance(error, ImageError):
                reason = "stopping"
            elif is_transient(error, task.stage):
                pause_s = self._hands.try_again(task.photo)
                if pause_s is not None:
                    self._say(f"{self._sentence(task, error)}; it is tried again in {pause_s:.0f} s")
                    reason = "transient"
        if reason or isinstance(error, Cancelled):
            self._withdraw(task)
            return
        self._hands.tried(task.photo, well=False)
        sentence = self._sentence(task, error)
        self._write(task, "failed", why=sentence, lasting=True)
        self._hands.deal_with(task.photo, task.state)
        self._say(sentence)

    def _sentence(self, task: WatchedPhotoTask, error: BaseException) -> str:
        text = of_error(error).detail if isinstance(error, Exception) else type(error).__name__
        if isinstance(error, NssError):
            text = self._settings.words(text)
        return text if task.name in text else f"{task.name}: {text}"

    def _write(
        self,
        task: WatchedPhotoTask,
        event: Event,
        *,
        output: str | None = None,
        why: str = "",
        file: tuple[int, int] | None = None,
        lasting: bool = False,
    ) -> None:
        if output is None:
            output = self._planner.output(task.job.target) if task.job.target and event != "failed" else ""
        entry = Entry(
            photo=task.photo,
            size=task.state[0],
            mtime_ns=task.state[1],
            event=event,
            kind=self._settings.suffix,
            output=output,
            why=why,
            crashes=0 if event in ("done", "failed") else self._crashes(task),
            file=file,
        )
        self.journal.write(entry, lasting=lasting)

    def _withdraw(self, task: WatchedPhotoTask, *, suspect: bool = True) -> None:
        """Note that a photo is in work no longer; a suspect (``suspect``) stays one."""
        if self.journal.entries.get(task.photo) is not None and task.has_begun:
            self._write(task, "crashed" if suspect and self._crashes(task) else "withdrawn")

    def _crashes(self, task: WatchedPhotoTask) -> int:
        before = self.journal.entries.get(task.photo)
        return before.crashes if before is not None and before.state == task.state else 0

    def _forget_missing(self, found: Scan) -> None:
        """Forget photos that are gone."""
        missing = found.gone(self._hands.known())
        self._absent = {photo: self._absent.get(photo, 0) + 1 for photo in missing}
        if gone := {photo for photo, times in self._absent.items() if times >= ABSENT}:
            self._hands.forget(gone)
            self.journal.forget(gone)

    def _is_there(self, folder: WatchedFolder) -> bool:
        if reason := folder.why_gone():
            self._say_gone(folder, reason)
            return False
        if folder in self._gone:
            self._gone.remove(folder)
            self._say(f"{folder.path}: is back")
        return True

    def _say_gone(self, folder: WatchedFolder, reason: str) -> None:
        if folder not in self._gone:
            self._gone.add(folder)
            self._say(f"{folder.path}: {reason}; waiting for it")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _say_start(self, first: Scan) -> None:
        left = len(self._hands.unsettled(first.photos))
        failed = sum(
            entry.event == "failed" and self._hands.has_dealt_with(entry.photo, entry.state)
            for entry in self.journal.all()
            if first.photos.get(entry.photo) == entry.state
        )
        done = len(first.photos) - left - failed
        why = f" ({self.journal.path} says why)" if failed else ""
        self._say(f"watching {self._settings.inbox}: {done} done already, {failed} failed before{why}, {left} to do")

    def _close_if_idle(self) -> None:
        if self._journal is not None and self._hands.is_idle:
            self._journal.close()
            output_file.mark_temporaries("", lambda *_: None)


def _written(task: WatchedPhotoTask, result: Result, output: Path, words: Callable[[str], str]) -> str:
    """The line on a cut-out, in the words of the command."""
    info, seconds = result.info, sum(result.info.milliseconds.values()) / 1000
    line = f"{task.name} -> {output} ({result.width} x {result.height}, {info.model} on {info.backend}, "
    return "; ".join([f"{line}{seconds:.2f} s)", *(words(note) for note in result.notes)])
