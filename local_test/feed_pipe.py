"""SageMaker's side of Pipe mode: creates `<channel>_0`, `<channel>_1`, ... and fills them.

    python local_test/feed_pipe.py TREE/input/data train FILE... --epochs 3

Each FIFO carries all files, one after the other, and the next one is created when the previous pass is over, as on the
platform. The options simulate delays and failures.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["feed", "main"]


def feed(
    folder: Path,
    channel: str,
    files: Sequence[Path],
    *,
    epochs: int,
    chunk: int = 1 << 16,
    late: float = 0.0,
    pause: float = 0.0,
    close_after: int | None = None,
) -> list[int]:
    """Feed a channel pass by pass.

    Parameters
    ----------
    folder : Path
        Where the FIFOs go: ``input/data`` of a tree.
    channel : str
    files : sequence of Path
    epochs : int
        How many FIFOs there will be; a reader that asks for one more times out.
    chunk : int
        Bytes of a write.
    late : float
        Seconds before each FIFO appears.
    pause : float
        Seconds between two writes.
    close_after : int, optional
        Bytes after which a pass is cut short.

    Returns
    -------
    written : list of int
        Bytes of each pass; fewer than all if the reader, which may, closed before the end.
    """
    written = []
    for epoch in range(epochs):
        time.sleep(late)
        fifo = folder / f"{channel}_{epoch}"
        os.mkfifo(fifo)
        n_bytes = 0
        try:
            with fifo.open("wb", buffering=0) as pipe:
                for taken in _sent(pipe.fileno(), files, chunk, close_after):
                    n_bytes += taken
                    if pause:
                        time.sleep(pause)
        except BrokenPipeError:
            pass
        written.append(n_bytes)
    return written


def _sent(pipe: int, files: Sequence[Path], chunk: int, most: int | None) -> Iterator[int]:
    """Send the files' bytes, at most `chunk` at a time, and give how many were taken each time."""
    for file in files:
        with file.open("rb") as data:
            # The system moves the file's pages into the pipe: the reader of a test or benchmark shares its
            # cores with this process, and on the platform it does not.
            while taken := os.sendfile(pipe, data.fileno(), None, chunk if most is None else min(chunk, most)):
                yield taken
                if most is not None:
                    most -= taken


def main() -> None:
    """Read the command line, and feed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the FIFOs: input/data of a tree")
    parser.add_argument("channel")
    parser.add_argument("files", type=Path, nargs="*", help="files to send (default: none, so passes are empty)")
    parser.add_argument("--epochs", type=int, default=1, help="number of FIFOs")
    parser.add_argument("--chunk", type=int, default=1 << 16, help="bytes per write")
    parser.add_argument("--late", type=float, default=0.0, help="seconds before each FIFO appears")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two writes")
    parser.add_argument("--close-after", type=int, help="bytes after which a pass is truncated")
    options = vars(parser.parse_args())
    for epoch, n_bytes in enumerate(
        feed(options.pop("folder"), options.pop("channel"), options.pop("files"), **options)
    ):
        print(f"pass {epoch}: {n_bytes} bytes were taken")


if __name__ == "__main__":
    main()
