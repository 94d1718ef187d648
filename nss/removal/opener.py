"""Opening a model: as it was compiled before, without reading it, or else from its file.

On the first way neither onnx nor the file is read: what its interface is, with origins and notices, is the entry's
metadata. Entries are written behind the first result: by the command behind its last photo, by `nss.Remover.remove` in
a thread for which `close` waits. Whoever leaves by a signal does not wait, and leaves nothing that is not whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import engine
from nss.errors import NssError, UsageError, one_line
from nss.interfaces.interface import Description, EdgeSize
from nss.models import compiled
from nss.models.local_models import ResolvedModel
from nss.removal import entry_facts, sessions
from nss.removal.model_inputs import image_shape
from nss.removal.opening import opening
from nss.removal.resolved_interface import ResolvedInterface
from nss.removal.run_options import RunOptions

if TYPE_CHECKING:
    from nss.removal.sessions import Shape


@dataclass(frozen=True)
class _Unsaved:
    """A model that was compiled, and not kept yet: for which key, and of which files, as they were before."""

    options: RunOptions
    shape: Shape | None
    model: engine.CompiledModel
    sha256: str
    stamps: compiled.Stamps
    place: engine.Place


class Opener:
    """Opens sessions of one model.

    What the cache has is opened without reading the model's file. What it does not have is compiled from the file, and
    kept when `store` is called. An entry that is damaged, or is of no use here, is removed, and the model compiled.

    Attributes:
        resolved_interface: the model's interface, once the first session is open.
    """

    resolved_interface: ResolvedInterface

    def __init__(
        self,
        model: ResolvedModel,
        user_description: Description | None = None,
        *,
        use_cache: bool = True,
        sibling: Opener | None = None,
    ) -> None:
        """Nothing is opened yet.

        ``use_cache``: whether compiled models are looked for and kept. ``sibling``: has opened the same model, and what
        it has compiled is taken where it fits. Raises as `nss.models.compiled.cache`.
        """
        self._sibling = sibling
        self._model, self._user_description = model, user_description or {}
        self._cache = compiled.cache() if use_cache else None
        self._file: engine.ModelFile | None = None
        self._unsaved: list[_Unsaved] = []
        self._stamps: compiled.Stamps = ()
        self._interface_of = ""  # the SHA-256 of the file that has it
        self._saving, self._process = threading.Lock(), os.getpid()
        self._is_known = False

    def first(self, options: RunOptions) -> engine.Session:
        """The first session, for what a square photo gets.

        Raises:
            ModelUnavailableError: no mask model, or not as the interface has it; and what `opening` raises.
            UsageError: the user's description contradicts itself.
        """
        with opening(self._model.path):
            session = self._from_cache(options, None) or self._from_sibling(options, None)
            if session is not None:
                return session
            file = self._read()
        with self.resolved_interface.blaming_guesses(), opening(self._model.path):
            return self._compile(file, options, None)

    def another(self, options: RunOptions, shape: Shape | None = None) -> engine.Session:
        """A session for an input of this shape; by default, for what a square photo gets.

        Raises what reading a model and opening a session do.
        """
        if shape == image_shape(self.resolved_interface.interface):
            shape = None
        ready = self._from_cache(options, shape) or self._from_sibling(options, shape)
        return ready or self._compile(self._read(), options, shape)

    @property
    def has_unsaved(self) -> bool:
        """Whether something was compiled that `store` would keep."""
        return bool(self._unsaved) and self._is_own_process

    def store(self) -> str | None:
        """Keep what was compiled; why something could not be kept, in one line, or None.

        Any thread may call it; it waits for another one that is within. Nothing is kept of a model whose files have
        changed since they were read, and a forked child leaves it to its parent.
        """
        if not self._is_own_process:
            return None
        reason = None
        with self._saving:
            while self._unsaved:
                try:
                    reason = self._save(self._unsaved.pop()) or reason
                except (engine.EngineError, NssError, OSError, MemoryError) as error:
                    reason = one_line(error)
        return reason

    def forget(self) -> None:
        """Remove what is kept of the model: its interface has proved wrong."""
        if self._cache is not None and self._is_own_process:
            with self._saving:
                self._unsaved.clear()
                self._interface_of = ""  # what is compiled from now on is not kept either
                compiled.drop((), (self._model.sha256,))

    @property
    def _is_own_process(self) -> bool:
        return self._process == os.getpid()

    def _save(self, unsaved: _Unsaved) -> str | None:
        key = self._key(unsaved.options, unsaved.shape)
        if self._cache is None or key is None or not self._is_same(unsaved):
            return None
        if unsaved.options.place() != unsaved.place:
            return None  # the adapter was tuned meanwhile, and the key is that of another model
        if not self._cache.put(key, unsaved.model):
            return (
                f"{self._cache.folder} cannot be written to, or has no room for it; "
                "NSS_CACHE_DIR names another folder, and NSS_CACHE_SIZE how much it may take"
            )
        if not self._is_same(unsaved):  # `models remove` has come meanwhile, and found no entry
            self._cache.discard(key)
        return None

    def _is_same(self, unsaved: _Unsaved) -> bool:
        """Whether the model's files are those that were read."""
        with suppress(OSError, NssError):
            return unsaved.sha256 == self._interface_of and unsaved.stamps == compiled.stamps(self._model)
        return False

    def _from_cache(self, options: RunOptions, shape: Shape | None) -> engine.Session | None:
        """The session of an entry; None without one, or where it cannot be used."""
        if self._cache is None or (key := self._key(options, shape)) is None:
            return None
        if (model := self._cache.get(key)) is None:
            return None
        try:
            resolved_interface = ResolvedInterface.from_json(model.metadata["interface"], model.metadata["notices"])
            session = _opened(model, options, self._strict(options, shape))
        except (engine.ModelError, UsageError, KeyError, TypeError):
            self._cache.discard(key)
            return None
        if not self._is_known:
            self.resolved_interface, self._is_known = resolved_interface, True
            self._interface_of = model.origin.sha256
        return session

    def _from_sibling(self, options: RunOptions, shape: Shape | None) -> engine.Session | None:
        """The session of what the sibling has compiled and not kept yet, on an adapter such as this."""
        if self._sibling is None or (key := self._key(options, shape)) is None:
            return None
        for unsaved in list(self._sibling._unsaved):
            if unsaved.shape == shape and self._sibling._key(unsaved.options, shape) == key:
                session = _opened(unsaved.model, options, self._strict(options, shape))
                if not self._is_known:
                    self.resolved_interface, self._is_known = self._sibling.resolved_interface, True
                return session
        return None

    def _key(self, options: RunOptions, shape: Shape | None) -> str | None:
        """The key of the entry; None where there can be none, as opening the model's file will say."""
        with suppress(engine.EngineError, NssError, OSError):
            if (place := options.place()).backend != "reference":
                return compiled.key(self._model, self._user_description, shape=shape, place=place)
        return None

    def _read(self) -> engine.ModelFile:
        from nss.removal.model_reading import read, read_file

        if self._file is not None:
            return self._file
        before = self._look()
        if self._is_known:
            file = read_file(self._model)
        else:
            file, self.resolved_interface = read(self._model, self._user_description)
            self._is_known = True
            with suppress(OSError, NssError):
                if self._cache is not None and before == self._look():
                    compiled.remember_data_files(self._model, file)
                    self._interface_of = compiled.sha256_of(self._model)
        self._stamps = before + self._look()[len(before) :]  # those of weights, whose names the file has said
        # only where the size follows the photo is it needed again
        self._file = file if isinstance(self.resolved_interface.interface.size, EdgeSize) else None
        return file

    def _look(self) -> compiled.Stamps:
        """The stamps of the model's files; none where nothing is kept, or that is nothing to look at."""
        with suppress(OSError, NssError):
            return () if self._cache is None else compiled.stamps(self._model)
        return ()

    def _compile(self, file: engine.ModelFile, options: RunOptions, shape: Shape | None) -> engine.Session:
        from nss.removal.model_reading import bindings

        interface = self.resolved_interface.interface
        if self._cache is None or not self._is_own_process:
            return options.session(file, **bindings(file, interface, shape))
        place, strict = options.place(), self._strict(options, shape)
        session = options.session(file, keep_compiled=True, strict=strict, **bindings(file, interface, shape))
        if (model := session.compiled) is not None:
            self._keep(model, options, shape, place, session.info.tuning)
            session.release_compiled()
        return session

    def _strict(self, options: RunOptions, shape: Shape | None) -> Callable[[], engine.Session] | None:
        """What opens the model for images whose numbers matrix units do not hold; None where none multiply."""
        strict = replace(options, precision="f32-strict")
        return partial(self.another, strict, shape) if options.precision == "f32" else None

    def _keep(
        self, model: engine.CompiledModel, options: RunOptions, shape: Shape | None, place: engine.Place, tuning: str
    ) -> None:
        spec, interface = self._model.spec, self.resolved_interface
        with suppress(NssError, OSError):
            sha256 = compiled.sha256_of(self._model)
            model = replace(
                model,
                origin=replace(model.origin, name=spec.name, sha256=sha256, licence=spec.licence),
                metadata=entry_facts.metadata(interface, tuning, place),
            )
            # each holds a file that is mapped, or weights
            self._unsaved = self._unsaved[1 - sessions.MOST :]
            self._unsaved.append(_Unsaved(options, shape, model, sha256, self._stamps, place))


def _opened(
    model: engine.CompiledModel, options: RunOptions, strict: Callable[[], engine.Session] | None
) -> engine.Session:
    """The session of a model that was compiled for these options. Raises KeyError where another cache wrote it."""
    tuning = str(model.metadata["tuning"])
    session = options.session(model, strict=strict)
    session.info = replace(session.info, reason=options.place().reason, tuning=tuning)
    return session
