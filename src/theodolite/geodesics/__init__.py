"""Shortest curves, in any metric field and in the pullback metric of a decoder."""

from theodolite.geodesics.curves import Geodesic
from theodolite.geodesics.decoder import decoded_length, decoder_geodesic
from theodolite.geodesics.metric_geodesic import curve_length, geodesic
from theodolite.geodesics.phase_curves import PhaseCurve, phase_curves
from theodolite.geodesics.shooting import Shot, shoot

__all__ = [
    "Geodesic",
    "PhaseCurve",
    "Shot",
    "curve_length",
    "decoded_length",
    "decoder_geodesic",
    "geodesic",
    "phase_curves",
    "shoot",
]
