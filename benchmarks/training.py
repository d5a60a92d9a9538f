"""How many patches a second each network learns from, how long it waits for data, and what the tricks are worth.

    python benchmarks/training.py [--networks fidstorm deepstorm] [--size 32] [--upscale 4] [--batch 16] [--threads 2]

For each network, on batches simulated while it trains: patches per second of
  plain      the loop of a first tutorial: 32 bits, channels first, Adam, each batch made when it is wanted
  Learner    ours as it comes: channels last, and a thread that simulates the next batch while this one is in use
  bfloat16   the same, with 16-bit numbers inside the network
and in brackets how many times as fast as plain. Then the share of the time in which the Learner waits for a batch, and
how long a batch takes to simulate, as a share of the time for a step. All ways are taken in turns, so that what
disturbs them meets all alike, and the fastest of several rounds counts. With `--cpu-time` the processor's time is
measured, which other programs disturb less; the waiting is then not.
"""
import argparse
import platform
import time

import torch

from dl4smlm.camera import Camera
from dl4smlm.core import set_seed
from dl4smlm.learner import Callback, Learner
from dl4smlm.live import LiveSimulation
from dl4smlm.losses import L1L2Loss
from dl4smlm.models.zoo import create_model, list_models


class Waiting:
    "A source that measures how long its user waits for each batch."
    def __init__(self, source): self.source, self.seconds, self.pixel_nm = source, 0., source.pixel_nm
    def __len__(self): return len(self.source)
    def set_epoch(self, epoch): self.source.set_epoch(epoch)

    def __iter__(self):
        batches = iter(self.source)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - start
            if batch is None: return
            yield batch


class Clock(Callback):
    "Measure the training part of an epoch, without the validation."
    def __init__(self, clock): self.clock = clock
    def before_epoch(self, learner): self.start = self.clock()
    def after_step(self, learner): self.seconds = self.clock() - self.start


def plain_loop(model, source, device):
    "One epoch as one would write it first; each batch is made in the loop."
    loss, optimizer = L1L2Loss().to(device), torch.optim.Adam(model.parameters(), lr=1e-4)
    model.train()
    for index in range(len(source)):
        x, y = source.batch(index, epoch=0)
        value = loss(model(x.to(device)), y.to(device))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value.item()


def measure(name, options, source, clock):
    "Patches per second of each way, the share of waiting, and the seconds to simulate a batch."
    patches, device = len(source)*options.batch, torch.device(options.device)
    best, waits = {}, []
    valid = [source.batch(0, epoch=99)]
    for _ in range(options.rounds):
        set_seed(0)
        model = create_model(name, options.upscale).to(device)
        start = clock()
        plain_loop(model, source, device)
        rates = {"plain": patches/(clock() - start)}
        for way, precision in (("Learner", "float32"), ("bfloat16", "bfloat16")):
            waiting, timer = Waiting(source), Clock(clock)
            learner = Learner(create_model(name, options.upscale), waiting, valid, L1L2Loss(), lr=1e-4,
                              device=device, precision=precision, callbacks=[timer])
            learner.fit(1, progress=False)
            rates[way] = patches/timer.seconds
            if way == "Learner": waits.append(waiting.seconds/timer.seconds)
        best = {way: max(rate, best.get(way, 0)) for way, rate in rates.items()}
    start = clock()
    for index in range(len(source)): source.batch(index, epoch=1)
    return best, min(waits), (clock() - start)/len(source)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=list_models(), help="names; all by default")
    parser.add_argument("--size", type=int, default=32, help="side of a patch in camera pixels")
    parser.add_argument("--upscale", type=int, default=4, help="super-resolution pixels per camera pixel")
    parser.add_argument("--batch", type=int, default=16, help="patches in a batch")
    parser.add_argument("--steps", type=int, default=4, help="batches in a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the fastest counts")
    parser.add_argument("--threads", type=int, default=2, help="threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--cpu-time", action="store_true", help="measure the processor's time on one thread")
    options = parser.parse_args()
    threads, clock = (1, time.process_time) if options.cpu_time else (options.threads, time.perf_counter)
    torch.set_num_threads(threads)
    source = LiveSimulation(Camera(pixel_nm=100), upscale=options.upscale, size_px=options.size, density=1.,
                            batch_size=options.batch, batches=options.steps, block=min(8, options.batch),
                            device=options.device)
    print(f"{platform.machine()}, torch {torch.__version__}, {threads} thread(s) on {options.device}, {options.batch} "
          f"patches of {options.size} x {options.size} at x{options.upscale}; patches per second\n")
    print(f"{'network':12s}{'plain':>8s}{'Learner':>16s}{'bfloat16':>16s}{'waiting':>10s}{'simulating':>12s}")
    for name in options.networks:
        best, wait, batch = measure(name, options, source, clock)
        cells = [f"{best[way]:9.1f} ({best[way]/best['plain']:4.2f})" for way in ("Learner", "bfloat16")]
        share = "-" if options.cpu_time else f"{wait:.1%}"
        print(f"{name:12s}{best['plain']:8.1f}{''.join(cells)}{share:>10s}{batch*best['Learner']/options.batch:12.1%}",
              flush=True)


if __name__ == "__main__": main()
