"""What a data set itself tells before any network is trained: the answer of `niwaki complexity`."""

from search.complexity.gather import ComplexitySettings, complexity
from search.complexity.report import ComplexityReport
from search.complexity.write import write_complexity

__all__ = ["ComplexityReport", "ComplexitySettings", "complexity", "write_complexity"]
