"""What to try next, and the story of a run; imported lazily, so that asking for help does not load a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.config import SearchConfig
    from search.run import Result, load_result, resume, run_search

__all__ = ["Result", "SearchConfig", "load_result", "resume", "run_search"]


def __getattr__(name: str) -> Any:
    if name == "SearchConfig":
        from search.config import SearchConfig

        return SearchConfig
    if name in __all__:
        from search import run

        return getattr(run, name)
    raise AttributeError(f"module 'search' has no attribute {name!r}")
