"""The sanitizer beside torch's CSAN, hazard by hazard: a buggy trace and its clean twin (`make compare-sanitizers`)."""

from stress.compare_sanitizers.programs import PROGRAMS, Program
from stress.compare_sanitizers.table import Row, compare, table
from stress.compare_sanitizers.trace import Trace

__all__ = ["PROGRAMS", "Program", "Row", "Trace", "compare", "table"]
