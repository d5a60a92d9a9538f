"""Pictures for the card of a trained network: where it can be believed, and where it fails.

    python benchmarks/card.py BUNDLE ... [--accuracy accuracy.csv]

Draws, into each BUNDLE, atlas_jaccard.png and atlas_rmse_nm.png (over density and photons; the error as a multiple of
the Cramer-Rao bound) and failures.png (the windows of a crowded movie with the most missed and invented molecules), and
writes a section about them at the end of its README.md; with --accuracy, the rows of that table about this network too,
and accuracy.csv beside the card. Movies have a background of 20 photons per pixel, a PSF of 110 nm and an EMCCD.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

import dl4smlm as smlm
from dl4smlm.atlas import map_scores, show_map
from dl4smlm.evaluate import outcomes
from dl4smlm.recipes import EMCCD

SETTING = {"camera": EMCCD, "psf": smlm.GaussianPSF(110.), "background": 20.}
WINDOW_PX, HEAD = 12, "\n## Range of validity\n"


def draw_atlas(model, name, path):
    "Jaccard and error over bound, side by side."
    table = map_scores({name: model}, densities=(0.5, 1., 2., 4., 8., 12.), frames=16, **SETTING)
    for score in ("jaccard", "rmse_nm"):
        show_map(table, score)
        plt.savefig(path.with_name(f"atlas_{score}.png"), dpi=70)
        plt.close()


def worst_windows(found, truth, frames, side_px, pixel_nm, count):
    "Frame, row and column of the windows with the most errors."
    table = outcomes(found, truth, 250.)
    wrong = table[table["is_true"] != table["is_found"]]
    edges = [np.arange(frames + 1) - 0.5] + [np.arange(0, side_px + 1, WINDOW_PX)*pixel_nm]*2
    errors = np.histogramdd(wrong[["frame", "y_nm", "x_nm"]].to_numpy(), edges)[0]
    order = np.argsort(errors, axis=None)[::-1][:count]
    return [(frame, row*WINDOW_PX, col*WINDOW_PX) for frame, row, col in zip(*np.unravel_index(order, errors.shape))]


def draw_failures(model, name, path):
    "The windows with the most errors, with truth and answer."
    movie, truth = smlm.simulate(40, 8., 48, photons=smlm.LogNormal(2000., 0.7), seed=8, **SETTING)
    found = smlm.localize(smlm.reconstruct(model, movie, progress=False))
    _, axes = plt.subplots(2, 4, figsize=(9, 4.8), layout="constrained")
    for ax, (frame, top, left) in zip(axes.flat, worst_windows(found, truth, 40, 48, 100., 8)):
        ax.imshow(movie[frame, top:top + WINDOW_PX, left:left + WINDOW_PX], cmap="gray",
                  extent=(left, left + WINDOW_PX, top + WINDOW_PX, top))
        for table, style in [(truth, {"marker": "o", "mfc": "none", "color": "tab:green"}),
                             (found, {"marker": "x", "color": "tab:orange"})]:
            mine = table[table["frame"] == frame]
            ax.plot(mine["x_nm"]/100, mine["y_nm"]/100, ls="", ms=6, **style)
        ax.set(xlim=(left, left + WINDOW_PX), ylim=(top + WINDOW_PX, top), xticks=[], yticks=[])
    plt.suptitle(f"{name}: circles are molecules, crosses what it found; 8 per µm²")
    plt.savefig(path, dpi=70)
    plt.close()


def describe(name, accuracy):
    "The text of the section."
    text = (HEAD + "\nJaccard index, and error as a multiple of the Cramér-Rao bound, over density and photons:\n\n"
            f"![Jaccard of {name} over density and photons](atlas_jaccard.png)\n"
            f"![Error of {name} over the bound](atlas_rmse_nm.png)\n\n"
            f"Where it fails, eight windows of 1.2 µm with the most errors:\n\n![Failures of {name}](failures.png)\n")
    if accuracy is None: return text
    rows = [f"| {row['change']} | {row['density']:g} | {row['jaccard']:.3f} | {row['rmse_nm']:.1f} | "
            f"{row['efficiency']:.1f} |" for _, row in accuracy.iterrows()]
    head = ["\nScores on movies it has not seen (`benchmarks/accuracy.py`), plain and with one thing changed:\n",
            "| changed | emitters per µm² | Jaccard | RMSE, nm | efficiency |", "|---|---|---|---|---|"]
    return text + "\n".join([*head, *rows]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, help="folders of model bundles")
    parser.add_argument("--accuracy", type=Path, help="table of benchmarks/accuracy.py")
    arguments = parser.parse_args()
    for folder in arguments.bundles:
        model = smlm.from_pretrained(folder)
        name = model.config["name"]
        draw_atlas(model, name, folder/"atlas.png")
        draw_failures(model, name, folder/"failures.png")
        table = None
        if arguments.accuracy:
            table = pd.read_csv(arguments.accuracy)
            if folder.name not in set(table["method"]):
                there = ", ".join(table["method"].unique())
                parser.error(f"{arguments.accuracy} has no row of {folder.name}: it has {there}")
            table[table["method"].isin([folder.name, "Picasso"])].to_csv(folder/"accuracy.csv", index=False)
            table = table[table["method"] == folder.name]
        readme = folder/"README.md"
        text = readme.read_text(encoding="utf-8").split(HEAD)[0]
        readme.write_text(text + describe(name, table), encoding="utf-8")
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}", flush=True)


if __name__ == "__main__": main()
