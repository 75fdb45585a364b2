"""Write results to files: tables (CSV, JSON) and plots (PNG, SVG)."""

from sparsemod.report.results import write_results
from sparsemod.report.rows import Row

__all__ = ["Row", "write_results"]
