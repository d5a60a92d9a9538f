"""Deep-STORM on the training set its authors published (demo 1), by their recipe: does it head for their loss?

    python benchmarks/deepstorm_demo1.py FOLDER [--minutes 40] [--cool] [--precision bfloat16] [--out curve.csv]

FOLDER holds ArtificialDataset_demo1.tif and positions_demo1.csv of demo 1 at github.com/EliasNehme/Deep-STORM (MIT).

As the authors did it: 500 patches of 26 x 26 camera pixels at random places of each of 20 frames, those with at least
7 emitters kept; 70 % to train and 30 % to validate, split at random. The two therefore overlap; nowhere else in this
project is that allowed, but their number was measured so. Each patch is scaled to 0 to 1 and then by the mean and the
standard deviation of the training patches. The labels are blurred before the patches are cut out, and sit at the
authors' rounding. Adam with 1e-3, batches of 16, a tenth of the rate after 5 epochs of 400 steps without improvement,
100 epochs.

Their screenshot shows 0.3219 for the validation and 0.0968 for the training loss at the end, after about an hour and
three quarters on a TITAN Xp; that it is of this movie nobody says. An empty answer has about 0.75. This script judges
every `--every` steps on `--valid` of the validation patches, stops after `--minutes`, prints the curve in epochs of
6,400 patches, and in the end judges the best weights on `--final` patches.

Without a graphics card the time ends long before the plateau that lowers the rate. With `--cool` the rate falls in a
straight line to nothing at the end of the time, however many steps that is: the shape of the whole recipe in the time
there is. Smaller batches (`--batch`) then give more steps.

So far (`deepstorm_demo1.csv`): an H200 that seven other trainings shared, `--minutes 6.2 --cool --every 400 --valid 480
--precision bfloat16 --device cuda`, 16,800 steps of 16 or 42 epochs of theirs in 6.2 minutes: training 0.687 to 0.0504,
validation 0.569 to 0.0569, and 0.0576 for the best weights on all 3,000 patches. Two idle cores came to 0.489 in 3.4
minutes (`--cool --batch 4 --every 100 --valid 64`).

On Linux half of a step of 16 patches is spent on memory that is given back and asked for again: set MALLOC_MMAP_MAX_=0
MALLOC_TRIM_THRESHOLD_=100000000000 before python, and a step takes 1.1 s instead of 2 to 2.4 on one core.

Our network answers 1 for an emitter where theirs answers 50, so the weights of its head are 50 times smaller. Adam
moves a weight by about the rate, whatever its size: with a rate 50 times smaller for the head, the steps are theirs.
"""
import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dl4smlm.core import set_seed
from dl4smlm.io import open_movie
from dl4smlm.learner import Callback, Learner
from dl4smlm.losses import blur, gaussian_kernel
from dl4smlm.models.deepstorm import SPIKE, DeepSTORM
from dl4smlm.tables import read_localizations

PATCH, UPSCALE, EPOCH = 26, 8, 400


def whole_labels(emitters, shape, pixel_nm=100.):
    "A one at each emitter's fine pixel, by the authors' rounding, blurred over the whole frame; (T, rH, rW)."
    frames, height, width = shape
    spikes = torch.zeros(frames, 1, UPSCALE*height, UPSCALE*width)
    row, col = (np.clip(np.rint(emitters[name]*UPSCALE/pixel_nm), 1, UPSCALE*side).astype(int) - 1
                for name, side in (("y_nm", height), ("x_nm", width)))
    spikes[emitters["frame"].tolist(), 0, row, col] = 1
    return spikes, blur(spikes, gaussian_kernel())


def cut_patches(movie, spikes, labels, random, per_frame=500, least=7, most=10_000):
    "Frames (n, 1, 26, 26) and labels (n, 1, 208, 208) at random places, those with enough emitters."
    frames, height, width = movie.shape
    x, y = [], []
    for frame in range(frames):
        rows, cols = (random.randint(0, side - PATCH + 1, per_frame) for side in (height, width))
        for row, col in zip(rows, cols):
            fine = (slice(UPSCALE*row, UPSCALE*(row + PATCH)), slice(UPSCALE*col, UPSCALE*(col + PATCH)))
            if spikes[(frame, 0, *fine)].sum() < least: continue
            x.append(movie[frame, row:row + PATCH, col:col + PATCH])
            y.append((frame, *fine))
    x, y = x[:most], y[:most]
    x = torch.from_numpy(np.stack(x).astype(np.float32))[:, None]
    return x, [labels[(frame, slice(None), *fine)] for frame, *fine in y]


def scale(x, like=None):
    "Each patch to 0 to 1, then by the mean of the means and of the standard deviations of `like`."
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    x = (x - low)/(high - low)
    if like is None: like = x.mean((1, 2, 3)).mean(), x.std((1, 2, 3)).mean()
    return (x - like[0])/like[1], like


