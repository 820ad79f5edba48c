"""The block of scores: kinds that there are, numbers where they are, and contact sheets in order."""

from __future__ import annotations

from types import SimpleNamespace

from PIL import Image

from theodolite.report import page as kit
from theodolite.report.pictures import contact_sheets
from theodolite.report.scored import Scored, aurocs_of, aurocs_over_levels, in_words, kinds_of, score_table

SCORES = [Scored("gain", "Gain", "descriptor", "‖J‖"), Scored("norm", "Norm", "baseline")]
ROW = {"value": 0.75, "stderr": 0.1, "low": 0.5, "high": 0.875, "n": 9, "status": "ok"}


def of_gain(quantity, score):
    return ROW if (quantity, score) == ("auroc", "gain") else None


def test_the_legend_has_only_the_kinds_that_there_are():
    assert [word for _, _, word in kinds_of(SCORES).marks] == ["descriptor", "baseline"]
    assert [word for _, _, word in kinds_of(SCORES[1:]).marks] == ["baseline"]


def test_the_figure_says_the_numbers_that_there_are():
    figure = aurocs_of(SCORES, "AUROC", lambda name: of_gain("auroc", name))
    assert figure.label == "AUROC: Gain 0.750"
    assert len(figure.draw().data) == 1


def test_a_score_without_levels_is_dotted_and_flat():
    def rate(name, sigma):
        return ROW if (name == "norm") == (sigma is None) else None

    legend, figure = aurocs_over_levels(SCORES, [0.1, 0.4], rate)
    assert [(dash, word) for _, dash, word in legend.marks] == [("solid", "Gain"), ("dot", "Norm")]
    assert {
        trace.y[0] for trace in figure.draw().data if trace.name != "" and trace.y is not None and len(trace.y)
    } == {0.75}


def test_the_table_asks_for_each_column_by_its_name():
    columns = {kit.Column("auroc"): kit.interval_cell, kit.Column("above"): kit.cell}
    own = {("above", "norm"): kit.Cell("3 of 9", 3)}
    first, second = score_table("scores", SCORES, of_gain, columns, "", own).body
    assert [str(cell) for cell in first.cells] == ["Gain", "0.75 (0.50 to 0.88)", "–"]
    assert [str(cell) for cell in second.cells] == ["Norm", "–", "3 of 9"]


def test_an_interval_in_words_is_not_made_up():
    assert in_words(ROW) == "0.75 (95 % interval 0.50 to 0.88)"
    assert in_words({**ROW, "low": None}) == "0.75 (without an interval that can be told)"


def test_contact_sheets_are_in_order_with_both_ends(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "one.png")
    run = SimpleNamespace(picture=lambda unit: tmp_path / "one.png")
    values = {f"s{n}": 0.0 - n for n in range(40)}
    ((label, pictures),) = contact_sheets(run, {"Gain": values, "Norm": {"s0": 1.0}}).rows
    shown = [text.partition(":")[0] for _, text in pictures]
    assert (len(shown), shown[0], shown[-1], label) == (16, "s39", "s0", "Gain, −39 to 0")
    assert contact_sheets(run, {"Norm": {"s0": 1.0}}) is None
