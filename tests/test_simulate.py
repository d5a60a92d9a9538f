"Simulated statistics meet theory, for any camera, spot and blinking that hypothesis comes up with."
import inspect
import math
import os
import subprocess
import sys
from typing import get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dl4smlm as smlm
from dl4smlm.blinking import switch
from dl4smlm.core import make_emitters, make_generator
from dl4smlm.simulate import _ROW_BYTES, Distribution, Structure, draw_emitters, move, simulate

quick = settings(max_examples=25, deadline=None, derandomize=True)

# Read noise is at least 0.8 counts here: with less, whole numbers are too coarse for a theory that adds a twelfth.
cameras = st.builds(
    smlm.Camera, offset_counts=st.just(400.), electrons_per_count=st.floats(0.2, 1.2), read_noise_e=st.floats(1, 5),
    quantum_efficiency=st.floats(0.3, 1), em_gain=st.none() | st.floats(20, 40), spurious_e=st.floats(0, 0.1))


@quick
@given(cameras, st.floats(1, 100))
def test_mean_and_variance_of_a_camera(camera, photons):
    n, gain, excess = 40_000, camera.em_gain or 1, 1 if camera.em_gain is None else 2
    electrons = camera.quantum_efficiency*photons + camera.spurious_e
    mean = camera.offset_counts + electrons*gain/camera.electrons_per_count
    variance = (excess*gain**2*electrons + camera.read_noise_e**2)/camera.electrons_per_count**2 + 1/12
    counts = smlm.expose(camera, torch.full((n,), photons), make_generator(0)).double()
    assert counts.max() < camera.max_counts
    assert counts.mean().item() == pytest.approx(mean, abs=5*math.sqrt(variance/n))
    assert counts.var().item() == pytest.approx(variance, rel=0.1)
    back = smlm.to_photons(camera, counts).mean().item()
    assert back == pytest.approx(photons, abs=5*math.sqrt(variance/n)/camera.counts_per_photon + 1e-3)


def pull_to_the_middle(place_px, width_px):
    "How far pixels move the centre of a Gaussian: they put all of their light in their middle (its Fourier series)."
    return sum(math.sin(2*math.pi*k*place_px)*math.exp(-2*(math.pi*k*width_px)**2)/(math.pi*k) for k in range(1, 20))


@quick
@given(st.floats(40, 300), st.floats(60, 160), st.floats(-400, 400), st.floats(0, 1), st.floats(0, 1))
def test_no_photon_is_lost(sigma_nm, pixel_nm, z_nm, x, y):
    spot = make_emitters(0, (40 + x)*pixel_nm, (45 + y)*pixel_nm, 1000., z_nm=z_nm)
    for psf in (smlm.GaussianPSF(sigma_nm), smlm.AstigmaticPSF(sigma_nm)):
        light = psf.render(spot, (1, 90, 80), pixel_nm)[0].double()
        assert light.min() >= 0 and light.sum().item() == pytest.approx(1000, rel=2e-5)
        column = (light.sum(0)*(torch.arange(80) + 0.5)).sum()/1000
        known = psf.sigma_nm if isinstance(psf, smlm.GaussianPSF) else psf.widths(torch.tensor(z_nm))[0].item()
        width = known/pixel_nm
        assert column.item() == pytest.approx(40 + x + pull_to_the_middle(x, width), abs=2e-3)


@quick
@given(st.floats(0.5, 8), st.floats(5, 200), st.floats(0, 1))
def test_times_on_and_light(on_frames, off_frames, bleaching):
    blinking = smlm.Blinking(on_frames, off_frames, bleaching)
    molecule, begin, end = switch(4000, 400, on_frames, off_frames, bleaching, make_generator(0))
    begun = (begin > 0) & (begin < 400 - 12*on_frames)  # those that the end of the movie hardly cuts
    times = (end - begin)[begun]
    if len(times) > 200: assert times.mean().item() == pytest.approx(on_frames, abs=5*on_frames/math.sqrt(len(times)))
    *_, share = blinking.draw(4000, 400, make_generator(0))
    assert share.sum().item() == pytest.approx((end - begin).sum().item(), rel=1e-4)
    spread = 5*math.sqrt(2*on_frames*400*4000*blinking.share_on(400)) + 1
    assert share.sum().item() == pytest.approx(4000*400*blinking.share_on(400), abs=spread)


