"""Third-party movies with ground truth, where they are at hand: set DL4SMLM_DATA to the folder that holds
`deepstorm_demo1` (the data published with Deep-STORM) and `storm_analysis`. Without it these tests are skipped."""
import os
from pathlib import Path

import numpy as np
import pytest

from dl4smlm.io import open_movie
from dl4smlm.tables import read_localizations

DATA = Path(os.environ.get("DL4SMLM_DATA", "no folder given"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="DL4SMLM_DATA names no folder with published movies")


@needs_data
@pytest.mark.parametrize("movie, table, shape", [
    ("deepstorm_demo1/ArtificialDataset_demo1.tif", "deepstorm_demo1/positions_demo1.csv", (20, 64, 64)),
    ("storm_analysis/test_300x200.derived.tif", "storm_analysis/test_300x200.derived.csv", None),
])
def test_positions_sit_on_their_light(movie, table, shape):
    with open_movie(DATA / movie) as stack: counts = stack[:].astype(float)
    if shape: assert counts.shape == shape
    emitters = read_localizations(DATA / table)
    inside = (emitters[["x_nm", "y_nm"]] >= 0).all(axis=1)
    assert inside.mean() > 0.99
    row, col = ((emitters[name] / 100).astype(int).clip(0, side - 1) for name, side in
                zip(("y_nm", "x_nm"), counts.shape[1:]))
    on_light = counts[emitters["frame"], row, col].mean()
    swapped = counts[emitters["frame"], col.clip(upper=counts.shape[1] - 1), row].mean()
    assert on_light > 1.3 * counts.mean()
    assert on_light > swapped
    assert np.isfinite(counts).all()
