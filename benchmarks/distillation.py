"""What a teacher is worth: small students with and without one, several seeds each, and how long they take.

    python benchmarks/distillation.py [--widths 4 8 16] [--seeds 3] [--epochs 10] [--threads 1] [--out distillation.csv]

A teacher (FID-STORM, 6 blocks of 32 channels, upscale 4) learns from simulated frames. Then students of 2 blocks learn
for the same number of steps in five ways: alone; alone with half the L1 part, which is what the attentive loss has too;
with a teacher trusted everywhere alike; with attentive imitation; and with hints first, for a quarter of the epochs.
All are scored on a movie none has seen. One line a student: validation loss, Jaccard and RMSE, and milliseconds for a
frame of 64 x 64 pixels, fused, the shortest of several runs in turns. The loss of a student depends on its width, way,
seed, epochs and on nothing else: in the end the first one is trained again, and must come out the same to the last bit.
"""
import argparse
import math
import time
from pathlib import Path

import pandas as pd
import torch

from dl4smlm.bench import shortest
from dl4smlm.camera import Camera
from dl4smlm.core import set_seed
from dl4smlm.distill import distill, teacher_errors
from dl4smlm.evaluate import evaluate
from dl4smlm.fuse import fuse
from dl4smlm.learner import Learner, validate
from dl4smlm.live import LiveSimulation
from dl4smlm.localize import localize
from dl4smlm.losses import L1L2Loss
from dl4smlm.models.zoo import create_model
from dl4smlm.reconstruct import reconstruct
from dl4smlm.simulate import simulate

CAMERA, UPSCALE, LR = Camera(pixel_nm=100), 4, 3e-3
WAYS = ["alone", "half L1", "trusted everywhere", "attentive", "hints first"]


def student_of(width, seed):
    "A student before training: the same weights for every way."
    set_seed(seed)
    return create_model("fidstorm", UPSCALE, blocks=2, width=width)


def train_student(way, student, teacher, data, eta, epochs):
    "Train in one of the ways, all with the same number of steps; return the validation loss."
    rest = {"lr": LR, "device": "cpu", "progress": False}
    if way in ("alone", "half L1"):
        loss = L1L2Loss(l1=1 if way == "alone" else 0.5)
        Learner(student, *data, loss, lr=LR, device="cpu").fit(epochs, progress=False)
        return validate(student, data[1], L1L2Loss())
    if way == "trusted everywhere": eta = math.inf
    hints = max(1, epochs//4) if way == "hints first" else 0
    hint = {"hint": ("chain", "chain"), "hint_epochs": hints} if hints else {}
    return distill(student, teacher, *data, epochs - hints, eta=eta, **hint, **rest).loc["imitate"]["valid"].min()


def scores(model, movie, truth):
    "Jaccard and RMSE in nm at the threshold that suits the network best."
    density = reconstruct(model, movie, device="cpu", progress=False)
    found = [evaluate(localize(density, threshold=threshold), truth) for threshold in (0.1, 0.15, 0.2, 0.3, 0.4, 0.5)]
    best = max(found, key=lambda score: score.jaccard)
    return {"jaccard": best.jaccard, "rmse_nm": best.rmse_nm}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16], help="channels of the students")
    parser.add_argument("--seeds", type=int, default=3, help="students of each width and way")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of a student, 50 steps each")
    parser.add_argument("--teacher-epochs", type=int, default=20, help="epochs of the teacher, 50 steps each")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--out", type=Path, help="file for the table (CSV)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    settings = {"camera": CAMERA, "upscale": UPSCALE, "size_px": 16, "density": (0.5, 3.), "device": "cpu"}
    train = LiveSimulation(batches=50, seed=0, **settings)
    valid = LiveSimulation(batches=8, batch_size=32, seed=1, fresh=False, **settings)
    movie, truth = simulate(frames=200, density=1.5, size_px=32, camera=CAMERA, seed=2)
    set_seed(0)
    teacher = create_model("fidstorm", UPSCALE, blocks=6, width=32)
    history = Learner(teacher, train, valid, L1L2Loss(), lr=LR, device="cpu").fit(given.teacher_epochs, progress=False)
    errors = teacher_errors(teacher, train, device="cpu")
    eta = (errors.max() - errors.min()).item()
    best = history["valid"].min()
    rows = [{"width": 32, "way": "teacher", "seed": 0, "epochs": given.teacher_epochs, "valid": best,
             **scores(teacher, movie, truth)}]
    print(rows[0], flush=True)
    models = {32: teacher}
    for seed in range(given.seeds):
        for width in given.widths:
            for way in WAYS:
                models[width] = student = student_of(width, seed)
                loss = train_student(way, student, teacher, (train, valid), eta, given.epochs)
                rows.append({"width": width, "way": way, "seed": seed, "epochs": given.epochs, "valid": loss,
                             **scores(student, movie, truth)})
                print(rows[-1], flush=True)
    first = given.widths[0]
    again = train_student(WAYS[0], student_of(first, 0), teacher, (train, valid), eta, given.epochs)
    if again != rows[1]["valid"]: raise SystemExit(f"trained again, the first student has {again}: {rows[1]}")
    frame, fused = torch.zeros(1, 1, 64, 64), {width: fuse(model) for width, model in models.items()}
    with torch.inference_mode():
        ways = {width: lambda model=model: model(frame) for width, model in fused.items()}
        shortest(ways, 1)  # the first time is slow
        times = {width: 1000*seconds for width, seconds in shortest(ways, 20, time.process_time).items()}
    table = pd.DataFrame(rows)
    table["ms_per_frame"] = table["width"].map(times)
    sizes = {width: sum(p.numel() for p in model.parameters()) for width, model in models.items()}
    table["parameters"] = table["width"].map(sizes)
    print(table.round(4).to_string())
    if given.out: table.round(5).to_csv(given.out, index=False)


if __name__ == "__main__": main()
