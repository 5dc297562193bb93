"""Reports for people. `outcome_table` and `failure_text` turn a result into plain text."""

from cpugpu.report.text import failure_text, outcome_table

__all__ = ["failure_text", "outcome_table"]
