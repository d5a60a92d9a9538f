"""Networks on a movie that nobody of this project made: the test movie published with Deep-STORM.

    python benchmarks/published_movie.py FOLDER BUNDLE ... [--image THEIRS.mat] [--precision bfloat16]

FOLDER holds demo 1 of github.com/EliasNehme/Deep-STORM (MIT): testStack_SimulatedMicrotubules.tif, 361 frames of 64 x
64 pixels of 100 nm, and Positions_Bundeld_Tubulin_Recreated.xlsx, its 81,178 emitters (reading it takes openpyxl).
BUNDLE is a model bundle, or the name of a network that comes with the package. --image adds the authors' own
reconstruction, Recovery_SimulatedMicrotubules.mat. The camera is that of their description: 100 counts in the dark,
2.06 per photon.

Columns: the constant offset along x and y in super-resolution pixels of 12.5 nm; NMSE in per cent of both images scaled
to a sum of 1, as they are and after a blur of one pixel; Pearson's r, likewise; SSIM after the blur; and the share of
the light further than 37.5 nm from every emitter. The offset is taken out of the positions before scoring, so that a
convention about pixel corners does not count.

What is left of such an offset still counts for NMSE and r of the pictures as they are. The emitters of this movie sit
in clumps of the size of a fine pixel, in step with the grid: counted in its pixels, their sum of squares
(truth_squares) is larger than on a grid half a pixel beside, and the same blur costs more. The authors' picture lies
half a pixel beside the grid, by a rounding of theirs, and ours on it. So each picture is scored a second time, "half a
pixel on": each of its pixels the mean of four. This blurs it a little, and puts it where the other one is.

--out keeps the rows of a table that is there and replaces those that were measured again. Three rows of
published_movie.csv are not of this package: "Deep-STORM, its authors" is --image with their file, "FID-STORM, its
authors" is the picture of their network as they released it (trained for another PSF), and "Picasso, best of 20" that
of Picasso 0.11.3 with the best of 20 settings, chosen on this movie; the last two were scored in the same way by
another script, and rounded. "fidstorm, for this microscope" is the network that comes with the package after more
training for the microscope of published_microscope.json, which holds what their training table and its description
say, with the recipe's own spread of brightness; the page Recipes has the command.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter
from skimage.metrics import structural_similarity
from skimage.registration import phase_cross_correlation

import dl4smlm as smlm

UPSCALE, FINE_NM, FAR_NM = 8, 12.5, 37.5
CAMERA = smlm.Normalise(offset_counts=100., scale_counts=206.)


def count(places, shape, shift=(0., 0.)):
    "Emitters in each fine pixel, after a shift of (rows, columns) in fine pixels."
    edges = [np.arange(side + 1) for side in shape]
    return np.histogramdd(places + np.asarray(shift), edges)[0]


def scores(image, places):
    "Offset and all scores of an image."
    image = np.clip(image, 0, None).astype(float)
    blurred, truth = gaussian_filter(image, 1), count(places, image.shape)
    shift, *_ = phase_cross_correlation(blurred, gaussian_filter(truth, 1), upsample_factor=100, normalization=None)
    truth = count(places, image.shape, shift)
    pairs = {"raw": (truth, image), "blur": (gaussian_filter(truth, 1), blurred)}
    row = {"offset_x": shift[1], "offset_y": shift[0]}
    for name, (true, seen) in pairs.items():
        true, seen = true/true.sum(), seen/seen.sum()
        row[f"nmse_{name}"] = 100*((seen - true)**2).sum()/(true**2).sum()
        row[f"r_{name}"] = np.corrcoef(true.ravel(), seen.ravel())[0, 1]
    true, seen = pairs["blur"]
    row["ssim_blur"] = structural_similarity(true, seen*true.sum()/seen.sum(), data_range=true.max(), sigma=1.5,
                                             gaussian_weights=True, use_sample_covariance=False)
    far = distance_transform_edt(truth == 0)*FINE_NM > FAR_NM
    return row | {"far_percent": 100*image[far].sum()/image.sum()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="demo 1 of Deep-STORM")
    parser.add_argument("bundles", nargs="*", help="model bundles")
    parser.add_argument("--image", type=Path, help="somebody's reconstruction, .mat with one image")
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--out", type=Path, help="table, .csv, to write or add to")
    arguments = parser.parse_args()
    table = pd.read_excel(arguments.folder/"Positions_Bundeld_Tubulin_Recreated.xlsx")
    table.columns = [str(name).strip().lower() for name in table.columns]
    x, y = (table[next(name for name in table.columns if name.startswith(axis))].to_numpy(float) for axis in "xy")
    places, images = np.c_[y, x]/FINE_NM, {}
    if arguments.image:
        known = loadmat(arguments.image).items()
        images["Deep-STORM, its authors"] = next(value for name, value in known if name[0] != "_")
    for bundle in arguments.bundles:
        with smlm.open_movie(arguments.folder/"testStack_SimulatedMicrotubules.tif") as movie:
            density = smlm.reconstruct(smlm.from_pretrained(bundle), movie, CAMERA, 100., precision=arguments.precision)
        images[Path(bundle).name] = density.image
    images |= {f"{name}, half a pixel on": uniform_filter(image, 2, mode="constant") for name, image in images.items()}
    rows = pd.DataFrame({name: scores(image, places) for name, image in images.items()}).T
    rows["truth_squares"] = [(count(places, image.shape, rows.loc[name, ["offset_y", "offset_x"]])**2).sum()
                             for name, image in images.items()]
    print(rows.round(3).to_string())
    if not arguments.out: return
    before = pd.read_csv(arguments.out, index_col="method") if arguments.out.exists() else rows[:0]
    kept = before.drop(index=rows.index, errors="ignore")
    pd.concat([kept, rows.round(4)]).to_csv(arguments.out, index_label="method")


if __name__ == "__main__": main()
