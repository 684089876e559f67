"""The models of a multi-model endpoint, shared by every worker process.

What is loaded stands in one small file, replaced as a whole under a lock, so that a
worker killed at any moment leaves the old state or the new one, and no lock behind. A
worker looks at the file's time on each request (one stat) and reads it again only when it
was replaced; it maps a model into memory when first asked for it, and drops the
mapping when the model is gone. The pages themselves the workers share.

A client's model name is only ever a key. Its url is a path, and has to lie, with every
link resolved, below the one folder that SageMaker puts models in.
"""

import contextlib
import dataclasses
import fcntl
import itertools
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import orjson

from container.serving.errors import ModelExistsError, ModelNotLoadedError
from fm_core.errors import ArtifactError, DataError, ResourceError

__all__ = ["ModelRegistry"]

#: What is made of a model's folder.
Opened = TypeVar("Opened")

_PAGE_SIZE = 100
_MAX_MODELS = 16384


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """One loaded model.

    Attributes
    ----------
    url : str
        As the client wrote it.
    path : str
        Where that led, links resolved.
    size : int
        Bytes of its files.
    slot : int
        Its place in the table of times of last use.
    serial : int
        Never used twice, so a model loaded again under its old name is told from the first.
    """

    url: str
    path: str
    size: int
    slot: int
    serial: int


@dataclasses.dataclass(frozen=True, slots=True)
class _State:
    entries: dict[str, _Entry]
    next_serial: int = 0
    version: int = 0

    def changed(self, entries: dict[str, _Entry], next_serial: int | None = None) -> "_State":
        return _State(entries, self.next_serial if next_serial is None else next_serial, self.version + 1)


