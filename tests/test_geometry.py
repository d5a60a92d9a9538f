"One chain through the whole package: a known place must come back, to a tenth of a super-resolution pixel."
import numpy as np
import pytest

from dl4smlm.camera import ideal_camera
from dl4smlm.core import make_emitters, make_generator
from dl4smlm.data import rasterise
from dl4smlm.evaluate import evaluate
from dl4smlm.io import open_movie, save_movie
from dl4smlm.localize import localize
from dl4smlm.psf import GaussianPSF
from dl4smlm.simulate import film
from dl4smlm.tables import read_localizations, save_localizations

SHAPE = (300, 24, 40)


def one_a_frame(pixel_nm):
    "One emitter in each frame, away from the border of a field that is not square."
    rng = np.random.default_rng(0)
    frames, height, width = SHAPE
    x, y = (rng.uniform(4, side - 4, frames)*pixel_nm for side in (width, height))
    return make_emitters(np.arange(frames), x, y, photons=5000.)


@pytest.mark.parametrize("upscale, pixel_nm", [(2, 100), (4, 107.3), (8, 100), (16, 160)])
def test_truth_comes_back_through_the_raster_and_the_file(tmp_path, upscale, pixel_nm):
    truth = one_a_frame(pixel_nm)
    found = localize(rasterise(truth, SHAPE, pixel_nm, upscale), pixel_nm/upscale)
    save_localizations(found, tmp_path / "found.csv")
    scores = evaluate(read_localizations(tmp_path / "found.csv"), truth)
    fine_nm = pixel_nm/upscale
    assert scores.jaccard == 1
    assert abs(scores.bias_x_nm) < 0.1*fine_nm and abs(scores.bias_y_nm) < 0.1*fine_nm
    assert scores.rmse_nm < fine_nm*np.sqrt(2/12)*1.1  # uniform within a pixel: variance 1/12 along each axis


def test_light_comes_from_where_the_truth_says(tmp_path):
    truth, camera = one_a_frame(100), ideal_camera(100)
    movie = film(truth, SHAPE[0], SHAPE[1:], camera, GaussianPSF(110), background=0, generator=make_generator(0))
    save_movie(movie, tmp_path / "movie.tif", pixel_nm=100)
    with open_movie(tmp_path / "movie.tif") as stack: light = stack[:].astype(float)
    for axis, name in [(1, "x_nm"), (2, "y_nm")]:
        along = light.sum(axis)
        error = 100*(along*(np.arange(along.shape[1]) + 0.5)).sum(1)/along.sum(1) - truth[name]
        assert abs(error.mean()) < 0.5 and error.std() < 5  # 110 nm / sqrt(5000 photons) is 1.6 nm


def test_swapped_axes_would_be_noticed():
    truth = one_a_frame(100)
    found = localize(rasterise(truth, SHAPE, 100, 4), 25)
    swapped = found.rename(columns={"x_nm": "y_nm", "y_nm": "x_nm"})
    shifted = found.assign(x_nm=found["x_nm"] + 12.5)
    with pytest.warns(UserWarning, match="exchanged"): assert evaluate(swapped, truth).jaccard < 0.2
    assert abs(evaluate(shifted, truth).bias_x_nm) > 0.1*25
