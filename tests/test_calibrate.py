"What is learned about a network goes with it: into its bundle, through a reconstruction, into the table."
import json

import numpy as np
import pandas as pd
import pytest
import torch

import dl4smlm as smlm
from dl4smlm.cli.commands import main
from dl4smlm.data import Normalise


def made_up(number, seed):
    "Localizations whose truth we know: right with a probability of their confidence, off by half their spread."
    generator = np.random.default_rng(seed)
    place, confidence = generator.uniform(0, 5000, (number, 2)), generator.uniform(0.1, 1, number)
    spread = generator.uniform(10, 40, number)
    real = generator.random(number) < confidence
    truth = smlm.make_emitters(np.arange(number)[real], *place[real].T)
    off = place + spread[:, None]/2*generator.standard_normal((number, 2))
    columns = {"confidence": confidence, "spread_nm": spread}
    return smlm.make_emitters(np.arange(number), *off.T, **columns), truth


@pytest.mark.parametrize("seed", range(3))
def test_stated_numbers_are_the_true_ones(seed):
    calibration = smlm.fit_calibration(*made_up(20_000, seed))
    found, truth = made_up(20_000, 100 + seed)
    stated = smlm.add_uncertainty(found, json.loads(json.dumps(calibration)))
    assert np.abs(stated["probability"] - stated["confidence"]).mean() < 0.03
    assert np.abs(stated["uncertainty_nm"]/(stated["spread_nm"]/2) - 1).mean() < 0.06
    assert abs(smlm.error_ratio(stated, truth).std() - 1) < 0.03
    points = smlm.reliability(stated, truth)
    assert ((points["stated"] - points["observed"]).abs() < 4*points["standard_error"] + 0.02).all()


def test_the_threshold_of_the_best_score_is_found():
    found, truth = made_up(4000, 0)
    curve = smlm.threshold_curve(found, truth)
    best = curve.loc[curve["jaccard"].idxmax(), "threshold"]
    for threshold in (best - 0.2, best + 0.2):
        other = smlm.evaluate(found[found["confidence"] >= threshold], truth)
        assert other.jaccard < curve["jaccard"].max()


def test_a_bundle_keeps_threshold_and_calibration(tmp_path):
    model = smlm.create_model("fidstorm", upscale=2, blocks=1, width=4)
    model.normalise, model.pixel_nm, model.threshold = Normalise(100, 100), 100., 0.37
    found, truth = made_up(5000, 0)
    model.calibration = smlm.fit_calibration(found, truth) | {"grid": smlm.grid_bias(found, 50).correction()}
    smlm.save_pretrained(model, tmp_path/"model")
    again = smlm.from_pretrained(tmp_path/"model")
    assert (again.threshold, again.calibration) == (model.threshold, model.calibration)
    with torch.no_grad():
        for weights in again.parameters(): weights.abs_()  # so that a bright pixel becomes a peak, whatever was drawn
    movie = np.full((3, 16, 16), 100, np.uint16)
    movie[:, 8, 8] = 60_000
    found = smlm.localize(smlm.reconstruct(again, movie, progress=False))
    assert set(found["frame"]) == {0, 1, 2} and found["confidence"].min() >= 0.37
    assert {"probability", "uncertainty_nm"} <= set(found)