class ModelRegistry(Generic[Opened]):
    """Models by name: loaded, found, listed and dropped, from any worker and any thread.

    Made before the workers are forked.

    Parameters
    ----------
    models_root : Path
        Models outside of it are refused.
    memory : int
        Bytes that all models together may take.
    state_folder : Path
        An empty folder of our own.
    open_model : callable
        From a path to what is served, such as `fm_core.artifact.model_file.load_model`.
    """

    def __init__(
        self, models_root: Path, memory: int, state_folder: Path, open_model: Callable[[Path], Opened]
    ) -> None:
        self._root = models_root
        self._memory = memory
        self._file = state_folder / "models.json"
        self._lock_file = state_folder / "lock"
        self._open_model = open_model
        # Shared with the workers forked later: seconds of last use, by slot.
        self._used = memoryview(mmap.mmap(-1, 8 * _MAX_MODELS)).cast("d")
        self._opened: dict[int, Opened] = {}
        self._opening = threading.Lock()
        self._seen: _State | None = None
        self._write(_State({}))

    def get(self, name: str) -> Opened:
        """The model of a name, marked as just used.

        Raises
        ------
        ModelNotLoadedError
            There is none, or its file is gone.
        """
        entry = self._entry(name)
        self._used[entry.slot] = time.monotonic()
        model = self._opened.get(entry.serial)
        if model is None:
            with self._opening:
                model = self._opened.get(entry.serial) or self._open(name, entry)
                self._opened[entry.serial] = model
        return model

    def url(self, name: str) -> str:
        """The url that a model was loaded from.

        Raises
        ------
        ModelNotLoadedError
        """
        return self._entry(name).url

    def page(self, token: str) -> tuple[dict[str, str], str | None]:
        """Up to 100 urls by name, in the order of the names, and the token of the next page.

        Parameters
        ----------
        token : str
            What the page before gave, or empty.
        """
        entries = self._state().entries
        after = sorted(name for name in entries if name > token or not token)
        page = after[:_PAGE_SIZE]
        return {name: entries[name].url for name in page}, page[-1] if len(after) > _PAGE_SIZE else None

    def load(self, name: str, url: str) -> None:
        """Load a model; those longest unused make room for it.

        Raises
        ------
        ModelExistsError
            One of this name is loaded.
        DataError
            The url leads to nothing, or out of the folder of models.
        ArtifactError
            There is no model there, or a damaged one.
        ResourceError
            It does not fit even when it is alone.
        """
        if name in self._state().entries:
            raise _exists(name)
        path = self._checked(url)
        size = sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
        self._check_size(name, size)  # before it is read
        model = self._open_model(path)  # before anything is dropped for it
        size += getattr(model, "memory", 0)  # what was unpacked of it
        self._check_size(name, size)
        with self._locked() as state:
            if name in state.entries:
                raise _exists(name)
            entries = self._with_room(state.entries, size)
            taken = {entry.slot for entry in entries.values()}
            slot = next(slot for slot in itertools.count() if slot not in taken)
            if slot >= _MAX_MODELS:
                raise ResourceError(f"{_MAX_MODELS} models are loaded, and no more fit: unload some")
            self._used[slot] = time.monotonic()
            entries[name] = _Entry(url, str(path), size, slot, state.next_serial)
            self._opened[state.next_serial] = model
            self._write(state.changed(entries, state.next_serial + 1))

    def unload(self, name: str) -> str:
        """Drop a model, and give its url; requests that have it already finish with it.

        Raises
        ------
        ModelNotLoadedError
        """
        with self._locked() as state:
            if name not in state.entries:
                raise _not_loaded(name)
            entries = dict(state.entries)
            url = entries.pop(name).url
            self._write(state.changed(entries))
        return url

    def _check_size(self, name: str, size: int) -> None:
        if size > self._memory:
            raise ResourceError(
                f"model {name[:80]!r} takes {size} bytes, more than the {self._memory} that models may take together: "
                "use an instance with more memory, or set FM_MODEL_MEMORY_MB"
            )

    def _checked(self, url: str) -> Path:
        try:
            root = self._root.resolve(strict=True)
            path = Path(url).resolve(strict=True)
            is_inside = path != root and path.is_relative_to(root)
            if not is_inside or not all(item.resolve().is_relative_to(root) for item in path.rglob("*")):
                raise DataError(f"url {url[:200]!r} leads out of {self._root}, expected a model below it")
        except (OSError, ValueError, RuntimeError):  # absent, a null byte, a loop of links
            raise DataError(f"url {url[:200]!r} leads to nothing, expected the folder of a model") from None
        return path

    def _with_room(self, entries: dict[str, _Entry], size: int) -> dict[str, _Entry]:
        """The entries that may stay when a model of this size comes."""
        by_use = sorted(entries, key=lambda name: self._used[entries[name].slot])
        kept = dict(entries)
        for name in by_use:
            if sum(entry.size for entry in kept.values()) + size <= self._memory:
                break
            del kept[name]
        return kept

    def _open(self, name: str, entry: _Entry) -> Opened:
        try:
            return self._open_model(Path(entry.path))
        except ArtifactError:
            if Path(entry.path).exists():
                raise
            with contextlib.suppress(ModelNotLoadedError):
                self.unload(name)
            raise _not_loaded(name) from None

    def _entry(self, name: str) -> _Entry:
        entry = self._state().entries.get(name)
        if entry is None:
            raise _not_loaded(name)
        return entry

    # --- the file ----------------------------------------------------------------------------

    def _state(self) -> _State:
        version = os.stat(self._file).st_mtime  # noqa: PTH116 - on each request; Path would be slower
        seen = self._seen
        if seen is None or seen.version != version:
            document = orjson.loads(self._file.read_bytes())
            entries = {name: _Entry(**entry) for name, entry in document.pop("entries").items()}
            seen = self._seen = _State(entries, **document)
            for serial in self._opened.keys() - {entry.serial for entry in entries.values()}:
                self._opened.pop(serial, None)
        return seen

    @contextlib.contextmanager
    def _locked(self) -> Iterator[_State]:
        """Hold the one lock of all workers; the system frees it if this one dies."""
        with self._lock_file.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self._state()

    def _write(self, state: _State) -> None:
        written = self._file.with_suffix(".new")
        written.write_bytes(orjson.dumps(dataclasses.asdict(state)))
        # The version as time of change: the clock's own ticks are too coarse to tell two writes apart.
        os.utime(written, (state.version, state.version))
        written.replace(self._file)


def _exists(name: str) -> ModelExistsError:
    return ModelExistsError(f"model {name[:80]!r} is loaded already: unload it first")


def _not_loaded(name: str) -> ModelNotLoadedError:
    return ModelNotLoadedError(f"model {name[:80]!r} is not loaded: POST /models loads it")
