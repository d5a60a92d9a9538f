"What a movie tells about its microscope, held to limits; and published movies, where they are at hand."
import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from dl4smlm.blemishes import bad_pixels
from dl4smlm.blinking import Blinking, LogNormal
from dl4smlm.camera import Camera, CmosMap, emccd_camera, make_camera, scmos_camera
from dl4smlm.io import open_movie, save_movie
from dl4smlm.microscope import match_microscope, show_match
from dl4smlm.psf import GaussianPSF
from dl4smlm.simulate import simulate
from dl4smlm.structures import Filaments

DATA = Path(os.environ.get("DL4SMLM_DATA", "no folder given"))


@pytest.mark.parametrize("density", [0.3, 2.0])
@pytest.mark.parametrize("camera, sigma_nm, photons, background", [
    (scmos_camera(100), 110, (1000, 3000), 10),
    (dataclasses.replace(emccd_camera(120), electrons_per_count=40), 150, (500, 1500), 5),
])
def test_settings_of_a_simulated_movie_are_found(density, camera, sigma_nm, photons, background):
    movie, truth = simulate(400, density, 64, camera, GaussianPSF(sigma_nm), photons, background, seed=11)
    told = dataclasses.replace(camera, offset_counts=0, electrons_per_count=1.0)  # what the movie must tell by itself
    found = match_microscope(movie, told)
    assert found.psf.sigma_nm == pytest.approx(sigma_nm, rel=0.05)
    assert found.camera.electrons_per_count == pytest.approx(camera.electrons_per_count, rel=0.1)
    assert found.camera.offset_counts == pytest.approx(camera.offset_counts, abs=2)
    assert found.photons == pytest.approx(truth["photons"].mean(), rel=0.15)
    assert found.density == pytest.approx(len(truth) / (movie.size * camera.pixel_nm**2 / 1e6), rel=0.25)
    assert found.background == pytest.approx(background, abs=2)


# name of a camera, background in photons, density per µm², seed; then whether the offset must be told to two counts
OFFSETS = [("scmos", 10, 0.3, 0, True), ("scmos", 10, 2, 1, True), ("scmos-frontlit", 10, 1, 2, True),
           ("cmos-12bit", 10, 1, 3, True), ("challenge", 3, 0.5, 4, True), ("challenge", 100, 1, 5, False),
           ("emccd", 10, 0.3, 1, False), ("emccd", 10, 2, 2, False), ("emccd", 100, 0.3, 0, False),
           ("scmos", 100, 1, 4, False)]


@pytest.fixture(scope="module")
def offsets():
    "What was missed, what was stated, and whether there was a doubt, for each of `OFFSETS`."
    rows = []
    for name, background, density, seed, _ in OFFSETS:
        camera, sigma_nm = make_camera(name, 120), 150
        movie, _ = simulate(400, density, 80, camera, GaussianPSF(sigma_nm), (800, 2500), background, seed=100 + seed)
        movie = movie[:, 8:-8, 8:-8]  # molecules beyond the border shine in, as in a real movie
        found = match_microscope(movie, dataclasses.replace(camera, offset_counts=0, electrons_per_count=1.0))
        doubted = any("offset" in doubt for doubt in found.doubts)
        rows.append((found.camera.offset_counts - camera.offset_counts, found.errors["offset_counts"], doubted))
    return rows


@pytest.mark.parametrize("number", range(len(OFFSETS)))
def test_an_offset_is_right_or_in_doubt(offsets, number):
    missed, stated, doubted = offsets[number]
    assert abs(missed) <= 2 or doubted
    assert doubted == (stated > 2)
    if OFFSETS[number][-1]: assert not doubted  # an ordinary camera


def test_stated_errors_of_the_offset_are_honest(offsets):
    ratio = np.array([missed/stated for missed, stated, _ in offsets])
    assert 0.2 < np.sqrt(np.mean(ratio**2)) < 1.3 and np.abs(ratio).max() < 3


# photons, blinking: nobody tells `match_microscope` which; from all alike to brightness that differs very much
BRIGHTNESS = {"all alike": (2000., None), "1000 to 3000": ((1000., 3000.), None), "0 to 4000": ((0., 4000.), None),
              "log-normal 0.5": (LogNormal(2000, 0.5), None), "log-normal 0.7": (LogNormal(2000, 0.7), None),
              "blinking": (2000., Blinking())}


@pytest.fixture(scope="module", params=[0, 8], ids=["whole", "cut out"])
def brightness(request):
    "What was missed over what was stated, photons and density, for each of `BRIGHTNESS`."
    border, rows = request.param, {}
    for seed, (name, (photons, blinking)) in enumerate(BRIGHTNESS.items()):
        side = 48 + 2*border
        movie, truth = simulate(400, 0.5, side, Camera(), photons=photons, blinking=blinking, seed=200 + seed)
        found = match_microscope(movie[:, border:side - border, border:side - border], Camera(100))
        true = truth["photons"].mean(), len(truth)/movie.size*100  # 100 pixels in a square micrometre
        rows[name] = [(getattr(found, what) - value)/found.errors[what]
                      for what, value in zip(("photons", "density"), true)]
    return np.array(list(rows.values()))


