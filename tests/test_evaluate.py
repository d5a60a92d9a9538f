"The molecule measures against a second, plain way to each of them, on random tables."
import math
import warnings
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4smlm.core import make_emitters
from dl4smlm.evaluate import challenge, evaluate, match, outcomes, score_curve

FIELD, RADIUS = (1200, 1600), 250
# Whole numbers, so that equal distances are frequent and exact, and points fall on the border and on the radius.
molecule = st.tuples(st.integers(0, 2), st.sampled_from(range(0, 1601, 100)), st.sampled_from(range(0, 1201, 100)),
                     st.sampled_from(range(100, 2601, 500)))
molecules = st.lists(molecule, max_size=14)


def table(rows):
    "A table of emitters from rows of frame, x, y and photons."
    return make_emitters(*np.array(rows, dtype=float).reshape(-1, 4).T)


def pair_up(found, truth):
    "Follow the words of the protocol: the smallest distance of all, strike out both, again."
    pairs, found, truth = [], dict(enumerate(found)), dict(enumerate(truth))
    while True:
        choices = [(math.dist(a[1:3], b[1:3]), j, i)
                   for i, a in found.items() for j, b in truth.items() if a[0] == b[0]]
        if not choices or min(choices)[0] > RADIUS: return pairs
        _, j, i = min(choices)
        pairs.append((found.pop(i), truth.pop(j)))


def protocol(found, truth, border, min_photons):
    "True positives, false positives, false negatives and the sum of squared distances, in plain Python."
    def inside(row): return border == 0 or all(border < p < size - border for p, size in zip(row[1:3], FIELD[::-1]))
    found, truth = [row for row in found if inside(row)], [row for row in truth if inside(row)]
    pairs = pair_up(found, truth)
    kept = [(a, b) for a, b in pairs if b[3] > min_photons]
    dim = sum(row[3] <= min_photons for row in truth)
    squares = sum((a[1] - b[1])**2 + (a[2] - b[2])**2 for a, b in kept)
    return len(kept), len(found) - len(pairs), len(truth) - dim - len(kept), squares


@settings(max_examples=100, deadline=None)
@given(molecules, molecules, st.sampled_from([0, 300, 450]), st.sampled_from([0, 600, 1100]))
def test_protocol_in_plain_python(found, truth, border, min_photons):
    hits, invented, missed, squares = protocol(found, truth, border, min_photons)
    if truth and not hits + missed:
        with pytest.raises(ValueError, match="no emitter is left"):
            evaluate(table(found), table(truth), RADIUS, border, FIELD, min_photons)
        return
    scores = evaluate(table(found), table(truth), RADIUS, border, FIELD, min_photons)
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (hits, invented, missed)
    if not hits: assert math.isnan(scores.rmse_nm) and math.isnan(scores.efficiency)
    else:
        jaccard, rmse = 100*hits/(hits + invented + missed), math.sqrt(squares/hits)
        assert scores.rmse_nm == pytest.approx(rmse)
        assert scores.efficiency == pytest.approx(100 - math.sqrt((100 - jaccard)**2 + rmse**2))


@settings(max_examples=60, deadline=None)
@given(st.lists(molecule, max_size=5), st.lists(molecule, max_size=5))
def test_optimal_beats_every_other_way_to_pair(found, truth):
    if len(found) > len(truth): found, truth = truth, found
    def cost(a, b): return math.dist(a[1:3], b[1:3]) if a[0] == b[0] else math.inf
    def worth(partners):
        near = [d for d in map(cost, found, partners) if d <= RADIUS]
        return len(near), -round(sum(near), 6)
    best = max(worth(partners) for partners in permutations(truth, len(found)))
    pairs = match(table(found), table(truth), RADIUS, optimal=True)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    distances = [cost(found[i], truth[j]) for i, j in pairs]
    assert max(distances, default=0) <= RADIUS and (len(pairs), -round(sum(distances), 6)) == best


@settings(max_examples=30, deadline=None)
@given(molecules, molecules)
def test_greedy_finds_at_least_half_of_what_can_be_paired(found, truth):
    greedy, best = (len(match(table(found), table(truth), RADIUS, optimal)) for optimal in (False, True))
    assert best/2 <= greedy <= best


@settings(max_examples=30, deadline=None)
@given(molecules, molecules, st.sampled_from(["density", "count", "photons"]))
def test_groups_add_up_to_the_whole(found, truth, by):
    if not truth: return
    found, truth = table(found), table(truth)
    curve, scores = score_curve(found, truth, by, bins=3), evaluate(found, truth)
    assert curve["emitters"].sum() == len(truth)
    assert (curve["recall"]*curve["emitters"]).sum() == pytest.approx(scores.true_positives)


def test_a_chain_in_which_each_pair_waits_for_the_next():
    "Distances that shrink along a line: only the last pair is mutual, then the last but two, and so on."
    places = np.cumsum(np.linspace(200, 100, 400))
    found, truth = make_emitters(0, places[::2], 0.), make_emitters(0, places[1::2], 0.)
    pairs = match(found, truth)
    assert len(pairs) == 200 and (pairs[:, 0] == pairs[:, 1]).all()


