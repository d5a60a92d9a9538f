"""Pack trained bundles for the repository: an archive of each in weights/, and its fingerprint in the package's index.

    python benchmarks/pack_weights.py FOLDER... [NAME=FOLDER...]

The name is that of the network, unless another is given. Weights are rounded to bfloat16: one line a bundle says how
far that moves the densities of a simulated movie, as a share of the largest one. Archives of other names stay.
"""
import argparse
import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dl4smlm.bundle import from_pretrained, load_card
from dl4smlm.camera import Camera
from dl4smlm.core import new_file
from dl4smlm.reconstruct import reconstruct
from dl4smlm.shelf import pack_bundle
from dl4smlm.simulate import simulate

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "dl4smlm" / "weights" / "index.json"
MOST = 12_000_000  # bytes of all archives together


def read_argument(text):
    "Name and folder of FOLDER or NAME=FOLDER."
    name, equals, folder = text.rpartition("=")
    name = name if equals else load_card(Path(folder))["network"]["name"]
    if not re.fullmatch(r"[a-z0-9]+", name): raise ValueError(f"a name has small letters and digits, got {name!r}")
    if (INDEX.parent / name).is_dir(): raise ValueError(f"{name} comes with the package, and needs no archive")
    return name, Path(folder)


def rounding(folder, name):
    "How far rounding moves the densities of a simulated movie, as a share of the largest one."
    exact, packed = from_pretrained(folder), unpacked(name)
    movie, _ = simulate(16, 2., 32, Camera(pixel_nm=exact.pixel_nm), seed=1)
    frames, changed = (reconstruct(network, movie, keep_frames=True, progress=False).frames
                       for network in (exact, packed))
    return np.abs(changed - frames).max()/frames.max()


def unpacked(name):
    "The network of an archive, as a user gets it: from a cache that is empty."
    with TemporaryDirectory() as cache:
        os.environ |= {"XDG_CACHE_HOME": cache, "LOCALAPPDATA": cache}
        return from_pretrained(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="[NAME=]FOLDER")
    for name, folder in [read_argument(text) for text in parser.parse_args().bundles]:
        archive = ROOT / "weights" / f"{name}.zip"
        entry = {"sha256": pack_bundle(folder, archive, overwrite=True), "bytes": archive.stat().st_size}
        entries = json.loads(INDEX.read_text(encoding="utf-8")) | {name: entry}
        with new_file(INDEX, overwrite=True) as part:
            part.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n", encoding="utf-8", newline="\n")
        change = rounding(folder, name)
        print(f"{name}: {entry['bytes']/1e6:.2f} MB, rounding changes densities by up to {change:.2%} of the largest")
    size = sum(file.stat().st_size for file in (ROOT / "weights").glob("*.zip"))
    print(f"{size/1e6:.2f} MB in all")
    if size > MOST: raise SystemExit(f"the repository has room for {MOST/1e6:.0f} MB of archives")


if __name__ == "__main__": main()
