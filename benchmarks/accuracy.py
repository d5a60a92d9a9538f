"""Trained networks on movies that none of them has seen, beside a classical fit, density by density and off the track.

    python benchmarks/accuracy.py BUNDLE ... [--picasso PYTHON] [--out accuracy.csv]

BUNDLE is a model bundle, or the name of a network that comes with the package. PYTHON is that of an environment with
`pip install picassosr`; its localizations (least squares) are taken at the box and the least net gradient, of those
tried, that give the best Jaccard on that very movie, which favours it.

Movies have 64 x 64 pixels of 100 nm, emitters anywhere, 2,250 photons each, 20 background photons per pixel, a PSF of
110 nm and an EMCCD, at 1 to 12 emitters per µm²; then, at 2 and at 4 per µm², one thing at a time is changed: pixels of
80, 130 and 160 nm, an sCMOS camera, 500 background photons, a PSF wider or narrower by 15 %, dim emitters, brightness
that varies. The score is that of the 2016 challenge: pairs within 250 nm, a border of 450 nm left out, closest first.
RMSE is that of the distance, in the plane. It stands beside the RMSE of the molecules that are alone, without another
within 1 µm, and beside the Cramer-Rao bound for such a molecule.
"""
import argparse
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

import dl4smlm as smlm
from dl4smlm.blinking import LogNormal
from dl4smlm.bound import position_bound
from dl4smlm.camera import Camera
from dl4smlm.data import Normalise
from dl4smlm.psf import GaussianPSF
from dl4smlm.recipes import EMCCD

PLAIN = {"density": 1., "photons": 2250., "background": 20., "sigma_nm": 110., "camera": EMCCD}
CHANGES = {
    **{f"pixels of {nm} nm": {"camera": dataclasses.replace(EMCCD, pixel_nm=float(nm))} for nm in (80, 130, 160)},
    "sCMOS": {"camera": Camera()},
    "background 500": {"background": 500.},
    "PSF 15 % wider": {"sigma_nm": 126.5},
    "PSF 15 % narrower": {"sigma_nm": 93.5},
    "800 photons": {"photons": 800.},
    "brightness spread": {"photons": LogNormal(2250., 0.6)},
}

PICASSO = """
import sys
from picasso import io, localize
path, out, offset, per_photon = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
movie, _ = io.load_movie(path)
camera = {"Baseline": offset, "Sensitivity": 1/per_photon, "Gain": 1, "Qe": 1.0, "Pixelsize": 1}
for box in (5, 7):
    for gradient in map(int, GRADIENTS.split()):
        spots, _ = localize.identify(movie, gradient, box, threaded=False)
        if not len(spots): continue
        found, _ = localize.fit(movie, camera_info=camera, identifications=spots, box=box, multiprocess=False)
        found[["frame", "x", "y", "photons"]].to_csv(f"{out}/{box}-{gradient}.csv", index=False)
"""
GRADIENTS = "300 600 1000 1500 2500 4000 6000 10000"


def film(setting, emitters, seed):
    "A movie of about so many emitters, and the truth."
    camera = setting["camera"]
    frames = max(10, round(emitters/(setting["density"]*(64*camera.pixel_nm/1000)**2)))
    return smlm.simulate(frames, setting["density"], 64, camera, GaussianPSF(setting["sigma_nm"]),
                         setting["photons"], setting["background"], seed=seed)


def error_alone(found, truth, far_nm=1000.):
    "Root mean square error of molecules that have no other within far_nm, in nm; NaN if there is none."
    pairs = smlm.match(found, truth, 250.)
    nearest = np.full(len(truth), np.inf)
    for rows in truth.groupby("frame").indices.values():
        places = truth.iloc[rows][["x_nm", "y_nm"]].to_numpy()
        if len(rows) > 1: nearest[rows] = cKDTree(places).query(places, k=2)[0][:, 1]
    pairs = pairs[nearest[pairs[:, 1]] > far_nm]
    error = found[["x_nm", "y_nm"]].to_numpy()[pairs[:, 0]] - truth[["x_nm", "y_nm"]].to_numpy()[pairs[:, 1]]
    return float(np.sqrt((error**2).sum(1).mean())) if len(pairs) else np.nan


