"""Courses of training that change the network on their way."""

from workers.recipes.grow import Grown, grow_greedily
from workers.recipes.push_prune import Slimmed, push_and_prune

__all__ = ["Grown", "Slimmed", "grow_greedily", "push_and_prune"]