def test_the_command_calibrates_a_network(tmp_path):
    camera = smlm.Camera(pixel_nm=100)
    smlm.set_seed(0)
    movie, truth = smlm.simulate(200, 1, 24, camera, photons=3000., seed=0)
    train, valid = smlm.make_loaders(movie, truth, camera, upscale=2)
    model = smlm.create_model("fidstorm", upscale=2, blocks=2, width=16)
    smlm.Learner(model, train, valid, smlm.L1L2Loss(), lr=3e-3).fit(12, progress=False)
    smlm.save_pretrained(model, tmp_path/"plain", seed=7)
    smlm.save_movie(movie, tmp_path/"movie.tif", 100)
    smlm.save_localizations(truth, tmp_path/"truth.csv")
    asked = ["calibrate", tmp_path/"plain", "--movie", tmp_path/"movie.tif", "--truth", tmp_path/"truth.csv"]
    with pytest.raises(SystemExit) as end: main([str(word) for word in [*asked, "--out", tmp_path/"sure"]])
    assert end.value.code == 0 and (tmp_path/"sure/calibration.png").exists()
    card = smlm.load_card(tmp_path/"sure")
    assert card["notes"]["seed"] == 7 and card["notes"]["calibrated_on"] == "movie.tif"
    sure = smlm.from_pretrained(tmp_path/"sure")
    fresh_movie, fresh = smlm.simulate(100, 1, 24, camera, photons=3000., seed=1)
    found = smlm.localize(smlm.reconstruct(sure, fresh_movie, progress=False))
    assert found["confidence"].min() >= sure.threshold
    assert abs(smlm.error_ratio(found, fresh).std() - 1) < 0.15
    truth.loc[truth["frame"] >= 150, "x_nm"] = truth["x_nm"].clip(upper=2399)[::-1].to_numpy()[truth["frame"] >= 150]
    smlm.save_localizations(truth, tmp_path/"truth.csv", overwrite=True)  # nonsense in the last quarter
    with pytest.raises(SystemExit): main([str(word) for word in [*asked, "--out", tmp_path/"again"]])
    again = smlm.from_pretrained(tmp_path/"again")
    assert (again.threshold, again.calibration) == (sure.threshold, sure.calibration)  # it did not look there


def by_light(number, seed):
    "Localizations whose error falls with the photons, of which the table shows a poor copy: the brightness."
    generator = np.random.default_rng(seed)
    place, photons = generator.uniform(0, 5000, (number, 2)), generator.uniform(500, 4000, number)
    off = place + 400/np.sqrt(photons)[:, None]*generator.standard_normal((number, 2))
    columns = {"confidence": generator.uniform(0.5, 1, number), "spread_nm": generator.uniform(10, 40, number),
               "brightness": photons/100*generator.lognormal(0, 0.4, number)}
    truth = smlm.make_emitters(np.arange(number), *place.T, photons)
    return smlm.make_emitters(np.arange(number), *off.T, **columns), truth


def test_the_order_of_the_rows_does_not_matter():
    "Each localization keeps its partner, and the photons of that one, wherever the two stand."
    found, truth = by_light(4000, 0)
    calibration = smlm.fit_calibration(found, truth)
    shuffled, other = (table.sample(frac=1, random_state=seed) for seed, table in enumerate((found, truth)))
    assert smlm.fit_calibration(shuffled, other) == calibration
    stated = found.assign(uncertainty_nm=10.)
    expected = smlm.ratio_by_photons(stated, truth)
    pd.testing.assert_frame_equal(smlm.ratio_by_photons(stated.loc[shuffled.index], other), expected)


@pytest.mark.parametrize("seed", range(3))
def test_dim_and_bright_molecules_have_honest_errors(seed):
    calibration = json.loads(json.dumps(smlm.fit_calibration(*by_light(20_000, seed))))
    blind = {name: curve for name, curve in calibration.items() if name != "brightness"}  # as before, or by densities
    found, truth = by_light(20_000, 100 + seed)
    stated, old = (smlm.add_uncertainty(found, known) for known in (calibration, blind))
    assert abs(smlm.error_ratio(stated, truth).std() - 1) < 0.03 and abs(smlm.error_ratio(old, truth).std() - 1) < 0.03
    assert (smlm.ratio_by_photons(stated, truth)["ratio"] - 1).abs().max() < 0.15
    assert (smlm.ratio_by_photons(old, truth)["ratio"] - 1).abs().max() > 0.25
    for part in np.array_split(np.argsort(found["brightness"].to_numpy()), 4):  # and by what is seen
        assert abs(smlm.error_ratio(stated.iloc[part], truth).std() - 1) < 0.15


