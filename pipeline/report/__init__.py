"""The page that a run leaves behind."""

from pipeline.report.html import write_report

__all__ = ["write_report"]
