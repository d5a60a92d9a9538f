"A long movie must not need more memory than a short one, and must open at once."
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch

from dl4smlm.camera import Camera
from dl4smlm.data import make_loaders
from dl4smlm.io import open_movie, save_movie
from dl4smlm.localize import localize
from dl4smlm.models.zoo import create_model
from dl4smlm.photons import measure_photons
from dl4smlm.psf import GaussianPSF
from dl4smlm.reconstruct import reconstruct
from dl4smlm.simulate import simulate

CAMERA = Camera(pixel_nm=100)
MOVIE, TRUTH = simulate(40, size_px=32, camera=CAMERA, seed=0, progress=False)

SCRIPT = """
import sys
import torch
from torch import nn
from dl4smlm.data import Normalise
from dl4smlm.io import open_movie
from dl4smlm.models.contract import EmitterNet
from dl4smlm.reconstruct import reconstruct

class OneLayer(EmitterNet):
    def __init__(self):
        super().__init__(upscale=2, reach_px=1)
        self.layers = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
    def forward(self, x): return self.layers(x)

torch.manual_seed(0)
with open_movie(sys.argv[1]) as movie:
    density = reconstruct(OneLayer(), movie, Normalise(100, 5), pixel_nm=100, floor=50, progress=False)
assert density.image.shape == (128, 128)
print(len(movie), *(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_kb(path):
    "Reconstruct a movie in a process of its own; the most memory it held (`ru_maxrss` begins with what pytest holds)."
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read as Linux gives it")
def test_memory_does_not_grow_with_the_movie(tmp_path):
    noise = np.random.default_rng(0).poisson(100, (50, 64, 64)).astype(np.uint16)
    peaks = []
    for frames in (2000, 20_000):  # 16 MB and 164 MB
        path = tmp_path / f"{frames}.tif"
        with tifffile.TiffWriter(path, bigtiff=True) as tiff:
            for i in range(frames): tiff.write(noise[i % 50], contiguous=False)
        peaks.append(peak_kb(path))
    short, long = peaks
    assert long - short < 60_000, f"{short} kB for 2000 frames, {long} kB for 20000"
    assert long < 2_000_000


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("fidstorm", upscale=2, blocks=1, width=4)


def test_a_part_counts_the_frames_of_its_file(model, tmp_path):
    save_movie(MOVIE, tmp_path / "movie.tif", 100)
    settings = {"camera": CAMERA, "floor": 0.001, "progress": False}
    with open_movie(tmp_path / "movie.tif") as movie:
        whole = localize(reconstruct(model, movie, **settings), threshold=0.001)
        for more in ({}, {"folder": tmp_path / "job"}, {"folder": tmp_path / "job", "resume": True}):
            part = reconstruct(model, movie.part(10).part(5, 20), **settings, **more)
            found = localize(part, threshold=0.001)
            assert part.first == 15 and found["frame"].min() == 15 and found["frame"].max() == 29
            expected = whole[whole["frame"].between(15, 29)].reset_index(drop=True)
            np.testing.assert_allclose(found, expected, atol=1e-3)
        photons = measure_photons(found, movie.part(15, 30), CAMERA, GaussianPSF(110))
    assert (photons["frame"] == found["frame"]).all() and np.isfinite(photons["photons"]).all()


def test_arrays_without_a_length_and_tensors_that_are_being_learned(model):
    zarr = pytest.importorskip("zarr")
    expected = reconstruct(model, MOVIE, camera=CAMERA, progress=False).image
    learned = torch.from_numpy(MOVIE.astype(np.float32)).requires_grad_()
    for movie in (zarr.array(MOVIE), learned):
        np.testing.assert_array_equal(reconstruct(model, movie, camera=CAMERA, progress=False).image, expected)
        x, _ = next(iter(make_loaders(movie, TRUTH, CAMERA)[1]))
        assert torch.equal(x, next(iter(make_loaders(MOVIE, TRUTH, CAMERA)[1]))[0])
