"The command line, as a person types it: in a process of its own, from files to files, and with bad input."
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile

from dl4smlm.io import open_movie, read_image, save_movie
from dl4smlm.tables import read_localizations


def dl4smlm(*arguments):
    "Type `dl4smlm ARGUMENTS`: the finished process, with what it printed."
    command = [sys.executable, "-c", "from dl4smlm.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"PYTHONUTF8": "1", "TQDM_DISABLE": "1"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=600)


def accepted(*arguments):
    "What a command printed that must end well."
    done = dl4smlm(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments):
    "The one line in which a command must refuse what it was given."
    done = dl4smlm(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("dl4smlm: ") and done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    "A simulated film: a folder with movie.tif and truth.csv."
    folder = tmp_path_factory.mktemp("film")
    accepted("simulate", "--out", folder, "--frames", 24, "--size-px", 24, "--density", 2, "--seed", 1)
    return folder


def train(film):
    "The command that trains on a film for two epochs, without the folder for the result."
    return ["train", "--movie", film / "movie.tif", "--truth", film / "truth.csv", "--upscale", 4, "--epochs", 2]


@pytest.fixture(scope="module")
def model(film, tmp_path_factory):
    "A bundle, trained for two epochs on the film."
    folder = tmp_path_factory.mktemp("models") / "model"
    accepted(*train(film), "--out", folder)
    return folder


def test_from_a_movie_to_scores(film, model, tmp_path):
    accepted("reconstruct", film / "movie.tif", "--model", model, "--out", tmp_path / "result", "--threshold", 0.1)
    image, pixel_nm = read_image(tmp_path / "result" / "reconstruction.tif")
    assert image.shape == (96, 96) and image.dtype == np.float32 and pixel_nm == pytest.approx(25)
    scores = json.loads(accepted("evaluate", tmp_path / "result" / "localizations.csv", film / "truth.csv", "--json"))
    found, truth = read_localizations(tmp_path / "result" / "localizations.csv"), read_localizations(film / "truth.csv")
    assert scores["true_positives"] + scores["false_positives"] == len(found)
    assert scores["true_positives"] + scores["false_negatives"] == len(truth)


def test_same_seed_same_model(film, model, tmp_path):
    accepted(*train(film), "--out", tmp_path / "again")
    hashes = {json.loads((folder / "card.json").read_text())["sha256"] for folder in (model, tmp_path / "again")}
    assert len(hashes) == 1


def test_truth_against_itself_is_perfect(film):
    assert "Jaccard 1.000" in accepted("evaluate", film / "truth.csv", film / "truth.csv")


def test_info_tells_what_a_path_is(film, model):
    assert "24 px" in accepted("info", film / "movie.tif")
    assert "photons" in accepted("info", film / "truth.csv")
    assert "fidstorm" in accepted("info", model)
    assert "deepstorm" in accepted("info")


@pytest.mark.parametrize("command", ["demo", "simulate", "train", "reconstruct", "localize", "evaluate", "info"])
def test_help_gives_units(command):
    text = accepted(command, "--help")
    assert "--out" in text or command in ("evaluate", "info")
    assert " nm" in text or command in ("demo", "info")


def broken_movies(folder):
    "Files that are no movie, each with the words that must be in the refusal."
    save_movie(folder / "good.tif", np.arange(5 * 16 * 16, dtype=np.uint16).reshape(5, 16, 16))
    whole = (folder / "good.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(whole[:len(whole) // 2])
    (folder / "text.tif").write_text("frame,x,y\n1,2,3\n")
    (folder / "empty.tif").write_bytes(b"")
    tifffile.imwrite(folder / "rgb.tif", np.zeros((16, 16, 3), np.uint8), photometric="rgb")
    return ["truncated.tif", "text.tif", "empty.tif", "rgb.tif", "missing.tif"]


def test_what_is_no_movie_is_refused(model, tmp_path):
    for name in broken_movies(tmp_path):
        complaint = refused("reconstruct", tmp_path / name, "--model", model, "--out", tmp_path / "out")
        assert name in complaint, complaint
        assert not (tmp_path / "out").exists()


def write_table(path, **changed):
    "A table of five positions in the file format, some columns changed or, with None, left out."
    columns = {"frame": [1, 2, 3, 4, 5], "x [nm]": [500.] * 5, "y [nm]": [700.] * 5} | changed
    pd.DataFrame({name: values for name, values in columns.items() if values is not None}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("changed, because", [
    ({"x [nm]": None}, "x [nm]"),
    ({"x [nm]": [500., float("nan"), 500, 500, 500]}, "x"),
    ({"x [nm]": [500., 1e6, 500, 500, 500]}, "outside"),
    ({"y [nm]": [-50.] * 5}, "outside"),
    ({"frame": [1, 2, 3, 4, 25]}, "24 frames"),
    ({"frame": [0, 1, 2, 3, 4]}, "frame"),
    ({"frame": [1, 2, 2.5, 3, 4]}, "frame"),
    ({"x [nm]": ["left"] * 5}, "x"),
])
def test_wrong_tables_are_refused(film, tmp_path, changed, because):
    table = write_table(tmp_path / "table.csv", **changed)
    complaint = refused("train", "--movie", film / "movie.tif", "--truth", table, "--out", tmp_path / "out")
    assert because in complaint, complaint
    assert not (tmp_path / "out").exists()


def test_zero_frames_are_refused(tmp_path):
    assert "frames" in refused("simulate", "--out", tmp_path / "out", "--frames", 0)


def test_an_output_that_exists_is_left_alone(film, model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for command in (["simulate"], ["demo"], ["reconstruct", film / "movie.tif", "--model", model]):
        assert "not empty" in refused(*command, "--out", tmp_path)
    accepted("reconstruct", film / "movie.tif", "--model", model, "--out", tmp_path, "--overwrite")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "reconstruction.tif").is_file()


def test_a_movie_without_pixel_size_wants_one(model, tmp_path):
    save_movie(tmp_path / "bare.tif", np.zeros((3, 16, 16), np.uint16))
    write_table(tmp_path / "table.csv", frame=[1, 1, 2, 2, 3])
    complaint = refused("train", "--movie", tmp_path / "bare.tif", "--truth", tmp_path / "table.csv",
                        "--out", tmp_path / "out")
    assert "--pixel-nm" in complaint
    assert open_movie(tmp_path / "bare.tif").pixel_nm is None


@pytest.mark.parametrize("extra, jaccard, density", [([], 0.68, 3.9), (["--train"], 0.8, 1)])
def test_the_demo_is_worth_showing(tmp_path, extra, jaccard, density):
    print(accepted("demo", *extra, "--out", tmp_path / "demo"))
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text())
    assert scores["jaccard"] >= jaccard
    assert scores["nmse"] <= scores["nmse_widefield"] / 2
    assert scores["ssim"] > scores["ssim_widefield"]
    truth, movie = read_localizations(tmp_path / "demo" / "truth.csv"), open_movie(tmp_path / "demo" / "movie.tif")
    area_um2 = movie.shape[1] * movie.shape[2] * movie.pixel_nm**2 / 1e6
    assert len(truth) / len(movie) / area_um2 >= density