def test_stated_errors_of_photons_and_density_are_honest(brightness):
    assert np.abs(brightness).max() < 3
    assert (np.sqrt(np.mean(brightness**2, 0)) < 1.5).all() and np.sqrt(np.mean(brightness**2)) > 0.5


def test_the_border_of_a_simulated_movie_costs_no_density():
    movie, truth = simulate(500, 0.5, 48, photons=2000., seed=7)
    assert match_microscope(movie, Camera(100)).density == pytest.approx(len(truth)/movie.size*100, rel=0.04)


def test_the_pixel_size_is_never_invented(tmp_path):
    movie, _ = simulate(100, 0.5, 48, Camera(160), GaussianPSF(176), seed=7)
    with pytest.raises(ValueError, match=r"the pixel size is missing: give camera=Camera\(pixel_nm=...\)"):
        match_microscope(movie)
    save_movie(movie, tmp_path/"a.tif", pixel_nm=160)
    with open_movie(tmp_path/"a.tif") as opened: found = match_microscope(opened)
    assert found.camera.pixel_nm == 160 and found.psf.sigma_nm == pytest.approx(176, rel=0.05)


def test_a_camera_that_multiplies_is_not_taken_for_one_that_does_not():
    movie, _ = simulate(200, 0.5, 48, emccd_camera(107), seed=8)
    right, wrong = (match_microscope(movie, told).doubts for told in (emccd_camera(107), Camera(107)))
    assert any("em_gain" in doubt for doubt in wrong) and not any("em_gain" in doubt for doubt in right)
    plain, _ = simulate(200, 0.5, 48, Camera(read_noise_e=0.3), seed=9)
    assert not any("em_gain" in doubt for doubt in match_microscope(plain, Camera(100)).doubts)


def test_a_fixed_pattern_of_offsets_does_not_count_as_blinking():
    movie, _ = simulate(300, 0.5, 64, background=10, seed=3)
    pattern = np.random.default_rng(0).normal(0, 3, movie.shape[1:]).round()  # as much as a scientific CMOS has
    plain, found = (match_microscope(seen, Camera(100)) for seen in (movie, (movie + pattern).astype(np.uint16)))
    assert found.psf.sigma_nm == pytest.approx(plain.psf.sigma_nm, rel=0.01)
    assert found.camera.electrons_per_count == pytest.approx(plain.camera.electrons_per_count, rel=0.1)
    assert found.photons == pytest.approx(plain.photons, rel=0.15)


def spoil(kind, movie):
    "Make a movie as real ones are: what was done, and the frames or pixels of which it must say so."
    noise, movie = np.random.default_rng(0), movie.copy()
    if kind == "saturated start": movie[:100] = 65535
    elif kind == "flashes": movie[::20] += 100
    elif kind == "dark frames": movie[[3, 77, 250]] = 100
    else:
        movie[:, 20, 30], movie[:, 10, 10] = noise.normal(800, 30, len(movie)), 0
        movie[:, 12, 40] = noise.choice([110, 600], len(movie))
    return movie


@pytest.mark.parametrize("kind, what, number", [("saturated start", "frames", 100), ("flashes", "frames", 25),
                                                ("dark frames", "frames", 3), ("bad pixels", "pixels", 3)])
def test_what_is_no_molecule_does_not_count(kind, what, number):
    movie, _ = simulate(500, 0.8, 48, Camera(100), photons=(1000, 3000), background=10, seed=0)
    plain, found = (match_microscope(seen, Camera(100)) for seen in (movie, spoil(kind, movie)))
    assert found.camera.electrons_per_count == pytest.approx(0.5, rel=0.06)
    assert found.background == pytest.approx(plain.background, abs=1)
    assert found.photons == pytest.approx(plain.photons, rel=0.06)
    assert not plain.doubts and len(found.doubts) == 1
    assert found.doubts[0].startswith(what) and found.doubts[0].endswith(f": {number}")


@pytest.mark.parametrize("sigma_nm, density, photons", [(80, 0.05, 8000), (75, 0.3, 5000), (90, 0.02, 20000),
                                                        (110, 2, 2000), (110, 8, 2000), (150, 4, 3000)])
@pytest.mark.parametrize("structure", [None, Filaments(8, (6400, 6400), seed=1)])
def test_no_light_is_taken_for_a_bad_pixel(sigma_nm, density, photons, structure):
    movie, _ = simulate(500, density, 64, Camera(100), GaussianPSF(sigma_nm), photons, 5, structure, seed=20)
    assert not bad_pixels(movie).any()
    movie[:, 20, 30], movie[:, 10, 10] = np.random.default_rng(0).normal(800, 30, len(movie)), 0
    assert np.argwhere(bad_pixels(movie)).tolist() == [[10, 10], [20, 30]]