def test_the_command_learns_nothing_from_the_last_quarter(tmp_path):
    "Whatever the last quarter of a movie and of its truth says, the network that comes out is the same."
    movie, truth = smlm.simulate(120, 1, 24, smlm.Camera(pixel_nm=100), photons=3000., seed=0)
    other, lie = smlm.simulate(120, 3, 24, smlm.Camera(pixel_nm=100), photons=800., seed=1)

    def learned(name, changed):
        "Threshold and calibration learned from a movie whose frames from `changed` on are of another one."
        frames = np.concatenate([movie[:changed], other[changed:]])
        known = pd.concat([truth[truth["frame"] < changed], lie[lie["frame"] >= changed]], ignore_index=True)
        smlm.save_movie(frames, tmp_path/f"{name}.tif", 100)
        smlm.save_localizations(known, tmp_path/f"{name}.csv")
        asked = ["calibrate", "fidstorm", "--movie", tmp_path/f"{name}.tif", "--truth", tmp_path/f"{name}.csv",
                 "--out", tmp_path/name, "--device", "cpu"]
        with pytest.raises(SystemExit) as end: main([str(word) for word in asked])
        assert end.value.code == 0
        model = smlm.from_pretrained(tmp_path/name)
        return model.threshold, model.calibration, (tmp_path/name/"calibration.png").read_bytes()

    *whole, drawn = learned("whole", 120)
    *unseen, drawn_elsewhere = learned("unseen", 90)
    *seen, _ = learned("seen", 89)  # one frame earlier, and it was learned from
    assert unseen == whole and seen[1] != whole[1]
    assert drawn_elsewhere != drawn  # the picture is of the last quarter


def test_a_failed_attempt_leaves_the_network_as_it_was():
    model = smlm.create_model("fidstorm", upscale=2, blocks=1, width=4)
    model.normalise, model.pixel_nm, model.threshold = Normalise(100, 100), 100., 0.37
    model.calibration = before = smlm.fit_calibration(*made_up(5000, 0))
    with torch.no_grad():
        for weights in model.parameters(): weights.abs_()
    movie = np.full((3, 16, 16), 100, np.uint16)
    movie[:, 8, 8] = 60_000
    far, outside = (smlm.make_emitters([0, 1, 2], place, place) for place in (50., 1e6))
    for score in ("efficiency", "jaccard"):
        with pytest.raises(ValueError, match="to this movie"): smlm.pick_threshold(model, movie, far, score=score)
    with pytest.raises(ValueError, match="simulate more frames"): smlm.calibrate(model, movie, far)
    for attempt in (smlm.pick_threshold, smlm.calibrate):
        with pytest.raises(ValueError, match="outside the field"): attempt(model, movie, outside)
    assert (model.threshold, model.calibration) == (0.37, before)


def test_stated_errors_grow_with_the_pixels_of_the_movie():
    "The same counts with other pixels: all that is in nm is larger in their ratio, and no more or less honest for it."
    model = smlm.from_pretrained("fidstorm")
    movie, truth = smlm.simulate(60, 2, 24, smlm.Camera(pixel_nm=100), photons=(500., 4000.), seed=3)
    smlm.calibrate(model, movie, truth, even=True)
    assert model.calibration["pixel_nm"] == 12.5
    seen, rows = {}, {}
    for pixel_nm in (65, 100, 160):
        density = smlm.reconstruct(model, movie, pixel_nm=pixel_nm, progress=False)  # the default radius too
        seen[pixel_nm] = smlm.localize(density)
        there = truth.assign(x_nm=truth["x_nm"]*pixel_nm/100, y_nm=truth["y_nm"]*pixel_nm/100)
        rows[pixel_nm] = smlm.error_ratio(seen[pixel_nm], there, pixel_nm).std()
    for pixel_nm in (65, 160):
        for name in ("x_nm", "y_nm", "spread_nm", "uncertainty_nm"):
            np.testing.assert_allclose(seen[pixel_nm][name], seen[100][name]*pixel_nm/100, rtol=1e-6)
        np.testing.assert_allclose(seen[pixel_nm]["probability"], seen[100]["probability"])
        assert rows[pixel_nm] == pytest.approx(rows[100], rel=1e-4)


def test_a_calibration_means_the_same_with_and_without_its_pixel():
    found, truth = made_up(5000, 0)
    plain, noted = (smlm.fit_calibration(found, truth, pixel_nm=size) for size in (None, 12.5))
    assert noted == plain | {"pixel_nm": 12.5}
    grid = {"grid": smlm.grid_bias(found, 12.5).correction()}
    for more in ({}, grid):
        for size in (None, 12.5):  # to the last bit
            stated = smlm.add_uncertainty(found, noted | more, size)
            pd.testing.assert_frame_equal(stated, smlm.add_uncertainty(found, plain | more), check_exact=True)