@pytest.mark.parametrize("blinking", [None, smlm.Blinking(3, 60, 0.1)])
def test_density(blinking):
    table = smlm.draw_emitters(300, 1.5, (8000., 12_000.), 1000., generator=make_generator(0), blinking=blinking)
    assert table["photons"].sum()/1000/300/96 == pytest.approx(1.5, rel=0.03)


@quick
@given(st.floats(0, 2), st.floats(0, 360), st.floats(0, 0.4), st.floats(0, 0.3))
def test_background_is_light(rise, angle, unevenness, flicker):
    background = smlm.Background(10., rise, angle, unevenness, scale_px=2, flicker=flicker)
    levels, pattern = background.draw(400, (60, 50), make_generator(0))
    light = levels*pattern
    assert light.min() >= -1e-5
    assert light.mean().item() == pytest.approx(10, rel=1e-4)


def test_every_structure_stays_in_the_field_and_repeats():
    field = (3000., 2500.)
    for structure in (smlm.Uniform(), smlm.Filaments(4, field, seed=0), smlm.NuclearPores(9, field, seed=0),
                      smlm.TwoPoints(field_nm=field, spread_nm=200), smlm.LinePairs(field_nm=field, thickness_nm=300),
                      smlm.Drawing(np.eye(7), field)):
        xy, again = (structure.sample(3000, field, make_generator(3)) for _ in range(2))
        assert torch.equal(xy, again)
        assert (xy >= 0).all() and (xy < torch.tensor([2500., 3000.])).all()


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_a_stream_without_repeats(processes):
    live = smlm.LiveSimulation(size_px=12, upscale=2, batch_size=16, block=4, batches=3, seed=5, device="cpu")
    parts = [live.shard(rank, processes) for rank in range(processes)]
    for epoch in (0, 3):
        for part in (live, *parts): part.set_epoch(epoch)
        for whole, *shares in zip(live, *parts):
            for one, joined in zip(whole, map(torch.cat, zip(*shares))): assert torch.equal(one, joined)
    frames = torch.cat([live.batch(k, epoch)[0] for epoch in range(2) for k in range(3)]).flatten(1)
    assert len(frames.unique(dim=0)) == len(frames)


def test_a_stream_goes_on_where_it_stopped_and_judges_by_other_samples():
    make = {"size_px": 12, "upscale": 2, "batches": 2, "device": "cpu"}
    through = smlm.LiveSimulation(**make)
    passes = [[x for x, _ in through] for _ in range(3)]
    resumed = smlm.LiveSimulation(**make)
    resumed.set_epoch(2)
    for x, (y, _) in zip(passes[2], resumed): assert torch.equal(x, y)
    valid = smlm.LiveSimulation(**make, fresh=False)
    first, second = ([x for x, _ in valid] for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert not any(torch.equal(x, y) for one in passes for x, y in zip(one, first))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_makes_batches_beside_the_network():
    stream = smlm.LiveSimulation(batches=4, batch_size=64, block=64, seed=1, fresh=False, device="cuda")
    alone = [stream.batch(index) for index in range(4)]
    busy = torch.randn(4096, 4096, device="cuda")
    for (x, y), (frames, truth) in zip(stream, alone, strict=True):
        for _ in range(20): busy = busy @ busy/64  # keeps the queue of the network long
        assert torch.equal(y, truth)
        assert (x - frames).abs().mean() < 0.01*frames.std()  # sums of light have no fixed order on a GPU


def peak_kb(script, *arguments):
    "The most memory that a script held, in a process of its own."
    script += '\nprint(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))'
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True,
                          check=True, env=environment)
    return int(done.stdout)


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read as Linux gives it")


