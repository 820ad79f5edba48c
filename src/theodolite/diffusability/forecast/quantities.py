"""The words of forecasts: what their numbers are called, what may be done about a part, and what is proven."""

from __future__ import annotations

from collections.abc import Mapping

from theodolite.estimates.quantity import Quantity

__all__ = ["NOTES", "PARTS", "QUANTITIES", "REMEDIES"]

_HERE = "derived here; docs/prediction.md"

QUANTITIES: Mapping[str, Quantity] = {
    own.name: own
    for own in (
        Quantity(
            name="forecast",
            label="Forecast of gFD / V",
            formula="rFD / V + exp(a + b log ν + c LDS)",
            source=_HERE,
            meaning="Fréchet distance of samples of a small reference training, over the variance V of the images' "
            "features",
        ),
        Quantity(
            name="forecast_ratio",
            label="Forecast over the best",
            formula="gFD / gFD of the model that is first",
            source=_HERE,
            meaning="1 for the model with the lowest forecast at the largest budget",
        ),
        Quantity(
            name="forecast_order",
            label="Probability of the forecast order",
            source=_HERE,
            meaning="that the first of two models comes out with the lower gFD",
        ),
        Quantity(
            name="forecast_pair",
            label="Ratio of forecasts",
            formula="gFD of the second model / gFD of the first",
            source=_HERE,
            meaning="above 1 where the first comes out better",
        ),
        Quantity(
            name="forecast_thrown",
            label="Thrown away",
            formula="rFD / gFD",
            source=_HERE,
            meaning="the part of the forecast that reconstructions lack already, which no training brings back",
        ),
        Quantity(
            name="forecast_better",
            label="With the best part",
            formula="forecast with a part as good as the best model's / forecast",
            source=_HERE,
            meaning="by the formula alone: nothing was trained to see that changing a part has this effect",
        ),
        Quantity(
            name="trained",
            label="Trained, gFD / V",
            source="reference training, theodolite.diffusability.trainer",
            meaning="what samples of a small flow model came to, a mean over seeds of its logarithm",
        ),
        Quantity(
            name="trained_ratio",
            label="Trained, over the first",
            source="reference training, theodolite.diffusability.trainer",
            meaning="over that of the model that the forecast puts first",
        ),
        Quantity(
            name="trained_run",
            label="One training, gFD / V",
            source="reference training, theodolite.diffusability.trainer",
            meaning="of one seed; its error is that of finitely many samples",
        ),
        Quantity(
            name="trained_rfd",
            label="Reconstructions beside it, rFD / V",
            source="reference training, theodolite.diffusability.trainer",
            meaning="of as many reconstructions as there are samples",
        ),
        Quantity(
            name="floor_v",
            label="Floor of the velocity loss",
            formula="1/m ∫ MMSE(σ²) / σ² dσ",
            source="Zhong et al. 2026 (arXiv 2606.03578); for any law derived here",
            meaning="no network gets below it, per entry; described, and no part of the forecast",
        ),
    )
}
"""One number a model and budget, or a pair of models."""

PARTS: Mapping[str, str] = {
    "thrown": "reconstruction",
    "nu": "directions",
    "lds": "spatial order",
    "log_m": "entries",
    "local_predictability": "spatial order",
}
"""What the parts of a forecast are called."""

REMEDIES: Mapping[str, str] = {
    "thrown": "keep more of the image: more entries, less noise or KL, a longer training of the autoencoder",
    "nu": "fewer directions: fewer entries a latent, or a weight that lets the decoder drop some",
    "lds": "feature maps in which near places are more alike than far ones",
    "log_m": "fewer entries a latent",
    "local_predictability": "feature maps in which a place tells more of its neighbours",
}
"""What moves a part. Parts pull against each other: fewer entries usually throw more away."""

NOTES: Mapping[str, str] = {
    "Forecast": "What small flow models came to in the latent spaces of the prediction study, as a function of "
    "reconstruction, the decoder's local rank ν and spatial order (LDS). It says nothing of other networks or longer "
    "trainings.",
    "Interval of the forecast": "From latent spaces whose shape the coefficients had not seen, and the errors of the "
    "inputs over sources. Outside of what was calibrated it is that of the fit, and may be too narrow.",
}
"""Terms that are no quantities."""
