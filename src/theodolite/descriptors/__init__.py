"""Local geometry of a map at a latent, by name."""

from theodolite.descriptors.chart import Chart
from theodolite.descriptors.complexity import local_complexity
from theodolite.descriptors.curvature import curvature
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.detail import detail_energy
from theodolite.descriptors.effort import EFFORTS, Effort
from theodolite.descriptors.hotspots import HotspotMaps, hotspot_maps
from theodolite.descriptors.leading import leading_singular_value
from theodolite.descriptors.locations import LocationField, LocationMap, location_map
from theodolite.descriptors.rank import local_rank
from theodolite.descriptors.registry import REGISTRY
from theodolite.descriptors.rotation import axis_rotation
from theodolite.descriptors.scaling import local_scaling

__all__ = [
    "EFFORTS",
    "REGISTRY",
    "Chart",
    "Descriptor",
    "Effort",
    "HotspotMaps",
    "LocationField",
    "LocationMap",
    "Quantity",
    "axis_rotation",
    "curvature",
    "detail_energy",
    "hotspot_maps",
    "leading_singular_value",
    "local_complexity",
    "local_rank",
    "local_scaling",
    "location_map",
]
