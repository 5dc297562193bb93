"""Reports for people and machines: outcome tables and failures as text, and what a campaign leaves.

`write_report` leaves a folder: `index.html`, `junit.xml` and `results.json`.
"""

from cpugpu.report.folder import is_report_of, write_report
from cpugpu.report.text import failure_text, fault_text, item_text, outcome_table

__all__ = ["failure_text", "fault_text", "is_report_of", "item_text", "outcome_table", "write_report"]
