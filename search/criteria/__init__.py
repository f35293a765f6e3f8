"""How far pruning criteria agree on a network: the answer of `niwaki criteria`."""

from search.criteria.gather import compare_criteria
from search.criteria.report import CriteriaReport
from search.criteria.write import write_criteria

__all__ = ["CriteriaReport", "compare_criteria", "write_criteria"]
