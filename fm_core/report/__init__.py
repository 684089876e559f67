"""The training report: what happened in a job, as a page."""

from fm_core.report.page import write_report

__all__ = ["write_report"]
