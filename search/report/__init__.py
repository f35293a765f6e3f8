"""What came of a run: final measurements, verdicts, tables, pictures and one HTML page."""

from search.report.measurements import (
    Control,
    DataSet,
    Detection,
    Environment,
    Finals,
    Hypervolume,
    Latency,
    LayerWidth,
    Ledger,
    Measured,
    Sameness,
    Screening,
)
from search.report.tables import forecast_table, front_rows, front_table, verdict_table
from search.report.verdict import Verdict, judge, tally
from search.report.write import read_finals, write_report

__all__ = [
    "Control",
    "DataSet",
    "Detection",
    "Environment",
    "Finals",
    "Hypervolume",
    "Latency",
    "LayerWidth",
    "Ledger",
    "Measured",
    "Sameness",
    "Screening",
    "Verdict",
    "forecast_table",
    "front_rows",
    "front_table",
    "judge",
    "read_finals",
    "tally",
    "verdict_table",
    "write_report",
]
