"""How far apart two molecules of one frame must be to be listed as two: the radius of `localize`, against density.

    python benchmarks/separation.py BUNDLE [--density 0.5 1 2 4 6] [--radius-nm 12.5 25 37.5 50] [--frames 100]

BUNDLE is a model bundle. For every density (emitters per um2) and every radius the threshold is picked that gives the
best efficiency; shown are efficiency, Jaccard index and RMSE in nm, and that threshold. Frames are 32 x 32 pixels,
filmed with the camera's defaults and the network's pixel size, 500 to 4,000 photons, 10 background photons per pixel.
Then pairs of molecules at a given distance, alone in the frame: how many are listed, and the sum of their confidences.
"""
import argparse

import numpy as np

import dl4smlm as smlm
from dl4smlm.core import make_generator


def best_scores(model, movie, truth, radius_nm):
    "Efficiency, Jaccard index, RMSE and threshold, at the best threshold."
    density = smlm.reconstruct(model, movie, radius_nm=radius_nm, progress=False)
    curve = smlm.threshold_curve(smlm.localize(density, threshold=density.floor), truth)
    return curve.loc[curve["efficiency"].idxmax()]


def film_pairs(gap_nm, frames, camera, seed=0):
    "A movie of two emitters of 2,000 photons at a given distance, in any direction."
    generator = np.random.default_rng(seed)
    middle, angle = generator.uniform(1500, 1700, (2, frames))*camera.pixel_nm/100, generator.uniform(0, np.pi, frames)
    half = gap_nm/2*np.stack([np.cos(angle), np.sin(angle)])
    places = np.concatenate([middle + half, middle - half], 1)
    truth = smlm.make_emitters(np.tile(np.arange(frames), 2), *places, 2000.)
    return smlm.film(truth, frames, 32, camera, generator=make_generator(seed))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a model bundle: the folder that `dl4smlm train` made")
    parser.add_argument("--density", type=float, nargs="+", default=[0.5, 1, 2, 4, 6], help="emitters per um2")
    parser.add_argument("--radius-nm", type=float, nargs="+", default=[12.5, 25, 37.5, 50], help="radius in nm")
    parser.add_argument("--frames", type=int, default=100, help="frames for each density, and for each distance")
    arguments = parser.parse_args()
    model = smlm.from_pretrained(arguments.bundle)
    camera = smlm.Camera(pixel_nm=model.pixel_nm)
    print("efficiency (Jaccard / RMSE / threshold)")
    print("density " + "".join(f"{f'{radius:g} nm':>26s}" for radius in arguments.radius_nm))
    for density in arguments.density:
        movie, truth = smlm.simulate(arguments.frames, density, 32, camera, photons=(500., 4000.), seed=1)
        cells = [best_scores(model, movie, truth, radius) for radius in arguments.radius_nm]
        print(f"{density:7g} " + "".join(f"{cell['efficiency']:8.1f} ({cell['jaccard']:.3f}/{cell['rmse_nm']:4.1f}/"
                                         f"{cell['threshold']:.2f})" for cell in cells), flush=True)
    print(f"\n{'gap, nm':>8s}{'listed':>8s}{'sum':>8s}")
    for gap in (0, 20, 40, 60, 80, 100, 120, 150, 200, 300):
        density = smlm.reconstruct(model, film_pairs(gap, arguments.frames, camera), progress=False)
        found = smlm.localize(density, threshold=0.3)
        total = density.peaks[:, 3].sum()
        print(f"{gap:8d}{len(found)/arguments.frames:8.2f}{total/arguments.frames:8.2f}", flush=True)


if __name__ == "__main__": main()