def test_one_crowded_frame():
    "A frame in which everything could be paired with everything."
    rng = np.random.default_rng(0)
    truth = make_emitters(0, rng.uniform(0, 150, 300), rng.uniform(0, 150, 300))
    scores = evaluate(truth.sample(frac=1, random_state=0), truth)
    assert scores.jaccard == 1 and scores.rmse_nm == 0
    assert evaluate(truth, truth, optimal=True).rmse_nm == 0


def test_frames_far_apart_and_beyond_the_truth():
    truth = make_emitters([0, 10**7], [100.3, 200.6], [50.1, 70.2])
    scores = evaluate(pd.concat([truth, make_emitters(10**7 + 1, 200.6, 70.2)]), truth)
    assert (scores.true_positives, scores.false_positives, scores.rmse_nm) == (2, 1, 0)


def test_outcomes_keep_index_and_order_of_no_one():
    "Tables come with any index: what counts is the order of the rows."
    truth = make_emitters([0, 1, 1], [10., 20, 3000], 0.)
    found = truth.assign(x_nm=truth["x_nm"] + 5).set_index(pd.Index([7, 7, 7]))
    listed = outcomes(found, truth.set_index(pd.Index([3, 1, 2])))
    assert listed["dx_nm"].tolist() == [5, 5, 5] and listed["is_found"].all()


@pytest.mark.parametrize("optimal", [False, True])
def test_empty_tables(optimal):
    none, one = make_emitters([], [], []), make_emitters(0, 5., 5.)
    for found, truth, expected in [(none, none, (0, 0, 0)), (one, none, (0, 1, 0)), (none, one, (0, 0, 1))]:
        scores = evaluate(found, truth, 250, 1, (100, 100), optimal=optimal)
        assert (scores.true_positives, scores.false_positives, scores.false_negatives) == expected
    assert evaluate(none, none, min_photons="quartile").min_photons == 0
    assert evaluate(one, none, min_photons=500).precision == 0 and evaluate(none, none, min_photons=500).jaccard == 1


WRONG = {
    "a pandas table is needed, got list": lambda good: good.to_numpy().tolist(),
    "no column x_nm": lambda good: good.drop(columns="x_nm"),
    "x_nm has 1 values that are NaN": lambda good: good.assign(x_nm=np.nan),
    "y_nm has 1 values that are NaN or inf": lambda good: good.assign(y_nm=np.inf),
    "count from 0, got -1": lambda good: good.assign(frame=-1),
    "y_nm holds something that is not a number": lambda good: good.assign(y_nm="5"),
}


@pytest.mark.parametrize("why", WRONG)
def test_match_refuses_at_its_door_what_evaluate_refuses(why):
    good = table([(0, 100, 100, 600)])
    bad = WRONG[why](good)
    for other in (good, good[:0]):
        for tables in ((bad, other), (other, bad)):
            for pair in (match, evaluate):
                with pytest.raises(ValueError, match=why): pair(*tables)


@pytest.mark.parametrize("radius_nm", [0, -250., math.inf, math.nan, None, "250", np.array([250, 300])])
def test_match_and_evaluate_refuse_a_radius_that_is_none(radius_nm):
    good = table([(0, 100, 100, 600)])
    for tables in ((good, good), (good, good[:0])):
        for pair in (match, evaluate):
            with pytest.raises(ValueError, match="radius_nm must be a number greater than 0 and finite, got"):
                pair(*tables, radius_nm)


def test_match_takes_a_radius_of_any_kind_of_number_and_rows_of_any_number():
    found, truth = table([(0, 100, 100, 600), (1, 500, 500, 600)]).set_axis([7, 7]), table([(1, 400, 500, 600)])
    for radius_nm in (100, 100., np.float32(100), np.int64(100)):
        assert match(found, truth, radius_nm).tolist() == [[1, 0]]


def test_a_border_that_leaves_no_emitter_is_no_empty_truth():
    near_border = table([(0, 100, 100, 600), (3, 1500, 600, 600)])
    for score in (evaluate, outcomes):
        with pytest.raises(ValueError, match=r"all 2 of the truth .* 300 nm .* 1200 nm high and 1600 nm wide.*smaller"):
            score(near_border[:0], near_border, border_nm=300, field_nm=FIELD)
    with pytest.raises(ValueError, match="450 nm"): challenge(near_border, near_border, FIELD)
    nobody = evaluate(near_border, near_border[:0], border_nm=300, field_nm=FIELD)
    assert (nobody.true_positives, nobody.false_positives, nobody.jaccard) == (0, 0, 1)
    assert evaluate(near_border[:0], near_border, border_nm=90, field_nm=FIELD).recall == 0


MISTAKES = {
    "1 taken from the frames of the localizations": lambda table: table.assign(frame=table["frame"] + 1),
    "x and y of the localizations exchanged": lambda table: table.rename(columns={"x_nm": "y_nm", "y_nm": "x_nm"}),
    "the positions of the localizations times 107": lambda table: table.assign(**table[["x_nm", "y_nm"]]/107),
}