def score(found, truth, camera):
    "What a table is worth."
    field_nm = (64*camera.pixel_nm,)*2
    scores = smlm.evaluate(found, truth, 250., 450., field_nm)
    names = ("jaccard", "precision", "recall", "rmse_nm", "efficiency")
    return {name: getattr(scores, name) for name in names} | {"rmse_alone_nm": error_alone(found, truth)}


def by_network(model, movie, camera):
    "The molecules that a network finds."
    density = smlm.reconstruct(model, movie, Normalise.from_camera(camera), camera.pixel_nm, progress=False)
    return smlm.localize(density)


def by_picasso(python, movie, truth, camera):
    "The molecules that Picasso fits, at the gradient that suits this movie best."
    with tempfile.TemporaryDirectory() as folder:
        smlm.save_movie(movie, Path(folder)/"movie.tif", camera.pixel_nm)
        script = PICASSO.replace("GRADIENTS", repr(GRADIENTS))
        numbers = map(str, (camera.offset_counts, camera.counts_per_photon))
        subprocess.run([python, "-c", script, f"{folder}/movie.tif", folder, *numbers], check=True, stdout=sys.stderr)
        tables = [pd.read_csv(path) for path in Path(folder).glob("*.csv")]
    tables = [smlm.make_emitters(table["frame"], (table["x"] + 0.5)*camera.pixel_nm, (table["y"] + 0.5)*camera.pixel_nm,
                                 table["photons"].clip(lower=0)) for table in tables]
    return max(tables, key=lambda table: score(table, truth, camera)["jaccard"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="model bundles")
    parser.add_argument("--picasso", help="a Python that has picassosr")
    parser.add_argument("--densities", type=float, nargs="+", default=[1., 2., 4., 6., 8., 12.],
                        help="emitters per µm²")
    parser.add_argument("--emitters", type=int, default=8000, help="emitters in a movie, about")
    parser.add_argument("--only-densities", action="store_true", help="leave out the changes")
    parser.add_argument("--seed", type=int, default=1234, help="seed of the movies")
    parser.add_argument("--out", type=Path, help="file for the table")
    arguments = parser.parse_args()
    names = [Path(bundle).name for bundle in arguments.bundles]
    if len(set(names)) < len(names): parser.error(f"bundles must differ in their last folder, got {', '.join(names)}")
    models = {name: smlm.from_pretrained(bundle) for name, bundle in zip(names, arguments.bundles)}
    settings = [("none", PLAIN | {"density": density}) for density in arguments.densities]
    if not arguments.only_densities:
        settings += [(name, PLAIN | change | {"density": density})
                     for name, change in CHANGES.items() for density in (2., 4.)]
    rows = []
    for change, setting in settings:
        movie, truth = film(setting, arguments.emitters, arguments.seed)
        camera, psf = setting["camera"], GaussianPSF(setting["sigma_nm"])
        photons = getattr(setting["photons"], "mean", setting["photons"])
        bound_nm = position_bound(photons, setting["background"], camera, psf)["rmse_nm"].item()
        found = {name: by_network(model, movie, camera) for name, model in models.items()}
        if arguments.picasso: found["Picasso"] = by_picasso(arguments.picasso, movie, truth, camera)
        for name, table in found.items():
            row = {"change": change, "density": setting["density"], "method": name, **score(table, truth, camera),
                   "bound_nm": bound_nm}
            rows.append(row)
            print(f"{change:20s}{row['density']:5g}{name:>14s}  Jaccard {row['jaccard']:.3f}"
                  f"  RMSE {row['rmse_nm']:5.1f} nm (alone {row['rmse_alone_nm']:.1f}, at best {row['bound_nm']:.1f})"
                  f"  efficiency {row['efficiency']:5.1f}", flush=True)
        if arguments.out: pd.DataFrame(rows).round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__": main()
