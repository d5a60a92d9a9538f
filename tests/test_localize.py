"Localizing at real size: nothing counted twice, nothing that depends on blocks, frames or device, memory that is flat."
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4smlm.localize import add_uncertainty, find_peaks, localize
from dl4smlm.reconstruct import Reconstruction


def crowded(frames, height, width, number, seed):
    "Densities of many molecules at random places, each shared among the four pixels around it."
    generator = torch.Generator().manual_seed(seed)
    def draw(low, high): return low + (high - low)*torch.rand(number, generator=generator)
    frame = torch.randint(frames, (number,), generator=generator)
    x, y = draw(0.5, width - 0.51), draw(0.5, height - 0.51)
    density = torch.zeros(frames, height, width)
    for right in (0, 1):
        for down in (0, 1):
            shares = [(place - 0.5).frac() for place in (x, y)]
            along, across = (share if step else 1 - share for share, step in zip(shares, (right, down)))
            index = frame, (y - 0.5).long() + down, (x - 0.5).long() + right
            density.index_put_(index, along*across, accumulate=True)
    return density


@settings(max_examples=25, deadline=None)
@given(number=st.integers(0, 400), radius=st.integers(1, 4), seed=st.integers(0, 99))
def test_confidences_never_add_up_to_more_than_the_density(number, radius, seed):
    density = crowded(2, 33, 47, number, seed)
    peaks = find_peaks(density, 0.05, radius)
    for frame in range(2):
        total = peaks[peaks[:, 0] == frame, 3].sum()
        assert total <= density[frame].sum() + 1e-4
    apart = (peaks[:, None, :3] - peaks[None, :, :3]).abs()
    assert not ((apart[..., 0] == 0) & (apart[..., 1:].amax(-1) == 0)).fill_diagonal_(False).any()


@pytest.mark.parametrize("flip", [(-1,), (-2,), (-1, -2)])
@pytest.mark.parametrize("centre", ["gravity", "fit"])
def test_a_mirrored_density_has_mirrored_molecules(flip, centre):
    density = crowded(1, 64, 80, 300, 0)
    found, mirrored = (localize(image, 10, centre=centre) for image in (density, density.flip(flip)))
    if -1 in flip: mirrored["x_nm"] = 800 - mirrored["x_nm"]
    if -2 in flip: mirrored["y_nm"] = 640 - mirrored["y_nm"]
    columns = ["x_nm", "y_nm", "confidence"]
    np.testing.assert_allclose(*(table[columns].sort_values(columns) for table in (found, mirrored)), atol=0.01)


def test_equal_values_are_one_molecule_each():
    density = torch.zeros(1, 40, 40)
    density[0, 10, 10] = 1
    density[0, 20, 20:22] = 0.5
    density[0, 30:32, 30:32] = 0.25
    density[0, 5:35, 3] = 0.01
    found = localize(density, 10, threshold=0.5)
    assert found["x_nm"].tolist() == pytest.approx([105, 210, 310])
    assert found["y_nm"].tolist() == pytest.approx([105, 205, 310])
    assert found["confidence"].tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("shape", [(0, 16, 16), (3, 8, 8), (1, 9, 130)])
def test_empty_and_odd_densities(shape):
    found = localize(torch.zeros(shape), 10)
    assert len(found) == 0 and list(found) == ["frame", "x_nm", "y_nm", "confidence", "spread_nm"]
    curves = {"probability": [[0, 1], [0, 1]], "spread": [[0, 1], [1, 2]], "correction": [[0, 1], [1, 1]]}
    assert {"probability", "uncertainty_nm"} < set(add_uncertainty(found, curves))


def test_long_movies_are_read_in_blocks():
    class Movie:
        "Remembers the largest piece that was asked for."
        shape, largest = (5000, 128, 128), 0
        def __len__(self): return self.shape[0]
        def __getitem__(self, rows):
            number = len(range(*rows.indices(len(self))))
            self.largest = max(self.largest, number)
            piece = np.zeros((number, 128, 128), np.float32)
            piece[:, 64, 64] = 1
            return piece
    movie = Movie()
    found = localize(movie, 10)
    assert found["frame"].tolist() == list(range(5000))
    assert movie.largest <= 256


def test_a_pixel_that_is_not_meant_is_refused_or_remarked():
    peaks = np.array([[0, 10., 20., 1., 1., 5.]])
    seen = Reconstruction(np.zeros((80, 80), np.float32), peaks, 0.1, 30., 12.5)
    for wrong in (0.0125, 0, -12.5, 2000, float("nan"), "12.5", [12.5], True):
        with pytest.raises(ValueError, match="pixel_nm.*got"): localize(seen, wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for right in (None, 12.5, 12.6, np.float32(12.5)):
            assert localize(seen, right)["x_nm"][0] == pytest.approx(125, rel=0.01)
    with pytest.warns(UserWarning, match="says that its pixels have 12.5 nm: 100 nm is used, as given.") as told:
        assert localize(seen, 100)["x_nm"][0] == 1000
    assert told[0].filename == __file__


@pytest.mark.parametrize("wrong", [[[0.]*32]*32, "density.tif", None, 7])
def test_what_is_no_density_is_refused(wrong):
    with pytest.raises(ValueError, match="a density is an array .T, rH, rW., or what `reconstruct` returns, got"):
        localize(wrong, 10)


def test_arrays_that_must_not_be_written_to():
    density = crowded(2, 32, 32, 30, 0).numpy()
    frozen = density.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for same in (frozen, density[::-1].copy()[::-1], density.astype(">f4"), np.broadcast_to(density, (2, 32, 32))):
            pd.testing.assert_frame_equal(localize(same, 10), localize(torch.tensor(density), 10))
    assert np.array_equal(frozen, density)


@pytest.mark.parametrize("radius_nm", [1e9, 1e5, np.inf])
def test_a_radius_that_is_not_in_nm_is_refused_at_once(radius_nm):
    with pytest.raises(ValueError, match="is it in nm|greater than 0"):
        localize(np.zeros((1, 64, 64)), 12.5, radius_nm=radius_nm)


def test_a_wide_radius_is_no_mistake():
    "Twenty camera pixels of 100 nm: one molecule in each part of the picture."
    found = localize(crowded(1, 64, 64, 50, 0), 12.5, radius_nm=2000.)
    assert len(found) == 1
