"""Normalisation layers: put them into a model, tell them the domain, recalibrate them."""

from uan_da.norms.convert import Conversion, Replacement, convert_norm
from uan_da.norms.diagnostics import ClusterReport, DeadClusterWarning, diagnose
from uan_da.norms.domain import DomainNorm, domain_context
from uan_da.norms.recalibrate import frozen_statistics, recalibrate
from uan_da.norms.uan.conversion import to_batch_norm
from uan_da.norms.uan.layer import UAN, UAN1d, UAN2d, UAN3d

__all__ = [
    "UAN",
    "ClusterReport",
    "Conversion",
    "DeadClusterWarning",
    "DomainNorm",
    "Replacement",
    "UAN1d",
    "UAN2d",
    "UAN3d",
    "convert_norm",
    "diagnose",
    "domain_context",
    "frozen_statistics",
    "recalibrate",
    "to_batch_norm",
]
