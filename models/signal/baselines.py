"""Classical scores without a network: what a network has to beat, fitted on healthy windows alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.signal.arrays import F32, F64


def fit_rms(healthy: F32) -> Callable[[F32], F64]:
    """RMS against its healthy mean, the worst axis counting: the usual alarm on overall vibration (ISO 20816-1:2016).

    Args:    healthy: (k, window, axes).
    Returns: windows (m, window, axes) to scores (m,), about 1 when healthy.
    """
    level = _rms(healthy).mean(axis=0)

    def score(windows: F32) -> F64:
        ratio: F64 = (_rms(windows) / np.maximum(level, 1e-12)).max(axis=1)
        return ratio

    return score


def _rms(windows: F32) -> F64:
    centred = windows - windows.mean(axis=1, keepdims=True)
    rms: F64 = np.sqrt(np.square(centred).mean(axis=1, dtype=np.float64))
    return rms


def fit_t2_q(healthy: F32, explained: float = 0.95) -> Callable[[F32], F64]:
    """Hotelling's T-squared and the residual Q of a principal component model, the larger counting.

    The model is of the window means of each axis, standardised; both statistics are divided by their healthy means so
    that they can be compared. Source: Jackson & Mudholkar 1979; Kourti & MacGregor 1995.

    Args:    healthy: (k, window, axes). explained: share of variance that the kept components explain.
    Returns: windows (m, window, axes) to scores (m,), about 1 when healthy.
    """
    means = healthy.mean(axis=1, dtype=np.float64)
    centre, scale = means.mean(axis=0), np.maximum(means.std(axis=0), 1e-9)
    _, singular, vt = np.linalg.svd((means - centre) / scale, full_matrices=False)
    variance = singular**2 / max(1, len(means) - 1)
    kept = int(np.searchsorted(np.cumsum(variance) / max(variance.sum(), 1e-12), explained)) + 1
    axes, variances = vt[:kept], np.maximum(variance[:kept], 1e-9)

    def statistics(windows: F32) -> tuple[F64, F64]:
        z = (windows.mean(axis=1, dtype=np.float64) - centre) / scale
        t = z @ axes.T
        residual = z - t @ axes
        return (t**2 / variances).sum(axis=1), (residual**2).sum(axis=1)

    t2_level, q_level = (np.maximum(s.mean(), 1e-9) for s in statistics(healthy))

    def score(windows: F32) -> F64:
        t2, q = statistics(windows)
        worse: F64 = np.maximum(t2 / t2_level, q / q_level)
        return worse

    return score


def fit_mahalanobis(healthy: F32, extract: Callable[[F32], F32], shrinkage: float = 0.1) -> Callable[[F32], F64]:
    """Mahalanobis distance of a window's features, with the covariance shrunken towards a multiple of the identity.

    Features are standardised first. Source: Mahalanobis 1936; Ledoit & Wolf 2004 for the form of the shrinkage.

    Args:    healthy: (k, window, axes). extract: windows to features (k, features). shrinkage: share of the identity.
    Returns: windows (m, window, axes) to distances (m,), about 1 when healthy.
    """
    features = extract(healthy).astype(np.float64)
    centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    covariance = np.atleast_2d(np.cov((features - centre) / scale, rowvar=False))
    size = len(covariance)
    target = np.trace(covariance) / size * np.eye(size)
    inverse = np.linalg.inv((1.0 - shrinkage) * covariance + shrinkage * target)

    def score(windows: F32) -> F64:
        z = (extract(windows) - centre) / scale
        distance: F64 = np.sqrt(np.maximum(np.einsum("kf,fg,kg->k", z, inverse, z, optimize=True) / size, 0.0))
        return distance

    return score
