"""The trace of a program: a file that is written while it runs, and what can be made of it afterwards.

`TraceWriter` writes entries, and `read` reads them back, also from a program that was killed. `summarize` says in a
screenful what happened; `export` makes a file for the Perfetto UI.
"""

from cpugpu.trace.format import FLAG_DEFAULT, FLAG_IMPLICIT, FLAG_MAIN, FLAG_TIMEOUT, Entry, TraceError
from cpugpu.trace.perfetto import Counts, export
from cpugpu.trace.reader import Trace, read
from cpugpu.trace.summary import summarize
from cpugpu.trace.writer import TraceWriter

__all__ = [
    "FLAG_DEFAULT",
    "FLAG_IMPLICIT",
    "FLAG_MAIN",
    "FLAG_TIMEOUT",
    "Counts",
    "Entry",
    "Trace",
    "TraceError",
    "TraceWriter",
    "export",
    "read",
    "summarize",
]
