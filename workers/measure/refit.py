"""How separable are the classes in a candidate's own features? A ridge refit answers in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


def refit_accuracy(
    train: Tensor, train_labels: Tensor, validation: Tensor, validation_labels: Tensor, classes: int, ridge: float = 0.1
) -> float:
    """Validation accuracy of a linear classifier fitted to features by ridge regression on one-hot labels.

    Args:
        train: features ``[N, D]``; standardised per axis here.
        validation: features ``[M, D]``.
        ridge: penalty relative to the mean eigenvalue of the features' covariance (which is 1 after standardising).

    Returns:
        Top-1 accuracy in [0, 1].
    """
    mean, std = train.double().mean(0), train.double().std(0).clamp_min(1e-6)
    x = (train.double() - mean) / std
    z = (validation.double() - mean) / std
    targets = torch.nn.functional.one_hot(train_labels, classes).double()
    centred = targets - targets.mean(0)
    if x.shape[1] <= x.shape[0]:
        gram = x.T @ x
        gram.diagonal().add_(ridge * len(x))
        scores = z @ torch.linalg.solve(gram, x.T @ centred)
    else:
        # More features than images: the dual form solves an N × N system instead of D × D.
        gram = x @ x.T
        gram.diagonal().add_(ridge * len(x))
        scores = z @ (x.T @ torch.linalg.solve(gram, centred))
    return float(((scores + targets.mean(0)).argmax(1) == validation_labels).double().mean())
