"""Results as files: tables (CSV, JSON) and plots (PNG, SVG)."""

from sparsemod.report.results import Row, write_results

__all__ = ["Row", "write_results"]
