"A long movie must not need more memory than a short one, and must open at once."
import subprocess
import sys

import numpy as np
import pytest
import tifffile

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
