"""Memory-mapped files without an open file descriptor, so that thousands of models need no thousands of descriptors.

Python's own mmap keeps a descriptor for each mapping, to change its size; version 3.13 makes that optional.
"""

import ctypes
import mmap
import os
import weakref

__all__ = ["mapped"]


def mapped(descriptor: int, size: int) -> memoryview:
    """Map the beginning of a file, to be read.

    Parameters
    ----------
    descriptor : int
        May be closed afterwards.
    size : int
        Bytes; at least 1, and no more than the file has.

    Returns
    -------
    content : memoryview of bytes
        Read-only. The mapping goes with the last view of it.

    Raises
    ------
    OSError
        There is no room among the addresses of this process.
    """
    if not _IS_POSIX:
        return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)).toreadonly()
    address = _MMAP(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    content = (ctypes.c_ubyte * size).from_address(address)
    # Not when the process ends: views may be looked at until then.
    weakref.finalize(content, _MUNMAP, address, size).atexit = False
    return memoryview(content).cast("B").toreadonly()


_IS_POSIX = hasattr(mmap, "PROT_READ")

if _IS_POSIX:
    _LIBRARY = ctypes.CDLL(None, use_errno=True)
    _MMAP = _LIBRARY.mmap
    _MMAP.restype = ctypes.c_void_p
    _MMAP.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t]
    _MUNMAP = _LIBRARY.munmap
    _MUNMAP.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
