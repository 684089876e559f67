"""The models of a multi-model endpoint, shared by every worker process.

The list of loaded models is in a file that all share (model_list.py). A worker maps a model into
memory when it first needs it, and drops the mapping when the model is unloaded. The workers share
the pages themselves, and no file stays open.

A client's model name is only a key. Its url is a path that must be, with every
link resolved, below the one folder in which SageMaker puts models.
"""

import contextlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from container.serving.errors import ModelExistsError, ModelNotLoadedError
from container.serving.model_list import Entry, ModelList
from fm_core.errors import ArtifactError, DataError, ResourceError, is_exhausted

__all__ = ["ModelRegistry"]

#: What is made of a model's folder.
Opened = TypeVar("Opened")

_PAGE_SIZE = 100
_MAX_MODELS = 16384
#: Files and folders below that of a model, which has a handful.
_MOST_ENTRIES = 10_000


def _below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Give what is in a folder and in those within it; links are given and not followed.

    Raises
    ------
    DataError
        It is more than a model has.
    """
    folders, n_found = [str(folder)], 0
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                n_found += 1
                if n_found > _MOST_ENTRIES:
                    raise DataError(
                        f"the url's folder holds more than {_MOST_ENTRIES} files, expected those of a model"
                    )
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                yield entry


class ModelRegistry(Generic[Opened]):
    """Models by name: load, find, list and unload them from any worker and any thread.

    Made before the workers are forked.

    Parameters
    ----------
    models_root : Path
        Models outside of it are refused.
    memory : int
        The most bytes for all models together.
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
        self._list = ModelList(state_folder)
        self._open_model = open_model
        # Shared with the workers forked later: seconds of last use, by slot.
        self._used = memoryview(mmap.mmap(-1, 8 * _MAX_MODELS)).cast("d")
        self._opened: dict[int, Opened] = {}
        self._opening = threading.Lock()

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
        entries = self._now()
        after = sorted(name for name in entries if name > token or not token)
        page = after[:_PAGE_SIZE]
        return {name: entries[name].url for name in page}, page[-1] if len(after) > _PAGE_SIZE else None

    def load(self, name: str, url: str) -> None:
        """Load a model; the least recently used ones make room for it.

        Raises
        ------
        ModelExistsError
            One of this name is loaded.
        DataError
            The url does not exist, or points outside the folder of models.
        ArtifactError
            There is no model there, or a damaged one.
        ResourceError
            It does not fit even alone.
        """
        if name in self._now():
            raise _exists(name)
        path = self._checked(url)
        size = sum(entry.stat().st_size for entry in _below(path)) if path.is_dir() else path.stat().st_size
        self._check_size(name, size)  # before it is read
        model = self._open_model(path)  # before anything is dropped for it
        size += getattr(model, "memory", 0)  # what was unpacked of it
        self._check_size(name, size)
        listed = self._list
        with listed.locked():
            if name in listed.entries:
                raise _exists(name)
            self._make_room(size)
            slot = listed.next_slot
            if slot >= _MAX_MODELS:
                raise ResourceError(f"{_MAX_MODELS} models are loaded, the maximum: unload some")
            entry = Entry(name, url, str(path), size, slot, listed.next_serial)
            self._used[slot] = time.monotonic()
            self._opened[entry.serial] = model
            listed.add(entry)

    def unload(self, name: str) -> str:
        """Drop a model, and give its url; requests that have it already finish with it.

        Raises
        ------
        ModelNotLoadedError
        """
        with self._list.locked():
            if name not in self._list.entries:
                raise _not_loaded(name)
            url = self._list.entries[name].url
            self._list.remove(name)
        self._drop()
        return url

    def _check_size(self, name: str, size: int) -> None:
        if size > self._memory:
            raise ResourceError(
                f"model {name[:80]!r} takes {size} bytes, more than the {self._memory} for all models: use an "
                "instance with more memory, or set FM_MODEL_MEMORY_MB"
            )

    def _checked(self, url: str) -> Path:
        try:
            root = self._root.resolve(strict=True)
            path = Path(url).resolve(strict=True)
            is_inside = path != root and path.is_relative_to(root)
            links = (Path(entry.path) for entry in _below(path) if entry.is_symlink()) if path.is_dir() else ()
            if not is_inside or not all(link.resolve().is_relative_to(root) for link in links):
                raise DataError(f"url {url[:200]!r} points outside {self._root}, expected a model below it")
        except (OSError, ValueError, RuntimeError) as error:  # absent, a null byte, a loop of links
            if is_exhausted(error):
                raise
            raise DataError(f"url {url[:200]!r} does not exist, expected the folder of a model") from None
        return path

    def _make_room(self, size: int) -> None:
        """Remove the least recently used models, until one of this size fits."""
        listed = self._list
        if listed.size + size <= self._memory:
            return
        by_use = sorted(listed.entries.values(), key=lambda entry: self._used[entry.slot], reverse=True)
        while listed.size + size > self._memory:
            listed.remove(by_use.pop().name)
        self._drop()

    def _drop(self) -> None:
        """Let go of models that are no longer loaded."""
        while self._list.gone:
            self._opened.pop(self._list.gone.pop(), None)

    def _now(self) -> dict[str, Entry]:
        """The models that are loaded, by name."""
        self._list.refresh()
        if self._list.gone:
            self._drop()
        return self._list.entries

    def _open(self, name: str, entry: Entry) -> Opened:
        try:
            return self._open_model(Path(entry.path))
        except ArtifactError:
            if Path(entry.path).exists():
                raise
            with contextlib.suppress(ModelNotLoadedError):
                self.unload(name)
            raise _not_loaded(name) from None

    def _entry(self, name: str) -> Entry:
        entry = self._now().get(name)
        if entry is None:
            raise _not_loaded(name)
        return entry


def _exists(name: str) -> ModelExistsError:
    return ModelExistsError(f"model {name[:80]!r} is loaded already: unload it first")


def _not_loaded(name: str) -> ModelNotLoadedError:
    return ModelNotLoadedError(f"model {name[:80]!r} is not loaded: POST /models loads it")
