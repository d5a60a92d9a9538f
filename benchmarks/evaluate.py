"""How long it takes to score tables of many localizations.

    python benchmarks/evaluate.py [--rows 1000000] [--density 1 10]

For each density (emitters per µm² and frame, in a field of 6.4 µm): a truth, the same with an error of 20 nm and every
tenth molecule missing, and the processor seconds for the closest-first matching, the optimal one, and a curve by
local density.
"""
import argparse
import time

import numpy as np

from dl4smlm.core import make_emitters
from dl4smlm.evaluate import evaluate, score_curve

SIDE_NM = 6400.


def tables(rows, density, rng):
    "A truth and what was found of it, in random order."
    frames = max(1, round(rows/(density*(SIDE_NM/1000)**2)))
    truth = make_emitters(rng.integers(0, frames, rows), *rng.uniform(0, SIDE_NM, (2, rows)))
    error = rng.normal(0, 20, (2, rows))
    found = truth.assign(x_nm=truth["x_nm"] + error[0], y_nm=truth["y_nm"] + error[1])
    return found.sample(frac=0.9, random_state=0), truth


def seconds(score, found, truth, **settings):
    "Processor seconds of one run: other programs disturb them less than the clock."
    start = time.process_time()
    score(found, truth, **settings)
    return time.process_time() - start


def main():
    "Print one line for each density."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="true emitters")
    parser.add_argument("--density", type=float, nargs="+", default=[1., 10.], help="emitters per µm² and frame")
    options = parser.parse_args()
    print(f"{options.rows} emitters, seconds\n{'density':>8} {'closest':>8} {'optimal':>8} {'curve':>8}")
    for density in options.density:
        found, truth = tables(options.rows, density, np.random.default_rng(0))
        spent = (seconds(evaluate, found, truth), seconds(evaluate, found, truth, optimal=True),
                 seconds(score_curve, found, truth))
        print(f"{density:8g} " + " ".join(f"{value:8.1f}" for value in spent))


if __name__ == "__main__":
    main()
