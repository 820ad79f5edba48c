import numpy as np
import pytest

from theodolite.experiments.survey.page import survey_listing
from theodolite.report import samples as module


def test_curvature_orders_the_samples_and_undetermined_ones_stay_out(make_run):
    run = make_run(samples=11)
    content = survey_listing(run)
    assert content.order is not None
    assert content.order.quantity.name == "curvature"
    values = content.quantity("curvature").values
    assert list(content.order.places) == np.argsort(values).tolist()
    ends = content.order.positions[[content.order.places[0], content.order.places[-1]]]
    np.testing.assert_allclose(ends, [0.0, 1.0])
    rotation = content.quantity("axis_rotation")
    assert rotation.usable.tolist() == [index % 5 != 1 for index in range(11)]


def test_without_curvature_the_leading_singular_value_orders_them(make_run):
    content = survey_listing(make_run(quantities=("local_rank", "leading_singular_value")))
    assert content.order.quantity.name == "leading_singular_value"
    assert survey_listing(make_run("other", quantities=("local_rank",))).order is None
    nan = survey_listing(make_run("nan", quantities=("curvature", "leading_singular_value"), nothing=("curvature",)))
    assert nan.order.quantity.name == "leading_singular_value"


def test_variants_know_their_family(make_run):
    content = survey_listing(make_run(samples=2))
    families = {item.name: item.family for item in content.quantities}
    assert families["curvature_leading"] == "curvature"
    assert families["local_scaling_per_dimension"] == "local_scaling_per_dimension"
    assert families["local_rank_p2"] == "local_rank"
    assert families["local_rank"] == "local_rank"


def test_values_pictures_and_files_belong_to_their_sample(make_run):
    run = make_run(samples=4, names=("zebra.png",))
    content = survey_listing(run)
    assert [sample.file for sample in content.samples] == ["zebra.png", "crop_001.png", "crop_002.png", "crop_003.png"]
    assert all(sample.image.startswith("data:image/png;base64,") for sample in content.samples)
    np.testing.assert_array_equal(content.quantity("local_rank").values, run.column("local_rank")["value"])
    assert content.flagged == {"lower-bound": 1, "truncated": 1, "undetermined": 1}


def test_a_large_run_is_listed_at_even_steps_and_summarised_whole(make_run, monkeypatch):
    monkeypatch.setattr(module, "MOST_SAMPLES", 5)
    monkeypatch.setattr(module, "AT_EACH_END", 1)
    run = make_run(samples=12)
    content = survey_listing(run)
    curvature = run.column("curvature")["value"]
    listed = {0, 3, 6, 9, int(curvature.argmin()), int(curvature.argmax())}
    assert content.count == 12
    assert [sample.id for sample in content.samples] == [f"sample_{index:03d}" for index in sorted(listed)]
    assert content.quantity("local_rank").summary["count"] == 12
    assert content.quantity("curvature").values.max() == curvature.max()


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_the_colour_scale_is_logarithmic_only_over_a_wide_range(make_run, monkeypatch, spread):
    run = make_run(samples=3, quantities=("curvature",), flagged=False)
    values = np.array([1.0, 1.0 * spread**0.5, spread])
    monkeypatch.setattr(
        type(run),
        "column",
        lambda self, name: {
            "unit": np.array(run.units),
            "value": values,
            "stderr": np.full(3, 0.1),
            "status": np.array(["ok"] * 3),
        },
    )
    found = survey_listing(run).order
    assert found.logarithmic is (spread > 30)
    np.testing.assert_allclose(found.positions, [0.5] * 3 if spread == 1.0 else [0.0, 0.5, 1.0])
