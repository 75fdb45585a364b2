"""Write results to files: tables (CSV, JSON) and plots (PNG, SVG)."""

from sparsemod.report.results import write_results

__all__ = ["write_results"]
