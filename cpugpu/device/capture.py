"""What the CUDA driver knows of graph capture and torch does not tell: is *that* stream captured, in which capture?

Both calls are allowed while any thread captures (CUDA driver API, "Stream Management"). Without an NVIDIA driver (ROCm,
XPU, no GPU) everything here answers "not capturing".
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED
_ACTIVE = 1  # CU_STREAM_CAPTURE_STATUS_ACTIVE

_thread = threading.local()  # for the simulated device


def queries_are_allowed() -> bool:
    """Has the calling thread said `allow_queries_during_capture`?"""
    return getattr(_thread, "relaxed", False)


@functools.lru_cache(maxsize=1)
def _driver() -> Any:
    """The functions of libcuda that are used here, None where it is missing or older than CUDA 11.3."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        info, exchange = library.cuStreamGetCaptureInfo_v2, library.cuThreadExchangeStreamCaptureMode
    except (OSError, AttributeError):
        return None
    info.argtypes = [ctypes.c_void_p] * 6
    exchange.argtypes = [ctypes.c_void_p]
    return info, exchange


def capture_id(handle: int) -> int:
    """The id of the capture that the stream with this handle is in, 0 for none."""
    driver = _driver()
    if driver is None:
        return 0
    status, number = ctypes.c_int(0), ctypes.c_uint64(0)
    failed = driver[0](handle, ctypes.byref(status), ctypes.byref(number), None, None, None)
    # The legacy default stream reports an error while another stream captures; it is in no capture itself.
    return number.value if not failed and status.value == _ACTIVE else 0


def allow_queries_during_capture() -> None:
    """Let the calling thread query events while another thread captures a graph in the global mode.

    Without it the query would end that capture (pytorch#104487). The mode belongs to the thread, not to the process.
    """
    _thread.relaxed = True
    driver = _driver()
    if driver is not None:
        mode = ctypes.c_int(_RELAXED)
        driver[1](ctypes.byref(mode))
