"""Picasso itself opens what we write, and we what it writes. Set DL4SMLM_PICASSO=1 to install it from PyPI in an
environment of its own (some hundred MB), or DL4SMLM_PICASSO=PYTHON for a Python that has picassosr. Else skipped."""
import json
import os
import subprocess
import venv

import numpy as np
import pytest

from dl4smlm.core import make_emitters
from dl4smlm.simulate import simulate
from dl4smlm.tables import read_localizations, save_localizations

WISH = os.environ.get("DL4SMLM_PICASSO", "")
pytestmark = pytest.mark.skipif(not WISH, reason="DL4SMLM_PICASSO is not set: Picasso's own reader is not asked")

BY_PICASSO = """
import json, sys
import numpy as np, pandas as pd
from picasso import __version__, io, lib, postprocess, render
ours, theirs = sys.argv[1:]
locs, info = io.load_locs(ours)
size = {key: lib.get_from_metadata(info, key) for key in ("Width", "Height", "Frames", "Pixelsize")}
_, image = render.render(locs, info, disp_px_size=20.0, blur_method="gaussian")
io.save_locs(theirs, locs, info)
new = pd.DataFrame({"frame": np.arange(3, dtype="u4"), **{name: np.array(values, "f4") for name, values in dict(
    x=[0, 4.25, 9], y=[0, 1.5, 3], photons=[500, 600, 700], sx=[1, 1.1, 1.2], sy=[1, 1, 1], bg=[3, 4, 5],
    lpx=[.1, .2, .1], lpy=[.1, .1, .1], net_gradient=[9, 8, 7]).items()}})
io.save_locs(theirs.replace("back", "new"), new, [{"Width": 10, "Height": 10, "Frames": 3, "Pixelsize": 130.0}])
print(json.dumps({"version": __version__, "size": size, "rows": len(locs), "light": float(image.sum()),
                  "columns": {name: locs[name].tolist() for name in locs.columns}}))
"""


@pytest.fixture(scope="module")
def picasso(tmp_path_factory):
    "A Python that has Picasso."
    if WISH != "1": return WISH
    folder = tmp_path_factory.mktemp("picasso")
    venv.create(folder, with_pip=True)
    python = str(folder/("Scripts" if os.name == "nt" else "bin")/"python")
    subprocess.run([python, "-m", "pip", "install", "-q", "picassosr"], check=True)
    return python


def ask(python, *arguments):
    "Run the script above, and return what it found."
    done = subprocess.run([python, "-c", BY_PICASSO, *map(str, arguments)], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": "", "QT_QPA_PLATFORM": "offscreen"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_picasso_opens_our_table_and_we_open_picassos(picasso, tmp_path):
    movie, truth = simulate(frames=30, density=1, size_px=(24, 40), seed=3)
    rng = np.random.default_rng(0)
    truth = truth[(truth[["x_nm", "y_nm"]] > 50).all(axis=1)].reset_index(drop=True)
    truth = truth.assign(uncertainty_nm=rng.uniform(5, 20, len(truth)), confidence=rng.uniform(0, 1, len(truth)))
    save_localizations(truth, tmp_path/"ours.hdf5", pixel_nm=100, shape=movie.shape)
    said = ask(picasso, tmp_path/"ours.hdf5", tmp_path/"back.hdf5")
    print(f"Picasso {said['version']}: {said['rows']} of {len(truth)} rows, rendered light {said['light']:.1f}")
    assert said["size"] == {"Width": 40, "Height": 24, "Frames": 30, "Pixelsize": 100}
    assert said["rows"] == len(truth)  # it dropped none
    assert said["light"] == pytest.approx(len(truth), rel=0.05)
    np.testing.assert_allclose(np.array(said["columns"]["x"]), truth["x_nm"]/100 - 0.5, atol=1e-4)
    np.testing.assert_allclose(np.array(said["columns"]["lpy"]), truth["uncertainty_nm"]/100, atol=1e-5)
    back = read_localizations(tmp_path/"back.hdf5")
    for name in truth: np.testing.assert_allclose(back[name], truth[name], rtol=1e-5, atol=0.1, err_msg=name)

    new = read_localizations(tmp_path/"new.hdf5")
    expected = make_emitters([0, 1, 2], [65, 617.5, 1235], [65, 260, 455], [500, 600, 700])
    for name in expected: np.testing.assert_allclose(new[name], expected[name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(new["uncertainty_nm"], [13, 19.5, 13], rtol=1e-5)
    (tmp_path/"new.yaml").unlink()  # its description is in the file as well
    np.testing.assert_allclose(read_localizations(tmp_path/"new.hdf5")["y_nm"], expected["y_nm"], rtol=1e-5)


def test_without_uncertainty_picasso_still_opens_it(picasso, tmp_path):
    with pytest.warns(UserWarning, match="a tenth of a pixel"):
        save_localizations(make_emitters([0, 5], [100, 200], [100, 300]), tmp_path/"ours.hdf5", pixel_nm=100)
    assert ask(picasso, tmp_path/"ours.hdf5", tmp_path/"back.hdf5")["rows"] == 2
