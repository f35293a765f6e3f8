"""Foretelling trained accuracy from probes, and letting the forecast decide what is probed and trained next."""
