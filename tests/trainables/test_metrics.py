from dataclasses import asdict, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainables.data.tiles import IGNORE
from trainables.metrics import class_iou, class_pixels, confusion, constant_scores, scores, tile_values

TRUTH = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], np.uint8)
PREDICTION = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], np.uint8)
EMPTY = np.zeros((4, 4), np.uint8)


def score(prediction: np.ndarray, truth: np.ndarray, num_classes: int = 2):
    return scores([confusion(prediction, truth, num_classes)])


def masks(num_classes: int):
    return arrays(np.uint8, (4, 4), elements=st.integers(0, num_classes - 1))


def truths(num_classes: int):
    return arrays(np.uint8, (4, 4), elements=st.sampled_from([*range(num_classes), IGNORE]))


def test_confusion_counts_truth_in_rows_and_prediction_in_columns_without_ignored_pixels():
    assert confusion(PREDICTION, TRUTH, 2).tolist() == [[9, 2], [2, 3]]
    three = confusion(np.array([[0, 2], [2, 1]], np.uint8), np.array([[0, 1], [2, 2]], np.uint8), 3)
    assert three.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]
    truth = TRUTH.copy()
    truth[0] = IGNORE
    assert confusion(PREDICTION, truth, 2).tolist() == [[8, 1], [2, 1]]
    assert confusion(PREDICTION, np.full_like(TRUTH, IGNORE), 2).sum() == 0


def test_scores_average_binary_tiles_and_do_not_pool_them():
    big_truth, big_prediction = np.ones((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    big_prediction[:2] = 1  # 16 of 64
    result = scores([confusion(PREDICTION, TRUTH, 2), confusion(big_prediction, big_truth, 2)])
    assert result.iou == pytest.approx(float((Fraction(3, 7) + Fraction(1, 4)) / 2))
    assert result.f1 == pytest.approx(float((Fraction(6, 10) + Fraction(2, 5)) / 2))
    assert result.tile_iou == pytest.approx((3 / 7, 1 / 4))


def test_scores_pool_classes_over_tiles_and_do_not_average_them():
    # Counted over both tiles together; class 3 occurs nowhere
    truth = [np.array([[0, 0], [1, 1]], np.uint8), np.array([[1, 2], [2, 2]], np.uint8)]
    prediction = [np.array([[0, 0], [1, 0]], np.uint8), np.array([[2, 2], [2, 2]], np.uint8)]
    result = scores([confusion(p, t, 4) for p, t in zip(prediction, truth, strict=True)])
    # hits 2, 1, 3; pixels in truth or prediction 3, 3, 4
    assert result.iou == pytest.approx(float((Fraction(2, 3) + Fraction(1, 3) + Fraction(3, 4)) / 3))
    assert result.f1 == pytest.approx(float((Fraction(4, 5) + Fraction(1, 2) + Fraction(6, 7)) / 3))
    assert result.class_iou == pytest.approx((2 / 3, 1 / 3, 3 / 4, np.nan), nan_ok=True)
    assert result.accuracy == 6 / 8
    # each tile by itself: (2/3, 1/2) and (0, 3/4)
    assert result.tile_iou == pytest.approx((float(Fraction(7, 12)), float(Fraction(3, 8))))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_scores_of_all_ignored_tiles_are_no_number(num_classes):
    result = score(EMPTY, np.full((4, 4), IGNORE, np.uint8), num_classes)
    assert np.isnan([result.iou, result.f1, *result.tile_iou, result.accuracy, *result.class_iou]).all()
    label, constant = constant_scores([np.full((4, 4), IGNORE, np.uint8)], num_classes)
    assert np.isnan(constant.iou)
    assert 0 <= label < num_classes


@pytest.mark.parametrize("num_classes", [2, 3])
@given(data=st.data())
def test_scores_are_the_same_with_an_ignored_tile_among_the_others(num_classes, data):
    pairs = data.draw(st.lists(st.tuples(masks(num_classes), truths(num_classes)), min_size=1, max_size=3))
    place, claimed = data.draw(st.integers(0, len(pairs))), data.draw(masks(num_classes))
    void = (claimed, np.full((4, 4), IGNORE, np.uint8))
    found = scores([confusion(*pair, num_classes) for pair in pairs])
    more = scores([confusion(*pair, num_classes) for pair in (*pairs[:place], void, *pairs[place:])])
    assert np.isnan(more.tile_iou[place])
    others = more.tile_iou[:place] + more.tile_iou[place + 1 :]
    np.testing.assert_equal(asdict(replace(more, tile_iou=others)), asdict(found))


@given(prediction=masks(2), truth=truths(2).filter(lambda truth: (truth != IGNORE).any()))
def test_scores_of_a_binary_tile_are_those_of_sets(prediction, truth):
    claimed = set(np.flatnonzero((prediction == 1) & (truth != IGNORE)))
    real = set(np.flatnonzero(truth == 1))
    result = score(prediction, truth)
    expected = Fraction(len(claimed & real), len(claimed | real)) if claimed | real else Fraction(1)
    assert result.iou == pytest.approx(float(expected), abs=1e-15)
    assert result.f1 == pytest.approx(2 * result.iou / (1 + result.iou))


@given(prediction=masks(3), truth=truths(3))
def test_scores_are_symmetric_in_the_order_of_classes(prediction, truth):
    order = np.array([2, 0, 1], np.uint8)
    renamed = np.where(truth == IGNORE, IGNORE, order[np.minimum(truth, 2)]).astype(np.uint8)
    assert score(order[prediction], renamed, 3).iou == pytest.approx(score(prediction, truth, 3).iou, nan_ok=True)


@pytest.mark.parametrize("num_classes", [2, 5])
@given(data=st.data())
def test_constant_scores_are_those_of_a_constant_prediction(num_classes, data):
    truth = data.draw(st.lists(truths(num_classes), min_size=1, max_size=4))
    label, result = constant_scores(truth, num_classes)
    every = [
        scores([confusion(np.full(mask.shape, constant), mask, num_classes) for mask in truth])
        for constant in range(num_classes)
    ]
    assert label == int(np.argmax([found.iou for found in every]))
    np.testing.assert_equal(asdict(result), asdict(every[label]))  # NaN where a class is nowhere


# Per class, by hand: truth 3 of class 0, 2 of class 1, none of class 2; class 3 in neither

MATRIX = np.array([[2, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_class_iou_by_hand_leaves_out_what_is_nowhere():
    assert class_iou(MATRIX).tolist()[:3] == pytest.approx([2 / 4, 1 / 2, 0.0])
    assert np.isnan(class_iou(MATRIX)[3])
    found = scores([MATRIX])
    assert found.iou == pytest.approx((2 / 4 + 1 / 2 + 0) / 3)
    assert found.accuracy == 3 / 5
    assert found.class_iou[:3] == pytest.approx((0.5, 0.5, 0.0))


def test_class_pixels_count_every_class_and_what_is_ignored_and_tile_values_have_none_for_a_tile_without_a_score():
    masks = [np.array([[0, 1], [1, IGNORE]], np.uint8), np.array([[2, 2, IGNORE]], np.uint8)]
    assert class_pixels(masks, 4) == ([1, 2, 2, 0], 2)
    assert tile_values(["a", "b"], (0.25, float("nan"))) == {"a": 0.25, "b": None}