def crowd(n, frames, side, seed):
    rng = np.random.default_rng(seed)
    return make_emitters(rng.integers(0, frames, n), *rng.uniform(0, side, (2, n)))


@pytest.mark.parametrize("side", [2000, 10_000, 100_000])
@pytest.mark.parametrize("made", [names for n in (1, 2, 3) for names in combinations(MISTAKES, n)])
def test_a_table_that_is_mistaken_is_told_from_a_bad_one(side, made):
    "Frames from 1, exchanged axes, pixels, alone and together, in fields of 2 to 100 µm, a fifth missed and invented."
    truth = crowd(3000, 1000, side, seed=0)
    found = pd.concat([truth[600:], crowd(600, 1000, side, seed=1)], ignore_index=True)
    right = evaluate(found, truth)
    for name in made: found = MISTAKES[name](found)
    with pytest.warns(UserWarning, match="hardly anything fits") as said: scores = evaluate(found, truth)
    assert scores.jaccard < 0.2 and len(said) == 1 and said[0].filename == __file__
    words = str(said[0].message)
    assert {name for name in MISTAKES if name in words} == set(made)
    assert abs(float(words.split("it would be ")[1][:4]) - right.jaccard) < 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(found, truth, hint=False) == scores or math.isnan(scores.rmse_nm)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_said_of_a_table_that_is_bad_in_other_ways(seed):
    "Other places, other frames, other density, a shifted field, one place for all: no change that is tried helps."
    rng = np.random.default_rng(seed)
    truth = crowd(int(rng.integers(1, 3000)), int(rng.integers(1, 300)), 6400, seed)
    tables = [crowd(int(rng.integers(1, 5000)), 300, 6400, seed + 100),
              truth.assign(frame=rng.permutation(truth["frame"])),
              truth.assign(x_nm=truth["x_nm"] + 2000), truth.assign(x_nm=0., y_nm=0.), truth.assign(x_nm=7., y_nm=9.),
              truth.sample(frac=0.1, random_state=seed)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in tables:
            evaluate(found, truth)
            evaluate(truth, found)


@pytest.mark.parametrize("axis, words", [("y_nm", "y of the localizations taken from the height of the field"),
                                         ("x_nm", "x of the localizations taken from the width of the field")])
@pytest.mark.parametrize("late", [0, -1, 7, 250, 5000])
def test_a_table_upside_down_or_from_a_part_of_a_movie_is_told(axis, words, late):
    truth = crowd(3000, 1000, 10_000, seed=0)
    found = pd.concat([truth[600:], crowd(600, 1000, 10_000, seed=1)], ignore_index=True)
    found = found[found["frame"] >= 1].assign(frame=lambda table: table["frame"] + late)
    named = f"{abs(late)} {'taken from' if late > 0 else 'added to'} the frames of the localizations"
    for table, turned in ((found, False), (found.assign(**{axis: 10_000 - found[axis]}), True)):
        if not (late or turned): continue
        with pytest.warns(UserWarning, match="hardly anything fits") as said: evaluate(table, truth)
        assert (words in str(said[0].message), named in str(said[0].message)) == (turned, bool(late))


@pytest.mark.parametrize("seed", range(10))
def test_an_offset_is_told_where_it_is_most_of_the_error(seed):
    rng = np.random.default_rng(seed)
    truth, off = crowd(int(rng.integers(50, 3000)), 100, 6400, seed), rng.choice([-1, 1], 2)*rng.uniform(30, 60, 2)
    found = truth.assign(**{name: truth[name] + rng.normal(0, 10, len(truth)) for name in ("x_nm", "y_nm")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = evaluate(found, truth)
        assert str(before) == repr(before) and repr(before).startswith("Jaccard ")
    moved = found.assign(x_nm=found["x_nm"] + off[0], y_nm=found["y_nm"] + off[1])
    with pytest.warns(UserWarning, match="nearly all of the error is an offset") as said: evaluate(moved, truth)
    advice = str(said[0].message).split("with found.assign")[1].split(" the RMSE")[0]
    assert evaluate(eval(f"found.assign{advice}", {"found": moved}), truth).rmse_nm < before.rmse_nm + 0.1


def test_a_hint_does_not_mind_rows_of_any_number_nor_whole_numbers():
    truth = crowd(200, 50, 6400, seed=0).round().astype(int)
    found = truth.assign(frame=truth["frame"] + 1).set_axis([7]*len(truth))
    with pytest.warns(UserWarning, match="1 taken from the frames"): evaluate(found, truth)


def test_the_challenge_refuses_a_movie_larger_than_its_own_and_hints_once():
    truth = crowd(2000, 100, 12_800, seed=0).assign(photons=np.arange(2000.))
    for score in (challenge, lambda a, b: evaluate(a, b, border_nm=450, field_nm=(6400, 6400))):
        with pytest.raises(ValueError, match="of the 2000 emitters lie outside of a field 6400 nm high"):
            score(truth, truth)
    assert challenge(truth, truth, (12_800, 12_800))[0].jaccard == 1
    with pytest.warns(UserWarning, match="hardly anything fits") as said:
        challenge(truth.assign(frame=truth["frame"] + 1), truth, (12_800, 12_800))
    assert len(said) == 1
