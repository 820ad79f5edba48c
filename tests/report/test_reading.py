import pytest

from theodolite.experiments.survey.page import survey_listing
from theodolite.experiments.survey.reading import brittle_definition, reading


def test_two_sentences_carry_the_numbers_of_the_run(make_run):
    content = survey_listing(make_run(samples=16, model="taesd"))
    first, second = reading(content)
    assert first.startswith("Around the 16 latents surveyed, the decoder of taesd changes lengths ")
    rank = content.quantity("local_rank").summarised(3)["median"]
    assert f"about {rank} of 64 latent dimensions (entropy rank)." in first
    least, most = content.order.places[0], content.order.places[-1]
    for index in (least, most):
        assert f"{content.quantity('curvature').at(index)} ({content.samples[index].file})" in second
    assert "well-separated samples differ" in second


def test_a_factor_with_a_large_error_is_not_stated(make_run):
    content = survey_listing(make_run(samples=16))
    quantity = content.quantity("local_scaling_per_dimension")
    object.__setattr__(quantity, "summary", {**quantity.summary, "median": -6.0, "median_stderr": 4.0})
    first, _ = reading(content)
    assert "changes lengths by a factor that this budget does not tell (1e-06 to 6e+00)" in first


@pytest.mark.parametrize(("high", "words"), [(1.15, "their order is uncertain"), (1.3, "close samples cannot be put")])
def test_a_spread_within_the_errors_is_called_uncertain(make_run, high, words):
    content = survey_listing(make_run(samples=9, quantities=("axis_rotation", "leading_singular_value"), flagged=False))
    quantity = content.order.quantity
    summary = {**quantity.summary, "low": 1.0, "high": high, "median_stderr": 0.1}
    object.__setattr__(quantity, "summary", summary)
    first, second = reading(content)
    assert first == "Around the 9 latents surveyed, the median of axis rotation is " + first.split(" is ")[1]
    assert words in second


def test_a_sentence_that_starts_with_the_directions_names_the_map(make_run):
    first = reading(survey_listing(make_run(samples=9, quantities=("local_rank",))))[0]
    assert first.startswith("Around the 9 latents surveyed, the decoder of ")
    assert " spreads its response over about " in first


def test_one_sample_makes_no_claim_about_differences(make_run):
    content = survey_listing(make_run(samples=1))
    first, second = reading(content)
    assert first.startswith("Around the one latent surveyed, ")
    assert "quartiles" not in first
    assert second == "With a single sample nothing can be said about how samples differ."


@pytest.mark.parametrize("samples", [0, 3])
def test_nothing_measured_is_said(make_run, samples):
    content = survey_listing(make_run(samples=samples, quantities=("curvature",), nothing=("curvature",)))
    expected = (
        "No sample has been measured yet."
        if samples == 0
        else ("Around the 3 latents surveyed, no quantity came out as a finite number.")
    )
    assert reading(content) == [expected]
    assert brittle_definition(content) == ""


FAILED = {"passed": False, "first_order_holds": False, "second_order_holds": True, "message": "JVP is wrong"}


def test_a_failed_self_check_lets_nothing_be_read_off(make_run):
    expected = ["No number of this report can be read as geometry: JVP is wrong."]
    assert reading(survey_listing(make_run(samples=6, self_check=FAILED))) == expected
    second = {**FAILED, "first_order_holds": True, "second_order_holds": False}
    assert len(reading(survey_listing(make_run("second", samples=6, self_check=second)))) == 2


def test_curvature_in_the_table_is_not_called_unmeasured(make_run):
    names = ("curvature", "leading_singular_value")
    content = survey_listing(make_run(samples=3, quantities=names, nothing=("curvature",)))
    assert "Curvature, the better guide, has no value that can be ranked here." in brittle_definition(content)


def test_brittle_is_defined_by_what_was_measured(make_run):
    assert "high curvature" in brittle_definition(survey_listing(make_run(samples=2)))
    other = survey_listing(make_run("other", samples=2, quantities=("leading_singular_value",)))
    assert "Curvature, the better guide, was not measured." in brittle_definition(other)
