"Drift is found in spite of hot pixels, with several seeds; clean tables and beads are as they were."
import warnings

import numpy as np
import pandas as pd
import pytest

from dl4smlm.core import make_emitters, make_generator
from dl4smlm.drift import _way, correct_drift, find_drift
from dl4smlm.simulate import Drift, draw_emitters, move
from dl4smlm.structures import Filaments, NuclearPores

FRAMES, BLOCKS, FIELD = 5000, 10, (6400., 6400.)
STRUCTURES = {"filaments": Filaments(8, FIELD, seed=1), "pores": NuclearPores(60, FIELD, seed=1), "none": None}


def creep(structure, seed, speed=1., density=0.05):
    "Localizations of a drifting sample, and its way, (T, 2)."
    generator, rng = make_generator(seed), np.random.default_rng(seed)
    path = Drift((0.05*speed, -0.02*speed), 0.5*speed).path(FRAMES, generator)
    table = move(draw_emitters(FRAMES, density, FIELD, structure=STRUCTURES[structure], generator=generator), path)
    x, y = (table[name] + rng.normal(0, 12, len(table)) for name in ("x_nm", "y_nm"))
    return make_emitters(table["frame"], x, y), path.numpy()


def seen_at(places, path, share, error_nm, rng):
    "What is seen at some places in a share of the frames; a path of zeros for what stands still."
    which, frame = np.nonzero(rng.random((len(places), FRAMES)) < share)
    return make_emitters(frame, *(places[which] + path[frame] + rng.normal(0, error_nm, (len(frame), 2))).T)


def hot_pixels(number, seed, share=1., error_nm=8.):
    rng = np.random.default_rng(100 + seed)
    pixels = rng.choice(np.stack(np.meshgrid(*2*[np.arange(3, 60, 3)]), -1).reshape(-1, 2), number, replace=False)
    return seen_at(100*pixels + 50., np.zeros((FRAMES, 2)), share, error_nm, rng)


def beads(number, path, seed):
    rng = np.random.default_rng(200 + seed)
    return seen_at(rng.uniform(1000, 5400, (number, 2)), path, 1., 8., rng)


def error_nm(way, path):
    left = way[["drift_x_nm", "drift_y_nm"]].to_numpy() - path
    return float((left - left.mean(0)).std())


def find(*tables):
    "The drift of tables put together, and the warnings."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        way = find_drift(pd.concat(tables, ignore_index=True), BLOCKS)
    return way, [str(warning.message) for warning in said]


@pytest.mark.parametrize("structure", ["filaments", "pores"])
@pytest.mark.parametrize("seed", range(3))
def test_hot_pixels_do_not_hold_back_the_drift(structure, seed):
    table, path = creep(structure, seed)
    alone, said = find(table)
    assert not said and error_nm(alone, path) < 6 < 0.2*error_nm(0*alone, path)
    for number, share, width in ((1, 1., 8.), (5, 1., 5.), (3, 0.3, 20.)):
        spoiled = pd.concat([table, hot_pixels(number, seed, share, width)], ignore_index=True)
        assert error_nm(_way(spoiled, FRAMES, BLOCKS, 20.), path) > 20  # as it was, without a look at places
        way, said = find(spoiled)
        assert error_nm(way, path) < error_nm(alone, path) + 1
        assert len(said) == 1
        assert said[0].startswith(f"{number} place{'s'*(number > 1)} stood still while the sample moved")
        assert len(way) == FRAMES


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("speed", [0, 0.03, 0.1, 1])
def test_beads_are_kept_whatever_the_speed(seed, speed):
    table, path = creep("none", seed, speed)
    way, said = find(table, beads(3, path, seed))
    assert error_nm(way, path) < 5
    assert all("known only by" in text for text in said) and bool(said) == (speed < 0.1)
    table, path = creep("filaments", seed, speed)
    way, said = find(table, beads(3, path, seed))
    assert error_nm(way, path) < 5 and not said


@pytest.mark.parametrize("seed", range(3))
def test_beads_are_told_from_hot_pixels(seed):
    table, path = creep("none", seed)
    way, said = find(table, beads(2, path, seed), hot_pixels(4, seed))
    assert error_nm(way, path) < 6 and len(said) == 1 and said[0].startswith("4 places stood still")


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_moves_nothing_is_left_out(seed):
    table, path = creep("pores", seed, speed=0)
    way, said = find(table, hot_pixels(3, seed))
    assert not said and error_nm(way, path) < 2


