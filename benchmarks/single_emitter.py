"""How close a trained network comes to the limit that light sets, for emitters that are alone.

    python benchmarks/single_emitter.py BUNDLE [--photons 500 1000 2000 4000] [--frames 2000] [--background 10]

BUNDLE is a model bundle, or the name of a network that comes with the package. Each frame holds one emitter anywhere
within a field of 32 x 32 pixels, but not within 8 pixels of its border, filmed with the camera's defaults and the
network's pixel size. For each brightness: the share that was found (within 250 nm), RMSE along x and y in nm, the
Cramer-Rao bound along one axis in nm (mean over places within the pixel, background unknown), and the ratio of the two.
Then the grid bias in nm: how far positions are pulled to preferred places within a super-resolution pixel, and within
a camera pixel, along x and along y; and chi-square of the histogram over its degrees of freedom, 1 if there is none.
The goal: a ratio of at most 1.5 at 2,000 photons, and no grid bias above 1 nm.
"""
import argparse

import numpy as np

import dl4smlm as smlm
from dl4smlm.bound import position_bound
from dl4smlm.core import make_generator

SIDE_PX, MARGIN_PX = 32, 8


def film_singles(frames, photons, camera, psf, background, seed):
    "A movie of single emitters at random places, and their table."
    places = MARGIN_PX + (SIDE_PX - 2*MARGIN_PX)*np.random.default_rng(seed).random((2, frames))
    truth = smlm.make_emitters(np.arange(frames), *(places*camera.pixel_nm), photons)
    return smlm.film(truth, frames, SIDE_PX, camera, psf, background, make_generator(seed)), truth


def measure(model, movie, truth, arguments):
    "Share found, errors (n, 2) in nm, and localizations that have a partner."
    density = smlm.reconstruct(model, movie, radius_nm=arguments.radius_nm, device=arguments.device, progress=False)
    found = smlm.localize(density)
    pairs = smlm.match(found, truth, 250.)
    places = [table[["x_nm", "y_nm"]].to_numpy()[rows] for table, rows in zip((found, truth), pairs.T)]
    return len(pairs)/len(truth), places[0] - places[1], found.iloc[pairs[:, 0]], density.pixel_nm


def describe_bias(found, fine_nm, pixel_nm):
    "How far positions are pulled, in nm, or why it cannot be told."
    try: fine, coarse = (smlm.grid_bias(found, pixel) for pixel in (fine_nm, pixel_nm))
    except ValueError as error: return f"   {error}"
    line = "".join(f"{bias.bias_nm[0]:{width}.2f}{bias.bias_nm[1]:8.2f}" for bias, width in ((fine, 10), (coarse, 8)))
    chi = fine.chi_square/(fine.counts.shape[1] - 1)
    return line + f"{chi[0]:8.2f}{chi[1]:6.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a model bundle: the folder that `dl4smlm train` made")
    parser.add_argument("--photons", type=float, nargs="+", default=[500., 1000., 2000., 4000.], help="photons")
    parser.add_argument("--frames", type=int, default=2000, help="frames for each brightness")
    parser.add_argument("--background", type=float, default=10., help="background photons per pixel")
    parser.add_argument("--sigma-nm", type=float, default=110., help="width of the PSF in nm")
    parser.add_argument("--radius-nm", type=float, default=30., help="molecules of one frame are further apart, nm")
    parser.add_argument("--seed", type=int, default=0, help="seed")
    parser.add_argument("--device", default="auto", help="where to compute")
    arguments = parser.parse_args()
    model = smlm.from_pretrained(arguments.bundle)
    camera, psf = smlm.Camera(pixel_nm=model.pixel_nm), smlm.GaussianPSF(arguments.sigma_nm)
    print(f"{'photons':>8s}{'found':>8s}{'RMSE x':>8s}{'RMSE y':>8s}{'bound':>7s}{'ratio':>7s}"
          f"{'grid bias x, y':>18s}{'camera pixel':>16s}{'chi2/dof':>14s}")
    for photons in arguments.photons:
        movie, truth = film_singles(arguments.frames, photons, camera, psf, arguments.background, arguments.seed)
        share, error, found, fine_nm = measure(model, movie, truth, arguments)
        bound = position_bound(photons, arguments.background, camera, psf).iloc[0]
        limit, rmse = np.hypot(bound["x_nm"], bound["y_nm"])/np.sqrt(2), np.sqrt((error**2).mean(0))
        ratio = np.sqrt((rmse**2).mean())/limit
        line = f"{photons:8g}{share:8.3f}{rmse[0]:8.2f}{rmse[1]:8.2f}{limit:7.2f}{ratio:7.2f}"
        print(line + describe_bias(found, fine_nm, camera.pixel_nm), flush=True)


if __name__ == "__main__": main()
