"""``report.html``: what a run, or a folder of runs, left in its files, as one page that needs nothing else."""

from uan_da.evaluation.report.adapted import adapted_report
from uan_da.evaluation.report.run import run_report
from uan_da.evaluation.report.sweep import sweep_report

__all__ = ["adapted_report", "run_report", "sweep_report"]
