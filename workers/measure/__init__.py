"""Measurements of networks: accuracy, features, latency, sameness."""
