"Quality without a truth, where the answer is known all the same."
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dl4smlm.core import make_emitters
from dl4smlm.resolution import decorrelation, error_map, frc, ring_correlation


@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (131, 77)])
def test_noise_has_no_resolution(shape):
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert np.isinf(ring_correlation(*rng.normal(size=(2, *shape)), 10).resolution_nm)
        assert np.isinf(decorrelation(rng.poisson(3, shape), 10).resolution_nm)


def test_unrelated_localizations_have_no_resolution_and_doubled_ones_have_it_in_full():
    rng = np.random.default_rng(1)
    for seed in range(10):
        table = make_emitters(rng.integers(0, 400, 2000), *rng.uniform(0, 3000, (2, 2000)))
        assert np.isinf(frc(table, seed=seed).resolution_nm)
        both = make_emitters(np.repeat([0, 1], 2000), *np.tile(table[["x_nm", "y_nm"]].to_numpy(), (2, 1)).T)
        rings = frc(both, 7., blocks=2, seed=seed)
        assert (rings.resolution_nm, rings.limited) == (14, True)


def test_what_is_finer_than_the_usual_pixels_is_measured_with_finer_ones():
    rng, times, sigma_nm = np.random.default_rng(3), 30, 2
    places = np.repeat(rng.uniform(0, 4000, (2000, 2)), times, axis=0)
    x, y = (places + rng.normal(0, sigma_nm, places.shape)).T
    table = make_emitters(rng.integers(0, 1000, len(x)), x, y)
    on_paper = 2 * np.pi * sigma_nm / np.sqrt(np.log(6 * times / 2 + 1))  # 5.9 nm
    rings, coarse = frc(table), frc(table, 10.)
    assert not rings.limited and rings.resolution_nm == pytest.approx(on_paper, rel=0.1)
    assert coarse.limited and coarse.resolution_nm == 20
    assert frc(table.assign(x_nm=10 * x, y_nm=10 * y)).resolution_nm == pytest.approx(10 * on_paper, rel=0.1)


@pytest.mark.parametrize("shape", [(256, 256), (300, 200)])
@pytest.mark.parametrize("cut_off", [0.06, 0.15, 0.3])
def test_a_pattern_of_known_cut_off(shape, cut_off):
    rng = np.random.default_rng(2)
    waves = np.fft.fft2(rng.normal(size=shape))
    waves[np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])) > cut_off] = 0
    structure = np.fft.ifft2(waves).real
    structure /= structure.std()
    image = structure + 0.03*rng.normal(size=shape)
    assert decorrelation(image, 10).resolution_nm == pytest.approx(10/cut_off, rel=0.06)
    halves = structure + rng.normal(size=(2, *shape))  # as much noise as structure
    rings_off = min(shape)*(10/ring_correlation(*halves, 10).resolution_nm - cut_off)
    assert -1 < rings_off < 5  # the border is faded out, which blurs the rings


@pytest.mark.parametrize("ratio, blur_px", [(2, 3.), (4, 5.), (8, 8.5)])
def test_a_consistent_pair_is_explained(ratio, blur_px):
    rng = np.random.default_rng(3)
    picture = rng.random((20*ratio, 31*ratio))**20
    seen = gaussian_filter(picture, blur_px, mode="constant").reshape(20, ratio, 31, ratio).mean((1, 3))*700 + 90
    pair = error_map(picture, seen)
    assert pair.rsp == pytest.approx(1, abs=1e-6) and pair.blur_px == pytest.approx(blur_px, abs=0.1)
    assert pair.error.shape == seen.shape and np.abs(pair.error).max() < 1e-2*seen.std()
    assert error_map(picture[::-1], seen).rsp < 0.9
