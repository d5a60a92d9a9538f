"""How fast is the simulator? Frames per second beside a plain loop over emitters in numpy.

    python benchmarks/simulate.py

Films 64 x 64 pixels with 6 emitters per µm² through an sCMOS camera, then makes training batches beside training steps.
Each figure is the best of several runs, and the runs of what is compared take turns. A GPU is measured where one is.
"""
import argparse
import time

import numpy as np
import torch
from scipy.special import erf

import dl4smlm as smlm

SIDE_PX, DENSITY = 64, 6
CAMERA, PSF = smlm.scmos_camera(), smlm.GaussianPSF()
FIELD_NM = (SIDE_PX*CAMERA.pixel_nm,)*2


def shares(centre_px, sigma_px):
    "Share of a spot's light in each pixel along one axis."
    edges = np.arange(SIDE_PX + 1)
    return np.diff(erf((edges - centre_px)/(np.sqrt(2)*sigma_px)))/2


def plain_loop(frames, rng):
    "The equations of the book, one emitter after the other."
    movie = np.empty((frames, SIDE_PX, SIDE_PX), np.uint16)
    sigma_px = PSF.sigma_nm/CAMERA.pixel_nm
    for t in range(frames):
        light = np.full((SIDE_PX, SIDE_PX), 10.)
        for _ in range(rng.poisson(DENSITY*FIELD_NM[0]*FIELD_NM[1]/1e6)):
            x, y, photons = *rng.uniform(0, SIDE_PX, 2), rng.uniform(1000, 3000)
            light += photons*np.outer(shares(y, sigma_px), shares(x, sigma_px))
        electrons = rng.poisson(CAMERA.quantum_efficiency*light) + rng.normal(0, CAMERA.read_noise_e, light.shape)
        counts = CAMERA.offset_counts + electrons/CAMERA.electrons_per_count
        movie[t] = np.clip(np.round(counts), 0, CAMERA.max_counts)
    return movie


def seconds(job):
    if torch.cuda.is_available(): torch.cuda.synchronize()
    start = time.perf_counter()
    job()
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return time.perf_counter() - start


def compare_films(rounds, frames, plain_frames):
    "Frames per second of the loop, of one and of two cores, and of a GPU."
    rng, threads = np.random.default_rng(0), torch.get_num_threads()

    def ours(n, device="cpu"):
        torch.set_num_threads(n)
        smlm.simulate(frames, DENSITY, SIDE_PX, CAMERA, PSF, seed=0, device=device)
        torch.set_num_threads(threads)

    jobs = {"plain loop": (plain_frames, lambda: plain_loop(plain_frames, rng)),
            "1 core": (frames, lambda: ours(1)), "2 cores": (frames, lambda: ours(2))}
    if torch.cuda.is_available(): jobs[torch.cuda.get_device_name()] = frames, lambda: ours(1, "cuda")
    best = dict.fromkeys(jobs, 0.)
    for _ in range(rounds):
        for name, (number, job) in jobs.items(): best[name] = max(best[name], number/seconds(job))
    for name, rate in best.items():
        print(f"{name:24} {rate:9.0f} frames/s  {rate/best['plain loop']:6.1f} times the loop")


def compare_batches(rounds, network):
    "Milliseconds of a training batch, and of a training step with it."
    device = "cuda" if torch.cuda.is_available() else "cpu"
    live, model = smlm.LiveSimulation(device=device), smlm.create_model(network).to(device)
    loss, optimizer = smlm.L1L2Loss(), torch.optim.Adam(model.parameters())

    def step(x, y):
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    step(*live.batch(0))
    making = min(seconds(lambda k=k: live.batch(k)) for k in range(5*rounds))
    training = min(seconds(lambda: step(*live.batch(0))) for _ in range(rounds)) - making
    print(f"a batch of {live.batch_size} on {device}: {1e3*making:.1f} ms to make, {1e3*training:.0f} ms to learn from "
          f"({network}): {making/training:.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, of which the best counts")
    parser.add_argument("--frames", type=int, default=2048, help="frames of our movie")
    parser.add_argument("--network", default="fidstorm", help="network to train a step of")
    arguments = parser.parse_args()
    compare_films(arguments.rounds, arguments.frames, plain_frames=40)
    compare_batches(arguments.rounds, arguments.network)
