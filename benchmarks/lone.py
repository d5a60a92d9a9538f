"""How much light a network gives to a molecule that is alone, and how far from it: is there enough to call it one?

    python benchmarks/lone.py BUNDLE ... [--out benchmarks/lone.csv]

BUNDLE is a model bundle, or the name of a network that comes with the package. The movie is like those of accuracy.py:
pixels of 100 nm, one molecule of 2,250 photons in each frame, 20 background photons per pixel, a PSF of 110 nm and an
EMCCD. Columns: the share of the molecule's light within so many nm of it, the mean of all frames; the haze, what one
fine pixel more than 600 nm away has, in millionths of a molecule, which is taken off the shares; and the most light in
any square of 5 x 5 fine pixels, haze included, the mean of all frames. `localize` lists a peak only if the square
around it holds 0.1, or the network's threshold if that is less. A minute of two cores for all six.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

import dl4smlm as smlm
from dl4smlm.core import make_emitters, make_generator
from dl4smlm.psf import GaussianPSF
from dl4smlm.recipes import EMCCD
from dl4smlm.simulate import film

NEAR_NM = (37.5, 75, 150, 250)


def light_near(model, movie, truth):
    "Shares of a molecule's light by distance, haze, and the light of the best square."
    with torch.no_grad(): maps = model.eval()(model.normalise(torch.from_numpy(movie.astype(np.float32)))[:, None])
    squares = 25*F.avg_pool2d(maps, 5, stride=1).amax((1, 2, 3)).mean().item()
    maps, step = maps[:, 0].double().numpy(), EMCCD.pixel_nm/model.upscale
    rows, cols = ((np.arange(side) + 0.5)*step for side in maps.shape[1:])
    x, y = (truth[name].to_numpy()[:, None, None] for name in ("x_nm", "y_nm"))
    away = np.hypot(cols[None, None] - x, rows[None, :, None] - y)
    haze = maps[away > 600].mean()
    shares = {f"within_{nm:g}_nm": ((maps - haze)*(away < nm)).sum((1, 2)).mean() for nm in NEAR_NM}
    return shares | {"haze_millionths": 1e6*haze, "best_square": squares}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="model bundles")
    parser.add_argument("--frames", type=int, default=40, help="frames, each with one molecule")
    parser.add_argument("--out", type=Path, help="file for the table")
    arguments = parser.parse_args()
    places = np.random.default_rng(0).uniform(1500, 1700, (2, arguments.frames))
    truth = make_emitters(np.arange(arguments.frames), *places, 2250.)
    movie = film(truth, arguments.frames, 32, EMCCD, GaussianPSF(110.), 20., make_generator(0))
    rows = {}
    for bundle in arguments.bundles:
        model = smlm.from_pretrained(bundle)
        rows[Path(bundle).name] = light_near(model, movie, truth)
    table = pd.DataFrame(rows).T.rename_axis("method").round(4)
    print(table.to_string())
    if arguments.out: table.to_csv(arguments.out)


if __name__ == "__main__": main()
