"""Pictures of simulated filaments, crowded and dim, by the scores of `benchmarks/published_movie.py`.

    python benchmarks/filaments.py BUNDLE ... [--frames 120] [--out filaments.csv]

The movie is like those that networks are compared with, but nobody's: 25 filaments in 64 x 64 pixels of 100 nm, 5.5
emitters per µm² and frame with 1,430 photons on average and a spread of 0.6, a background of 20 photons per pixel, a
PSF of 110 nm and an EMCCD. It is for choosing: what is chosen by it can then be tried, once, on a published movie.
Columns: those of `published_movie.py`, and the Jaccard index and RMSE of the molecules. Networks run in bfloat16.
"""
import argparse
from pathlib import Path

import pandas as pd
from published_movie import scores

import dl4smlm as smlm
from dl4smlm.recipes import EMCCD


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="model bundles")
    parser.add_argument("--frames", type=int, default=120, help="frames of the movie")
    parser.add_argument("--seed", type=int, default=5, help="seed of filaments and movie")
    parser.add_argument("--out", type=Path, help="file for the table")
    asked = parser.parse_args()
    structure = smlm.Filaments(25, (6400., 6400.), seed=asked.seed)
    movie, truth = smlm.simulate(asked.frames, 5.5, 64, EMCCD, smlm.GaussianPSF(110.), smlm.LogNormal(1430., 0.6), 20.,
                                 structure=structure, seed=asked.seed)
    rows = {}
    for name in asked.bundles:
        density = smlm.reconstruct(smlm.from_pretrained(name), movie, precision="bfloat16", progress=False)
        found = smlm.evaluate(smlm.localize(density), truth, 250., 450., (6400., 6400.))
        rows[Path(name).name] = (scores(density.image, truth[["y_nm", "x_nm"]].to_numpy()/12.5)
                                 | {"jaccard": found.jaccard, "rmse_nm": found.rmse_nm})
        table = pd.DataFrame(rows).T.rename_axis("method")
        if asked.out: table.round(4).to_csv(asked.out)
    print(table.round(3).to_string())


if __name__ == "__main__": main()
