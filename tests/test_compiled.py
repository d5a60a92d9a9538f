"A network and the search for peaks can be compiled, for a GPU: the same answer, sooner."
import shutil

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import dl4smlm as smlm
from dl4smlm.models.contract import random_statistics

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def apart(got, expected): return ((got - expected).abs().max()/expected.abs().max()).item()


def made(frames, size_px): return smlm.simulate(frames, 1., size_px, smlm.Camera(), photons=2000., seed=0)[0]


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler here")
def test_compiled_is_what_runs():  # on a processor too, where it is not offered but can be tried
    model = random_statistics(smlm.create_model("fidstorm", 4, blocks=1, width=8)).eval()
    model.normalise, model.pixel_nm, movie = smlm.Normalise(100, 200), 100., made(20, 16)
    joined = smlm.fuse(model, compiled=True, positive=True)
    plain, first = (smlm.reconstruct(net, movie, device="cpu", progress=False) for net in (model, joined))
    threads = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with profile(activities=[ProfilerActivity.CPU], experimental_config=threads) as steps:
        again = smlm.reconstruct(joined, movie, device="cpu", progress=False)
    counts = {step.key: step.count for step in steps.key_averages()}
    layers = sum(isinstance(layer, torch.nn.LeakyReLU) for layer in joined.body.modules())
    assert counts["aten::leaky_relu_"] <= 2*layers  # when its memory is measured, where each step is noted twice
    assert sum(name.startswith("Torch-Compiled Region") for name in counts) >= 3  # network, peaks, brightness
    for other in (first, again):
        np.testing.assert_allclose(other.image, plain.image, atol=1e-5*plain.image.max())
        np.testing.assert_allclose(other.peaks, plain.peaks, rtol=1e-3)


@on_gpu
@pytest.mark.parametrize("name", smlm.list_models())
def test_a_compiled_network_is_the_same_function(name):
    model = random_statistics(smlm.create_model(name, 4)).eval().cuda()
    x = torch.randn(2, 1, 24, 32, device="cuda")
    with torch.inference_mode():
        expected, got = model(x), smlm.fuse(model, torch.float16, compiled=True)(x)
    assert apart(got, expected) < 0.003


@on_gpu
@pytest.mark.parametrize("frames", [40, 200])  # less than a block, and some blocks of which the last is shorter
def test_a_compiled_reconstruction_finds_the_same_molecules(frames):
    model, movie = smlm.from_pretrained("fidstorm"), made(frames, (72, 60))
    plain, joined = (smlm.reconstruct(model, movie, precision="float16", compiled=compiled, device="cuda",
                                      progress=False) for compiled in (False, True))
    np.testing.assert_allclose(joined.image, plain.image, atol=0.02*plain.image.max())
    tables = [smlm.localize(density) for density in (plain, joined)]
    scores = smlm.evaluate(tables[1], tables[0], radius_nm=30)
    assert scores.jaccard > 0.995 and scores.rmse_nm < 1
    brightness = [table["brightness"].median() for table in tables]
    assert brightness[0] == pytest.approx(brightness[1], rel=0.01)