def test_the_picture_leaves_out_what_the_measurement_left_out():
    movie = spoil("saturated start", simulate(500, 0.8, 48, Camera(100), background=10, seed=0)[0])
    axes = show_match(movie, match_microscope(movie, Camera(100)))
    assert axes[2].get_xlim()[1] < 10_000
    plt.close("all")


def test_molecules_that_bleach_are_no_chance():
    how = {"size_px": 48, "camera": Camera(100), "photons": (1000, 3000), "background": 10}
    movie = np.concatenate([simulate(20, 0.1**(part/49), seed=part, **how)[0] for part in range(50)])  # from 1 to 0.1
    found = match_microscope(movie, Camera(100))
    assert found.camera.electrons_per_count == pytest.approx(0.5, rel=0.1)
    assert found.photons == pytest.approx(2000, rel=0.1)
    assert any("density is uncertain" in doubt for doubt in found.doubts)
    for seed in range(3):
        with pytest.raises(ValueError, match="nothing blinks"):
            match_microscope(simulate(500, 0, 48, Camera(100), background=10, seed=seed)[0], Camera(100))


def test_molecules_that_stay_on_are_in_doubt_and_thinning_helps():
    how = {"size_px": 48, "photons": 2000., "seed": 3, "progress": False}
    movie, truth = simulate(3000, 0.5, blinking=Blinking(20., 200., 0.2), **how)
    short, thin = (match_microscope(part, Camera()) for part in (movie[:500], movie[::15]))
    assert short.photons < 0.8*truth["photons"].mean() and any("stay on" in doubt for doubt in short.doubts)
    assert thin.photons == pytest.approx(truth["photons"].mean(), rel=0.15)
    assert not any("stay on" in doubt for doubt in thin.doubts)
    usual = match_microscope(simulate(500, 0.5, blinking=Blinking(), **how)[0], Camera())
    assert not any("stay on" in doubt for doubt in usual.doubts)


def test_counts_too_coarse_and_spots_too_dim_are_in_doubt():
    how = {"frames": 500, "size_px": (48, 72), "seed": 3, "progress": False}
    coarse = match_microscope(simulate(density=0.5, camera=Camera(electrons_per_count=8.), **how)[0], Camera())
    dim, truth = simulate(density=1, photons=100., **how)
    dim = match_microscope(dim, Camera())
    assert abs(coarse.background - 10) > 3 and any("counts are whole" in doubt for doubt in coarse.doubts)
    assert dim.density < 0.85 and any("spots are dim" in doubt for doubt in dim.doubts)
    camera = make_camera("cmos-12bit")  # its offset is uncertain by as much as two photons make
    movie, _ = simulate(density=0.5, camera=camera, background=2., **how)
    found = match_microscope(movie, camera)
    assert abs(found.background - 2) < 2*found.errors["background"] and not found.doubts


def test_a_camera_with_maps_is_refused_and_a_levelled_movie_is_not():
    noise = np.random.default_rng(0)
    gain = 2*(1 + 0.1*noise.normal(size=(48, 72)))
    maps = CmosMap(100 + 3*noise.normal(size=gain.shape), np.full(gain.shape, 10.), gain)
    camera = Camera.from_maps(maps)
    movie, truth = simulate(500, 0.5, gain.shape, camera, seed=3)
    with pytest.raises(ValueError, match="one offset and one gain for all pixels"): match_microscope(movie, camera)
    level = (movie - maps.offset_counts.numpy())*2/maps.counts_per_electron.numpy() + 100
    found = match_microscope(level, dataclasses.replace(camera, maps=None))
    assert found.camera.electrons_per_count == pytest.approx(0.5, rel=0.06) and not found.doubts
    assert found.photons == pytest.approx(truth["photons"].mean(), rel=0.1)


@pytest.mark.skipif(not DATA.is_dir(), reason="DL4SMLM_DATA names no folder with published movies")
def test_published_settings():
    "Deep-STORM's test movie: sigma 110 nm, 2.06 counts per photon with EM gain, 1,430 photons, 225 emitters a frame."
    with open_movie(DATA / "deepstorm_demo1" / "testStack_SimulatedMicrotubules.tif") as movie:
        found = match_microscope(movie, Camera(100, quantum_efficiency=1, em_gain=100, read_noise_e=0))
    assert found.psf.sigma_nm == pytest.approx(110, rel=0.03)
    assert 100 / found.camera.electrons_per_count == pytest.approx(2.06, rel=0.05)
    assert 1 < found.photons / 1430 < 1.25  # it is crowded, and the answer says so
    assert any("photons and background may be too high" in doubt for doubt in found.doubts)
    assert found.density == pytest.approx(224.9 / 40.96, rel=0.1)
