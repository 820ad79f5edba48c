"""The faults that `mutants.py` plants: where each is, what stands there instead, the test that must fail with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "theodolite"


@dataclass(frozen=True)
class Mutant:
    """A fault, and the test that must fail with it.

    Attributes:
        name: the room, and what is wrong.
        file: below `src/theodolite`.
        source: text that the file holds once.
        replacement: what stands there instead.
        test: the fastest test that fails, `FILE::FUNCTION` below `tests`.
    """

    name: str
    file: str
    source: str
    replacement: str
    test: str

    def planted(self, text: str) -> str:
        """The text of the file with the fault in it."""
        return text.replace(self.source, self.replacement)

    def stale(self) -> str:
        """Why the table is out of date for this mutant; empty where it is not."""
        file, test = PACKAGE / self.file, ROOT / "tests" / self.test.partition("::")[0]
        count = file.read_text().count(self.source) if file.exists() else 0
        if count != 1:
            return f"its source is {count} times in src/theodolite/{self.file}, expected once"
        function = re.sub(r"\[.*", "", self.test.partition("::")[2])
        if not test.exists() or f"def {function}(" not in test.read_text():
            return f"no test {function} in tests/{self.test.partition('::')[0]}"
        return "" if self.source != self.replacement else "its replacement is its source"


MUTANTS = (
    Mutant(
        "estimates: half of the skewed mean", "estimates/student.py",
        "mean + third / (k * variance)", "mean + third / (2 * k * variance)",
        "estimates/test_student.py::test_the_skewed_mean_is_moved_by_the_third_moment",
    ),
    Mutant(
        "estimates: twice the skewed mean of latents", "estimates/means.py",
        "/ (2 * n * variance)", "/ (n * variance)",
        "estimates/test_means.py::test_a_skewed_mean_moves_by_half_the_third_moment",
    ),
    Mutant(
        "estimates: few groups narrow the bootstrap", "estimates/bootstrap.py",
        "(self.effective / (self.effective - 1)) ** 0.5", "((self.effective - 1) / self.effective) ** 0.5",
        "estimates/test_bootstrap.py::test_resamples_without_a_number_are_left_out",
    ),
    Mutant(
        "estimates: one degree of freedom too many", "estimates/bootstrap.py",
        "/ error, self.effective - 1)", "/ error, self.effective)",
        "estimates/test_bootstrap.py::test_the_probability_of_an_order_has_one_degree_of_freedom_less_than_groups",
    ),
    Mutant(
        "estimates: shares without Student's quantile", "estimates/roc.py",
        "plain * student_quantile(freedom) / 1.96", "plain",
        "estimates/test_roc.py::test_the_error_of_a_share_is_widened_to_students_interval",
    ),
    Mutant(
        "estimates: half the freedom of a correlation", "estimates/correlation.py",
        "student_quantile(2 * groups)", "student_quantile(groups)",
        "estimates/test_correlation.py::test_the_interval_has_twice_as_many_degrees_of_freedom_as_pairs",
    ),
    Mutant(
        "estimates: a seed that is not used", "estimates/streams.py",
        '_mix(int(generator or 0), "latent", index)', '_mix("latent", index)',
        "estimates/test_streams.py::test_purposes_latents_and_seeds_are_independent",
    ),
    Mutant(
        "maps: scaled before the mean is taken off", "maps/normalisation.py",
        "return (folded - offset) * factor", "return folded * factor - offset",
        "maps/test_normalisation.py::test_applies_the_formula_of_the_pipelines",
    ),
    Mutant(
        "maps: the slope of Heun's end at its start", "maps/samplers.py",
        "self.denoiser(ahead, self.there), self.there)", "self.denoiser(ahead, self.there), self.here)",
        "maps/test_samplers.py::test_gaussian_data_are_carried_by_the_exact_affine_flow",
    ),
    Mutant(
        "maps: DDIM that predicts noise anew from a clipped point", "maps/scheduler_sampler.py",
        '"DDIM" in name)', "False)",
        "maps/test_scheduler_sampler.py::test_every_setting_is_followed",
    ),
    Mutant(
        "maps: a sampler that is not held against the scheduler's own", "maps/scheduler_sampler.py",
        "if not apart <= _FOLLOWED:", "if apart > 1e9:",
        "maps/test_scheduler_sampler.py::test_what_cannot_be_followed_is_refused_and_not_replaced",
    ),
    Mutant(
        "maps: whole steps taken for the level between them", "maps/channels.py",
        'if self.time != "index" or math.isinf(t):', "if True:",
        "maps/test_denoiser.py::test_a_scheduler_is_never_ignored",
    ),
    Mutant(
        "maps: a wrong convention that is let pass", "maps/conventions.py",
        "if best is not declared and _is_above(worse, _APART):", "if False:",
        "maps/test_conventions.py::test_another_time_is_refused",
    ),
    Mutant(
        "maps: samples outside the data that nobody notices", "maps/sampling.py",
        "(share := _outside(sample, bounds)) <= _SHARE", "(share := _outside(sample, bounds)) <= 1",
        "maps/test_samplers.py::test_a_sample_is_looked_at_before_it_is_decoded",
    ),
    Mutant(
        "maps: noise for a flow scaled as for a diffusion", "maps/channels.py",
        "1.0 if math.isinf(t) else 1 + t**0.5", "1.0 if math.isinf(t) else (1 + t) ** 0.5",
        "maps/test_channels.py::test_standard_normal_noise_comes_to_the_model_as_it_is",
    ),
    Mutant(
        "derivatives: half of a norm's bending", "derivatives/norms.py",
        "second = -(2 * q * du", "second = -(q * du",
        "derivatives/test_repairs.py::test_both_derivatives_are_right_for_several_vectors_at_once",
    ),
    Mutant(
        "derivatives: one step for all latents", "derivatives/second_order.py",
        "squared = step.to(V).square()", "squared = step.to(V).mean().expand_as(step).square()",
        "derivatives/test_second_order.py::test_each_latent_has_a_step_of_its_own",
    ),
    Mutant(
        "derivatives: a wrong D² counts as a wrong D", "derivatives/self_check.py",
        "first_order_holds=not wrong_first", "first_order_holds=not failures",
        "derivatives/test_self_check.py::test_whether_the_second_derivative_holds_is_told_apart",
    ),
    Mutant(
        "derivatives: half of the passes", "derivatives/operator.py",
        "self.passes += len(U) * way.passes", "self.passes += len(U)",
        "derivatives/test_fallbacks.py::test_a_map_that_leaves_torch_has_its_transpose_by_differences",
    ),
    Mutant(
        "spectrum: probes as if drawn independently", "spectrum/measure.py",
        "* (d - k).clamp_min(0) / (k * (d - 1))", "/ k",
        "spectrum/test_quadrature.py::test_exact_at_full_depth",
    ),
    Mutant(
        "spectrum: the error of a square for its root", "spectrum/quadrature.py",
        "/ (2 * share).clamp_min(1e-300)", "/ share.clamp_min(1e-300)",
        "spectrum/test_quadrature.py::test_the_error_of_a_gain_is_neither_too_narrow_nor_too_wide",
    ),
    Mutant(
        "spectrum: the second value known exactly", "spectrum/leading.py",
        "separation = (self.sigma - self.second - self.second_error)", "separation = (self.sigma - self.second)",
        "spectrum/test_leading.py::test_the_square_of_the_residual_is_over_the_nearest_that_the_next_value_may_be",
    ),
    Mutant(
        "spectrum: coupled to the step before the last", "spectrum/bidiagonal.py",
        "coupling[..., -1] = self.beta[..., depth - 1]", "coupling[..., -1] = self.beta[..., depth - 2]",
        "spectrum/test_bidiagonal.py::test_the_node_at_zero_makes_one_power_more_exact",
    ),
    Mutant(
        "descriptors: half of the blur of detail", "descriptors/detail.py",
        "blur = 2 * q.sqrt()", "blur = q.sqrt()",
        "descriptors/test_detail.py::test_the_bound_holds_what_a_turned_direction_changes",
    ),
    Mutant(
        "descriptors: half of the polytope", "descriptors/complexity.py",
        "torch.cat([step, -step])", "torch.cat([step])",
        "descriptors/test_complexity.py::test_both_vertices_of_an_axis_are_visited",
    ),
    Mutant(
        "descriptors: curvature by the length", "descriptors/curvature.py",
        ".norm(dim=-1).double().square()\n    is_still", ".norm(dim=-1).double()\n    is_still",
        "descriptors/test_closed_forms.py::test_scale_laws",
    ),
    Mutant(
        "descriptors: a mean of curvature off its centre", "descriptors/curvature.py",
        ".mean(1), skewed=True)", ".mean(1))",
        "descriptors/test_curvature.py::test_the_mean_over_groups_of_directions_is_centred",
    ),
    Mutant(
        "descriptors: the axis of the centre known exactly", "descriptors/rotation.py",
        "near.angle.reshape(count, n)) + centre.angle", "near.angle.reshape(count, n))",
        "descriptors/test_rotation.py::test_the_angle_of_the_centre_is_in_the_error",
    ),
    Mutant(
        "descriptors: the scatter of a gap in the unit of its values", "descriptors/rounding.py",
        "change[1]) / sigma[0].clamp_min(_TINY)", "change[1])",
        "descriptors/test_scaling.py::test_the_scatter_has_the_units_of_its_quantities",
    ),
    Mutant(
        "descriptors: a volume per dimension, null ones too", "descriptors/scaling.py",
        "rank = (measure.dimension - null.value)", "rank = (measure.dimension - 0 * null.value)",
        "descriptors/test_scaling.py::test_a_volume_per_dimension_is_over_the_dimensions_that_are_not_null",
    ),
    Mutant(
        "descriptors: a status made better", "descriptors/modes.py",
        "tuple(worse(old, status) if bad else old", "tuple(status if bad else old",
        "descriptors/test_modes.py::test_a_flag_makes_no_status_better",
    ),
    Mutant(
        "descriptors: the noise of two draws for that of one", "descriptors/colour_draws.py",
        "/ unit).square().mean() / 2", "/ unit).square().mean()",
        "descriptors/test_colour_draws.py::test_the_noise_of_a_draw_is_half_the_square_of_the_difference_of_two",
    ),
    Mutant(
        "scores: deviations that are variances", "scores/gaussian.py",
        "self.variances.sqrt().cpu()", "self.variances.cpu()",
        "scores/test_sources.py::test_samples_have_the_moments_of_the_density",
    ),
    Mutant(
        "scores: squares of weights brought down once", "scores/mixture.py",
        "self.squares *= shrink[:, 0].square()", "self.squares *= shrink[:, 0]",
        "scores/test_mixture.py::test_references_that_come_ever_nearer_or_go_ever_farther",
    ),
    Mutant(
        "information: a median as precise as a mean", "information/estimators.py",
        "* (math.pi / 2 / len(self.flat)) ** 0.5", "* (1 / len(self.flat)) ** 0.5",
        "scores/test_mixture.py::test_the_error_of_a_median_support_is_that_of_a_median",
    ),
    Mutant(
        "information: the error of the scale halved", "information/draws.py",
        '"fir": 2 * e * F', '"fir": e * F',
        "information/test_estimators.py::test_the_error_of_a_rate_is_twice_that_of_its_information",
    ),
    Mutant(
        "information: the direction along a sphere counted across", "information/closed_forms.py",
        "rate = gain_along.square() + (D - 1) * gain_across.square()",
        "rate = gain_along.square() + D * gain_across.square()",
        "information/test_closed_forms.py::test_spheres",
    ),
    Mutant(
        "diffusability: more noise hides less", "diffusability/space.py",
        ".flip(-1).cummin(-1).values.flip(-1)", "",
        "diffusability/test_gap.py::test_more_noise_hides_no_less",
    ),
    Mutant(
        "diffusability: probes divided by their number", "diffusability/second_order.py",
        "/ (2 * (len(self.values) - 1))", "/ (2 * len(self.values))",
        "diffusability/test_penalties_dense.py::test_two_probes_give_half_of_their_sample_variance",
    ),
    Mutant(
        "diffusability: two groups tell a spread", "diffusability/gap.py",
        "if resamples.groups > 2 and", "if resamples.groups > 1 and",
        "diffusability/test_gap.py::test_too_few_sources_give_no_number",
    ),
    Mutant(
        "families: cells counted along the wrong axis", "families/metric.py",
        "rows * grid.shape[1] + columns", "rows * grid.shape[0] + columns",
        "families/test_metric.py::test_support_is_that_of_the_cell_whose_sides_need_not_be_equal_in_number",
    ),
    Mutant(
        "families: scatter counted as signal", "families/pullback.py",
        "return J @ J.mT - scatter,", "return J @ J.mT,",
        "families/test_pullback.py::test_features_of_noise_alone_have_a_metric_of_nought_in_the_mean",
    ),
    Mutant(
        "geodesics: norms of an arc the other way round", "geodesics/arc.py",
        "norms = (1 - s) * lengths[0] + s * lengths[1]", "norms = s * lengths[0] + (1 - s) * lengths[1]",
        "geodesics/test_arc.py::test_a_right_angle_is_cut_in_equal_parts_and_norms_grow_along_it",
    ),
    Mutant(
        "geodesics: a third of a length's width", "geodesics/decoder.py",
        "1.5 * (fine - coarse).abs()", "0.5 * (fine - coarse).abs()",
        "geodesics/test_decoder.py::test_the_width_of_a_path_length_holds_the_truth",
    ),
    Mutant(
        "detection: p-values of strictly larger scores", "detection/calibration.py",
        "(known >= values[:, None])", "(known > values[:, None])",
        "detection/test_calibration.py::test_a_tie_counts_against_the_sample",
    ),
    Mutant(
        "detection: errors of ratios without the power", "detection/scores.py",
        "(power * part.stderr / part.value)", "(part.stderr / part.value)",
        "detection/test_scores.py::test_the_relative_error_of_a_power_is_multiplied_by_it",
    ),
    Mutant(
        "detection: samples beside their own group", "detection/calibration.py",
        "(of[:, None] != of[None, :]) & reference", "(of[:, None] != -1) & reference",
        "detection/test_scores.py::test_departure_compares_with_other_groups_only",
    ),
    Mutant(
        "steering: a push that grows with the dimension", "steering/guidance.py",
        "gradient.flatten(1).square().mean(1)", "gradient.flatten(1).square().sum(1)",
        "steering/test_guidance.py::test_unit_gradients_have_root_mean_square_one",
    ),
    Mutant(
        "data: white of 16 bits beyond the range", "data/pixels.py",
        "values / 257", "values / 256",
        "data/test_images.py::test_sixteen_bit_grey_keeps_its_depth",
    ),
    Mutant(
        "runs: a remembered check of another model", "runs/self_checks.py",
        '"map": map.fingerprint(),', '"map": "",',
        "runs/test_self_checks.py::test_whatever_it_depends_on_makes_it_anew",
    ),
    Mutant(
        "runs: an entry of the cache that others may write", "runs/self_checks.py",
        "about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)", "about.st_mode & 0",
        "runs/test_self_checks.py::test_an_entry_that_is_damaged_or_may_be_anothers_is_none",
    ),
    Mutant(
        "runs: a unit that failed in a batch is not tried alone", "runs/conduct.py",
        'alone = self._pending(record["configuration"])', "alone = []",
        "runs/test_batches.py::test_a_unit_that_fails_costs_the_others_nothing",
    ),
    Mutant(
        "descriptors: a plan that sees the spectrum alone", "descriptors/plan.py",
        "fits and ways[0] <= (1 + _EXACT) * ways[1]", "fits and ways[0] <= ways[1] / 2",
        "descriptors/test_plan.py::test_whole_jacobians_are_taken_where_they_are_nearly_as_cheap",
    ),
    Mutant(
        "runs: the lock released early", "runs/lock.py",
        "        handle = _patiently(path)\n        yield",
        "        handle = _patiently(path)\n        fcntl.flock(handle, fcntl.LOCK_UN)\n        yield",
        "runs/test_held.py::test_the_lock_lasts_as_long_as_the_work",
    ),
    Mutant(
        "runs: an old note for a unit measured again", "runs/tables.py",
        "notes = {**merged[1], **notes}", "notes = {**notes, **merged[1]}",
        "runs/test_held.py::test_what_is_measured_once_more_counts_with_its_rows_and_its_notes",
    ),
    Mutant(
        "runs: resumed whatever the unit was", "runs/conduct.py",
        'if unit in complete and notes[unit].get("stamp") == stamp_of(self.work, unit, configuration)',
        "if unit in complete",
        "experiments/rank/test_experiment.py::test_a_model_that_changes_what_all_share_has_all_measured_again",
    ),
    Mutant(
        "runs: the unit behind a lost one is forgotten", "runs/on_ray.py",
        "            self.backlog.give_back(unit)", "            self.backlog.settle(unit)",
        "runs/test_on_ray.py::test_a_unit_whose_node_vanished_is_tried_again_and_the_next_one_has_lost_nothing",
    ),
    Mutant(
        "gate: intervals of 95 % at every level", "gate/verdict.py",
        "student_quantile(freedom, level) / student_quantile(freedom)",
        "student_quantile(freedom) / student_quantile(freedom)",
        "gate/test_checking.py::test_the_interval_of_a_mean_is_students_at_any_level",
    ),
    Mutant(
        "gate: a lower bound decides on the wrong side", "gate/evidence.py",
        'math.inf if "lower" in bounds else high', 'math.inf if "upper" in bounds else high',
        "gate/test_checking.py::test_a_bound_decides_on_its_side_alone",
    ),
    Mutant(
        "gate: the worst of many numbers breaks a bound by chance", "gate/verdict.py",
        "strict = 1 - (1 - level) / len(numbers)", "strict = level",
        "gate/test_checking.py::test_of_many_numbers_one_breaks_the_bound_if_it_is_sure_among_all",
    ),
    Mutant(
        "gate: no correction for several bounds", "gate/thresholds.py",
        "return 1 - (1 - self.sure) / len(self.bounds)", "return self.sure",
        "gate/test_thresholds.py::test_all_bounds_together_are_tested_by_bonferroni",
    ),
    Mutant(
        "loggers: tables of TensorBoard are not escaped", "loggers/loggers.py",
        'escape(" ".join(text.split()), quote=False)', '" ".join(text.split())',
        "loggers/test_loggers.py::test_a_table_for_tensorboard_is_escaped",
    ),
    Mutant(
        "explorer: an answer without the token", "explorer/server.py",
        "or not hmac.compare_digest(first, self.token) or not slash", "or not slash",
        "explorer/test_server.py::test_nothing_is_told_without_the_token",
    ),
    Mutant(
        "explorer: an answer under another host's name", "explorer/server.py",
        "if host not in self.hosts or not", "if not",
        "explorer/test_server.py::test_a_page_that_another_name_leads_to_is_refused",
    ),
    Mutant(
        "explorer: a range without its last byte", "explorer/server.py",
        "body[first : last + 1]", "body[first:last]",
        "explorer/test_server.py::test_a_table_is_read_by_ranges",
    ),
    Mutant(
        "explorer: last bytes from one too early", "explorer/server.py",
        "max(0, len(body) - int(match[2]))", "max(0, len(body) - int(match[2]) - 1)",
        "explorer/test_server.py::test_a_table_is_read_by_ranges",
    ),
    Mutant(
        "explorer: sliders reach twice as far", "explorer/turning.py",
        "reach = _REACH * z.norm()", "reach = 2 * _REACH * z.norm()",
        "explorer/test_turning.py::test_points_are_where_sliders_and_samples_lead",
    ),
    Mutant(
        "explorer: a skewed plane of three", "explorer/turning.py",
        "_number(plane.get(\"t\")) * (second - z)", "_number(plane.get(\"t\")) * (second - first)",
        "explorer/test_turning.py::test_points_are_where_sliders_and_samples_lead",
    ),
    Mutant(
        "explorer: a polygon followed past its end", "explorer/turning.py",
        "index = min(max(t, 0.0), 1.0) * (len(curve) - 1)", "index = min(max(t, 0.0), 1.0) * len(curve)",
        "explorer/test_turning.py::test_a_polygon_is_followed_at_even_steps",
    ),
    Mutant(
        "explorer: twice the error of the gain", "explorer/turning.py",
        "errors = located.gain.stderr[0] / (2 * gain)", "errors = located.gain.stderr[0] / gain",
        "explorer/test_turning.py::test_the_gain_where_one_stops_has_the_error_of_its_root",
    ),
    Mutant(
        "explorer: the change as a sum", "explorer/turning.py",
        "rms = float(change.double().square().mean().sqrt())", "rms = float(change.double().square().sum().sqrt())",
        "explorer/test_turning.py::test_the_gain_where_one_stops_has_the_error_of_its_root",
    ),
    Mutant(
        "explorer: what was not measured is ok", "explorer/frames.py",
        "states = np.full(count, -1, dtype=np.int8)", "states = np.full(count, 0, dtype=np.int8)",
        "explorer/test_frames.py::test_what_was_not_measured_has_no_status_and_what_is_no_number_keeps_its_own",
    ),
    Mutant(
        "explorer: ends of intervals are left out", "explorer/frames.py",
        "return bool(np.all(close[0] & close[1]))", "return bool(np.any(close[0] & close[1]))",
        "explorer/test_frames.py::test_intervals_are_sent_where_they_are_not_value_and_error",
    ),
    Mutant(
        "explorer: a scale of maps to the extremes", "explorer/maps.py",
        "_ENDS = (0.01, 0.99)", "_ENDS = (0.0, 1.0)",
        "explorer/test_maps.py::test_the_maps_of_hotspots_have_one_scale_over_all_samples",
    ),
    Mutant(
        "explorer: pairs with the least sure first", "explorer/views.py",
        "key=lambda pair: -_sureness(pair[\"difference\"])", "key=lambda pair: _sureness(pair[\"difference\"])",
        "explorer/test_views.py::test_pairs_come_with_the_surest_difference_first",
    ),
    Mutant(
        "explorer: a projection of uncentred latents", "explorer/views.py",
        "X = np.nan_to_num(X - X.mean(0, dtype=np.float64).astype(np.float32))", "X = np.nan_to_num(X)",
        "explorer/test_views.py::test_the_projection_keeps_the_distances_that_its_axes_span",
    ),
    Mutant(
        "detection: a diagonal of one round where it is noisy", "detection/memorisation/probe.py",
        "return 1 if self.colours == self.dimension else self.draws", "return 1",
        "detection/memorisation/test_scores.py::test_an_exact_diagonal_is_made_once_and_a_noisy_one_in_every_draw",
    ),
    Mutant(
        "detection: no condition is the condition", "detection/memorisation/probe.py",
        "if not bare or self.condition is None:", "if bare or not bare:",
        "detection/memorisation/test_scores.py::test_an_exact_diagonal_is_made_once_and_a_noisy_one_in_every_draw",
    ),
    Mutant(
        "estimates: a bounded interval without its upper bound", "estimates/bootstrap.py",
        "min(max(high, value), limits[1])", "max(high, value)",
        "estimates/test_bootstrap.py::test_no_interval_leaves_the_range_of_its_statistic",
    ),
)  # fmt: skip
"""All faults, by room."""