def test_a_patch_that_moves_with_the_sample_is_kept():
    table, path = creep("filaments", 0)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, FRAMES, 20_000)
    patch = make_emitters(frame, *(3000 + path[frame] + rng.uniform(-200, 200, (len(frame), 2))).T)
    way, said = find(table, patch)
    assert not said and error_nm(way, path) < 6
    way, said = find(table, patch, hot_pixels(1, 0))
    assert len(said) == 1 and error_nm(way, path) < 6


def test_hot_pixels_and_nothing_to_go_by_is_said():
    table, path = creep("none", 0)
    way, said = find(table, hot_pixels(2, 0))
    assert len(said) == 1 and "2 places" in said[0] and "wrong for hot pixels" in said[0]
    with pytest.raises(ValueError, match="do not agree"): find(table)


def test_rows_in_any_order_and_with_any_index():
    table, path = creep("filaments", 0)
    spoiled = pd.concat([table, hot_pixels(2, 0)])
    way = find(spoiled)[0]
    with pytest.warns(UserWarning, match="2 places stood still"):
        again = find_drift(spoiled.sample(frac=1, random_state=0).set_axis([7]*len(spoiled)), BLOCKS)
    np.testing.assert_allclose(again, way, atol=2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("place", [(1e6, 3000.), (3000., -1e7), (1e8, 1e8), (1e12, 0.)])
def test_rows_far_away_spoil_nothing(seed, place):
    "A fit that failed says that its molecule lies far outside the field: once, or in every hundredth row of an axis."
    table, path = creep("filaments", seed)
    clean = find_drift(table, BLOCKS)
    rng = np.random.default_rng(seed)
    for number in (1, len(table)//200):
        far = make_emitters(rng.integers(0, FRAMES, number), *place)
        way, said = find(table, far)
        pd.testing.assert_frame_equal(way, clean, check_exact=True)
        assert len(said) == 1 and f"without {number} of {len(table) + number} localizations, far" in said[0]
    both = pd.concat([table, far], ignore_index=True)
    settled = correct_drift(both, way)
    assert len(settled) == len(both)
    assert settled["x_nm"].iloc[-1] == place[0] - way["drift_x_nm"][far["frame"].iloc[-1]]


@pytest.mark.parametrize("side_nm", [6.4e3, 3e4, 2e5])
def test_a_large_field_is_no_reason_to_leave_rows_out(side_nm):
    "Places that are seen again and again all over a field, one corner of it as well as the middle."
    rng = np.random.default_rng(0)
    places, which = rng.uniform(0, side_nm, (500, 2)), rng.integers(0, 500, 10_000)
    frame = np.sort(rng.integers(0, FRAMES, 10_000))
    path = np.outer(np.arange(FRAMES), (0.06, -0.02))
    way, said = find(make_emitters(frame, *(places[which] + path[frame] + rng.normal(0, 10, (10_000, 2))).T))
    assert not said and error_nm(way, path) < max(3, side_nm/1500/10)


def test_what_no_picture_can_show_is_refused():
    "Many rows far away, along one axis or both, or pixels of a hundredth of a nanometre: refused before any picture."
    table = creep("filaments", 0)[0]
    lost = make_emitters(range(0, FRAMES, 5), np.linspace(-1e9, 1e12, FRAMES//5), np.linspace(1e12, 0, FRAMES//5))
    with pytest.raises(ValueError, match="too coarse to find a drift: are these nm?"): find(table, lost)
    with pytest.raises(ValueError, match="too coarse to find a drift"): find(table, lost.assign(y_nm=3000.))
    with pytest.raises(ValueError, match="too large to find a drift"): find_drift(table, BLOCKS, pixel_nm=0.01)


def test_whole_frame_numbers_with_a_point_are_as_good_beside_a_still_place():
    table, _ = creep("filaments", 0)
    together = pd.concat([table, hot_pixels(1, 0)], ignore_index=True)
    way, said = find(together)
    again, _ = find(together.astype({"frame": float}))
    assert len(said) == 1 and said[0].startswith("1 place stood still")
    pd.testing.assert_frame_equal(way, again)
