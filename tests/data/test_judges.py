"""Judges of images: logits, several attributes, plain scores, and answers that are none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite.data.judges import Judge, judge_of
from theodolite.errors import InputError

IMAGES = torch.zeros(2, 1, 4, 4)
LOGITS = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])


def answering(answer):
    return Judge(lambda images: answer, "mine")


def test_the_likeliest_class_is_its_own_judge():
    said = answering(LOGITS).verdict(IMAGES)
    torch.testing.assert_close(said.score, LOGITS.double().softmax(-1).amax(-1))
    assert said.classes == ("1", "0")


def test_a_class_that_was_asked_for_is_judged_by():
    said = answering(LOGITS).verdict(IMAGES, 2)
    torch.testing.assert_close(said.score, LOGITS.double().softmax(-1)[:, 2])
    assert said.classes == ("1", "0")
    torch.testing.assert_close(answering(LOGITS).verdict(IMAGES, 3).score, answering(LOGITS).verdict(IMAGES).score)


def test_several_attributes_multiply_and_the_first_names_the_class():
    colour = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    judge = answering((LOGITS, colour))
    judge.function.classes_of = lambda condition: [1, 0] if condition == "b-red" else None
    judge.function.classes = ("a", "b", "c")
    said = judge.verdict(IMAGES, "b-red")
    torch.testing.assert_close(said.score, LOGITS.double().softmax(-1)[:, 1] * colour.double().softmax(-1)[:, 0])
    assert said.classes == ("b", "a")
    both = LOGITS.double().softmax(-1).amax(-1) * colour.double().softmax(-1).amax(-1)
    torch.testing.assert_close(judge.verdict(IMAGES, "nothing known").score, both)


@pytest.mark.parametrize("answer", [torch.tensor([0.3, -2.0]), torch.tensor([[0.3], [-2.0]])])
def test_scores_have_no_class(answer):
    said = answering(answer).verdict(IMAGES, 1)
    assert (said.score.tolist(), said.classes) == (pytest.approx([0.3, -2.0]), None)


def test_the_classifier_of_the_zoo_is_a_judge_and_knows_conditions():
    from theodolite.zoo import coloured_digits

    judge = judge_of("theodolite.zoo:digit_classifier")
    images, _ = coloured_digits((3, "green"), 6, held_out=True, generator=0)
    right, wrong = (judge.verdict(images, condition).score for condition in ((3, "green"), (8, "red")))
    assert float(right.min()) > 0.5 > float(wrong.max())
    assert set(judge.verdict(images).classes) == {"3"}


@pytest.mark.parametrize("answer", [torch.zeros(3, 2), torch.zeros(2, 2, 2), "good", (LOGITS, torch.zeros(2))])
def test_other_answers_are_refused(answer):
    with pytest.raises(InputError, match="judge mine expected to return logits"):
        answering(answer).verdict(IMAGES)


def test_what_is_no_judge_is_refused():
    with pytest.raises(InputError, match="got NaN or infinity"):
        answering(torch.tensor([[0.0, float("nan")], [0.0, 1.0]])).verdict(IMAGES)
    with pytest.raises(InputError, match=r"failed on \(2, 1, 4, 4\)"):
        Judge(lambda images: images @ images.new_zeros(3, 3), "mine").verdict(IMAGES)
    with pytest.raises(InputError, match=r"package\.module:factory expected"):
        judge_of("nothing")
    with pytest.raises(InputError, match="eval mode"):
        judge_of(nn.Linear(2, 2))
    with pytest.raises(InputError, match="callable on images"):
        judge_of("math:factorial.__doc__.strip")