class Draws:
    "Batches drawn at random from a list of patches, a pure function of the seed and the epoch."
    def __init__(self, x, y, batches, batch_size=16, seed=0):
        self.x, self.y, self.batches, self.batch_size, self.seed, self.epoch = x, y, batches, batch_size, seed, 0

    def __len__(self): return self.batches
    def set_epoch(self, epoch): self.epoch = epoch

    def __iter__(self):
        per_round = len(self.x)//self.batch_size
        for batch in range(self.epoch*self.batches, (self.epoch + 1)*self.batches):
            order = np.random.RandomState([self.seed, batch//per_round]).permutation(len(self.x))
            chosen = order[batch % per_round*self.batch_size:][:self.batch_size]
            yield self.x[chosen], torch.stack([self.y[i] for i in chosen])


def authors_loss(prediction, label):
    "The loss as the authors coded it; ours for spikes, but the label is blurred already."
    error = 100*(blur(prediction.float(), gaussian_kernel()) - label)
    return error.square().mean() + SPIKE*prediction.abs().mean()


def adam(weights, lr):
    "Adam as Keras has it, with the step of the head in our unit."
    *body, head = weights
    return torch.optim.Adam([{"params": body}, {"params": [head], "lr": lr/SPIKE}], lr=lr, eps=1e-7)


def plateau(optimizer, steps, every):
    "A tenth of the rate after 5 epochs of 400 steps without improvement, down to 5e-5."
    least = [5e-5, 5e-5/SPIKE]
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5*EPOCH//every, min_lr=least)


def cooling(optimizer, steps, minutes):
    "A rate that falls to nothing with the time that is left."
    start = time.time()
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0, 1 - (time.time() - start)/(60*minutes)))


class Report(Callback):
    "Print each epoch, write the curve to a file, and stop when the time is over."
    def __init__(self, patches, minutes, out): self.patches, self.end, self.out = patches, time.time() + 60*minutes, out

    def after_epoch(self, learner):
        epochs = learner.history.index*self.patches/(16*EPOCH)
        curve = learner.history.set_index(epochs.rename("epoch_of_6400_patches"))
        print(f"{curve.index[-1]:8.2f}{curve['train'].iloc[-1]:10.4f}{curve['valid'].iloc[-1]:10.4f}", flush=True)
        if self.out: curve.to_csv(self.out)
        if time.time() > self.end: learner.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with ArtificialDataset_demo1.tif and positions_demo1.csv")
    parser.add_argument("--minutes", type=float, default=40, help="stop after the epoch in which they end")
    parser.add_argument("--every", type=int, default=40, help="steps from one validation to the next")
    parser.add_argument("--valid", type=int, default=3000, help="validation patches to judge by, at most")
    parser.add_argument("--final", type=int, default=3000, help="validation patches to judge by in the end, at most")
    parser.add_argument("--batch", type=int, default=16, help="patches in a batch")
    parser.add_argument("--cool", action="store_true", help="let the rate fall to nothing at the end of the time")
    parser.add_argument("--precision", default="float32", help="float32, bfloat16 or float16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="file for the curve")
    arguments = parser.parse_args()
    set_seed(42)
    with open_movie(arguments.folder/"ArtificialDataset_demo1.tif") as movie: counts = np.array(movie[:])
    spikes, labels = whole_labels(read_localizations(arguments.folder/"positions_demo1.csv"), counts.shape)
    x, y = cut_patches(counts, spikes, labels, np.random.RandomState(42))
    order = np.random.RandomState(42).permutation(len(x))
    kept = order[len(x)*7//10:]
    train_x, like = scale(x[order[:len(x)*7//10]])
    train = Draws(train_x, [y[i] for i in order[:len(x)*7//10]], arguments.every, arguments.batch)

    def batches(some):
        parts = np.array_split(some, -(-len(some)//8))
        return [(scale(x[part], like)[0], torch.stack([y[i] for i in part])) for part in parts]

    valid = batches(kept[:arguments.valid])
    empty = np.mean([authors_loss(torch.zeros_like(label), label).item() for _, label in valid])
    print(f"{len(x)} patches, {len(train_x)} to train, judged on {min(arguments.valid, len(kept))} of {len(kept)}; "
          f"an empty answer has {empty:.3f}")
    print("   epoch     train     valid   (the authors after 100 epochs: 0.097 and 0.322)", flush=True)
    ways = {True: partial(cooling, minutes=arguments.minutes), False: partial(plateau, every=arguments.every)}
    learner = Learner(DeepSTORM(UPSCALE, keras_parity=True), train, valid, authors_loss, lr=1e-3, optimizer=adam,
                      device=arguments.device, precision=arguments.precision, schedule=ways[arguments.cool],
                      callbacks=[Report(arguments.every*arguments.batch, arguments.minutes, arguments.out)])
    start = time.time()
    learner.fit(100*EPOCH//arguments.every, progress=False)
    steps, seconds = len(learner.history)*arguments.every, time.time() - start
    print(f"{steps} steps in {seconds/60:.0f} minutes, {arguments.batch*steps/seconds:.1f} patches/s")
    learner.valid = batches(kept[:arguments.final])
    print(f"validation loss of the best weights on {min(arguments.final, len(kept))} patches: {learner.validate():.4f}")


if __name__ == "__main__": main()
