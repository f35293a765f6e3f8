"""Watching a run from its folder alone: while it runs, after it, and wherever a copy of the folder lies."""
