"""What to try next, and the story of a run."""