@linux
def test_a_movie_that_goes_into_a_file_is_not_held_in_memory(tmp_path):
    script = """
import sys, dl4smlm as smlm
movie, truth = smlm.simulate(int(sys.argv[1]), 0.05, 64, seed=0, stream=True)
smlm.save_movie(movie, sys.argv[2])"""
    few, many = 8000, 24_000  # both longer than the blocks that are in memory at the same time: 3 of 2,048 frames
    short, long = (peak_kb(script, frames, tmp_path / f"{frames}.tif") for frames in (few, many))
    frame_kb = 64*64*2/1024
    assert long - short < (many - few)*frame_kb/2, f"{short} kB for {few} frames, {long} kB for {many}"


@linux
def test_a_row_takes_as_much_memory_as_is_said():
    script = """
import sys, dl4smlm as smlm
smlm.draw_emitters(1000, 0, (6400., 6400.), count=float(sys.argv[1])/1000, generator=smlm.core.make_generator(0))"""
    few, many = (peak_kb(script, rows) for rows in (1e6, 4e6))
    assert 0.5 < (many - few)*1024/3e6/_ROW_BYTES < 1.5


@pytest.mark.parametrize("function", [draw_emitters, simulate, move, smlm.film], ids=lambda function: function.__name__)
def test_every_parameter_says_what_it_takes(function):
    hints = get_type_hints(function)
    assert set(inspect.signature(function).parameters) | {"return"} == set(hints)
    assert object not in hints.values()


def test_a_camera_takes_no_maps_but_a_cmos_map():
    maps = smlm.CmosMap(*[np.ones((4, 5))]*3)
    assert smlm.Camera(maps=maps).maps is maps
    for wrong in (3, "maps.tif", np.ones((4, 5)), [maps]):
        with pytest.raises(ValueError, match="maps must be a CmosMap, or None, got .*CmosMap.from_files"):
            smlm.Camera(maps=wrong)


def test_structures_and_distributions_of_the_package_are_what_signatures_ask_for():
    field_nm = 3200., 3200.
    for structure in (smlm.Filaments(3, field_nm, seed=0), smlm.NuclearPores(3, field_nm, seed=0)):
        assert isinstance(structure, Structure)
    assert isinstance(smlm.Exponential(800), Distribution)
    assert not isinstance(800., Distribution) and not isinstance("filaments", Structure)


class Middle:
    "A structure with a single place."
    def sample(self, n, field_nm, generator): return torch.full((n, 2), field_nm[0]/2)


def test_a_stream_films_for_the_microscope_that_was_matched():
    "What a movie told, given to a stream as it is: spots of that width, and no others."
    found = smlm.Microscope(smlm.Camera(), smlm.GaussianPSF(180.), 5000., 100., 0., 1., {}, ())
    live = smlm.LiveSimulation(**found.settings(), structure=Middle(), size_px=24, batch_size=32, device="cpu")
    assert live.psfs == (found.psf,) and "sigma_nm" not in live.ranges
    light = torch.cat([live.batch(k)[0] for k in range(8)]).sum((0, 1, 2))
    place = 100*(torch.arange(24) - 11.5)
    assert abs((light @ place**2/light.sum() - 100**2/12).sqrt() - 180) < 3


def test_a_width_that_is_given_comes_first_and_without_any_there_is_a_range():
    def first(**settings): return smlm.LiveSimulation(size_px=16, upscale=2, seed=4, device="cpu", **settings).batch(0)

    def same(*pair): return all(map(torch.equal, *pair))

    psf = smlm.GaussianPSF()
    assert same(first(), first(sigma_nm=(95., 125.), psf=psf))
    assert same(first(sigma_nm=None), first(psf=psf)) and not same(first(), first(psf=psf))
    assert same(first(sigma_nm=(95., 125.), psf=smlm.GaussianPSF(300.)), first())
    with pytest.raises(ValueError, match="sigma_nm must be one number or a range"): first(sigma_nm="wide")
