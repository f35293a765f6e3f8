"""The parts of a training; :mod:`workers.train` tells how they work together."""
