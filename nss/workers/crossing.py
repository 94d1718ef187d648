"""Exceptions from one process to another, such that whoever tells them says the same as though there were one."""

from __future__ import annotations

import os
import pickle
import traceback
from dataclasses import dataclass

from nss.errors import NssError, one_line


class ForeignError(Exception):
    """What stood behind an error in another process, of which only the text has come over."""


@dataclass(frozen=True)
class CrossingError:
    """An exception as plain data.

    Attributes:
        pickled: itself, without what stood behind it; None where it does not pickle.
        kind: the name of its class.
        text: what it says, in one line.
        causes: those that stood behind it, the next one first: themselves where they are the project's, else text.
        trace: where it was raised, where NSS_DEBUG is set.
    """

    pickled: bytes | None
    kind: str
    text: str
    causes: tuple[CrossingError, ...] = ()
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> CrossingError:
        """``error`` with those that it was raised from."""
        causes: list[CrossingError] = []
        cause = error.__cause__
        while cause is not None and len(causes) < 10:
            causes.append(cls._alone(cause))
            cause = cause.__cause__
        alone = cls._alone(error)
        trace = "".join(traceback.format_exception(error)) if os.environ.get("NSS_DEBUG") else ""
        return cls(alone.pickled, alone.kind, alone.text, tuple(causes), trace)

    def error(self) -> Exception:
        """The exception, for this process to raise."""
        error = self._error()
        last: BaseException = error
        for cause in self.causes:
            last.__cause__ = cause._error() if cause.is_own else ForeignError(cause.text)
            last = last.__cause__
        if self.trace and not self.is_own:
            last.__cause__ = ForeignError(f"in the worker:\n{self.trace}")
        return error

    @property
    def is_own(self) -> bool:
        """Whether it is one of the project's, which are told by their text alone."""
        return isinstance(self._error(), NssError)

    @classmethod
    def _alone(cls, error: BaseException) -> CrossingError:
        pickled: bytes | None = None
        try:
            pickled = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
            again = pickle.loads(pickled)  # some pickle, and cannot be made again
            if type(again) is not type(error) or str(again) != str(error):
                pickled = None
        except Exception:
            pickled = None
        return cls(pickled, type(error).__name__, one_line(error))

    def _error(self) -> Exception:
        if self.pickled is not None:
            try:
                error = pickle.loads(self.pickled)
                if isinstance(error, Exception):
                    return error
            except Exception:  # a class that this process does not find
                pass
        return type(self.kind, (Exception,), {})(self.text)
