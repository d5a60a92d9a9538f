"The command line, as a person types it: in a process of its own, from files to files, and with bad input."
import json
import os
import re
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from dl4smlm import __version__, create_model, save_pretrained
from dl4smlm.camera import make_camera
from dl4smlm.data import Normalise
from dl4smlm.io import open_movie, read_image, save_movie
from dl4smlm.tables import read_localizations, save_localizations

from project import ROOT


def typed(arguments):
    "What the shell runs when someone types `dl4smlm ARGUMENTS`."
    return [sys.executable, "-c", "from dl4smlm.cli.commands import main; main()", *map(str, arguments)]


def dl4smlm(*arguments, cwd=ROOT, **variables):
    "Type `dl4smlm ARGUMENTS`: the finished process, with what it printed."
    environment = os.environ | {"PYTHONUTF8": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(typed(arguments), capture_output=True, encoding="utf-8", env=environment, timeout=600,
                          cwd=cwd)


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


def with_another_channel(movie, path):
    "Write a movie beside a dark channel, which comes first."
    with open_movie(movie) as opened: counts, per_um = opened[:], 1e3 / opened.pixel_nm
    two = np.stack([np.zeros_like(counts), counts], axis=1)
    tifffile.imwrite(path, two, imagej=True, resolution=(per_um, per_um), metadata={"axes": "TCYX", "unit": "um"})
    return path


def test_a_channel_of_a_movie_teaches_what_the_movie_alone_does(film, model, tmp_path):
    two, asked = with_another_channel(film / "movie.tif", tmp_path / "two.tif"), train(film)
    asked[2] = two
    assert "choose --channel 0 to 1" in refused(*asked, "--out", tmp_path / "out")
    assert "--channel 2" in refused(*asked, "--out", tmp_path / "out", "--channel", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["two.tif"]
    accepted(*asked, "--out", tmp_path / "out", "--channel", 1)
    hashes = {json.loads((folder / "card.json").read_text())["sha256"] for folder in (model, tmp_path / "out")}
    assert len(hashes) == 1


def test_networks_are_judged_by_a_channel_of_a_movie(film, model, tmp_path):
    two = with_another_channel(film / "movie.tif", tmp_path / "two.tif")
    asked = ["compare", "--networks", "", "--bundle", model, "--truth", film / "truth.csv", "--no-atlas",
             "--upscale", 4, "--device", "cpu"]
    accepted(*asked, "--movie", film / "movie.tif", "--out", tmp_path / "alone")
    accepted(*asked, "--movie", two, "--channel", 1, "--out", tmp_path / "channel")
    alone, channel = (pd.read_csv(tmp_path / name / "table.csv") for name in ("alone", "channel"))
    pd.testing.assert_frame_equal(*(table.drop(columns=["ms_per_frame", "megabytes"]) for table in (alone, channel)))
    assert "choose --channel 0 to 1" in refused(*asked, "--movie", two, "--out", tmp_path / "none")
    nothing = ["compare", "--networks", "", "--bundle", model, "--channel", 1, "--out", tmp_path / "none"]
    assert "leave out --channel" in refused(*nothing)


def test_truth_against_itself_is_perfect(film):
    assert "Jaccard 1.000" in accepted("evaluate", film / "truth.csv", film / "truth.csv")


def test_info_tells_what_a_path_is(film, model):
    assert "24 px" in accepted("info", film / "movie.tif")
    assert "photons" in accepted("info", film / "truth.csv")
    assert "fidstorm" in accepted("info", model)
    assert "deepstorm" in accepted("info")


@pytest.mark.parametrize("command", ["demo", "simulate", "train", "reconstruct", "localize", "evaluate", "info",
                                     "calibrate", "drift", "merge", "filter"])
def test_help_gives_units(command):
    text = accepted(command, "--help")
    assert "--out" in text or command in ("evaluate", "info")
    assert " nm" in text or command in ("demo", "info")


def broken_movies(folder):
    "Files that are no movie, each with the words that must be in the refusal."
    save_movie(np.arange(5 * 16 * 16, dtype=np.uint16).reshape(5, 16, 16), folder / "good.tif")
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


def test_a_movie_without_pixel_size_wants_one(tmp_path):
    save_movie(np.zeros((3, 16, 16), np.uint16), tmp_path / "bare.tif")
    write_table(tmp_path / "table.csv", frame=[1, 1, 2, 2, 3])
    complaint = refused("train", "--movie", tmp_path / "bare.tif", "--truth", tmp_path / "table.csv",
                        "--out", tmp_path / "out")
    assert "--pixel-nm" in complaint
    assert open_movie(tmp_path / "bare.tif").pixel_nm is None


def test_a_folder_that_no_run_made_is_kept(film, tmp_path):
    (tmp_path / "out-unfinished").mkdir()
    (tmp_path / "out-unfinished" / "notes.txt").write_text("mine")
    assert "holds other files" in refused(*train(film), "--out", tmp_path / "out")
    small = ["--steps", 2, "--upscale", 2, "--option", "blocks=1", "--option", "width=4"]
    assert "holds other files" in refused("recipe", *small, "--out", tmp_path / "out")
    assert (tmp_path / "out-unfinished" / "notes.txt").read_text() == "mine"


def test_the_folder_we_stand_in_can_hold_the_result(film, tmp_path):
    (tmp_path / "here").mkdir()
    done = dl4smlm(*train(film), "--out", ".", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "card.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("command", ["reconstruct", "match", "train", "compare", "calibrate", "localize", "quality",
                                     "merge", "filter", "render", "simulate"])
def test_a_pixel_that_no_microscope_has_is_refused_at_once(film, model, tmp_path, command):
    movie, truth = film / "movie.tif", film / "truth.csv"
    asked = {"reconstruct": [movie, "--model", model], "match": [movie], "localize": [movie],
             "train": train(film)[1:], "compare": ["--movie", movie, "--truth", truth],
             "calibrate": [model, "--movie", movie, "--truth", truth], "quality": [movie, movie, truth],
             "filter": [truth, "frame < 9"], "merge": [truth], "render": [truth], "simulate": []}[command]
    for pixel_nm in (0.1, 1e6):
        assert "is it in nm?" in refused(command, *asked, "--out", tmp_path / "out", "--pixel-nm", pixel_nm)
    assert not list(tmp_path.iterdir())


def test_a_pixel_too_fine_to_be_written_leaves_no_unfinished_job(film, model, tmp_path):
    save_movie(np.asarray(open_movie(film / "movie.tif")[:]), tmp_path / "bare.tif")
    asked = ["reconstruct", tmp_path / "bare.tif", "--model", model, "--out", tmp_path / "out"]
    assert "0.75" in refused(*asked, "--pixel-nm", 3)
    accepted(*asked, "--pixel-nm", 4)


def test_calibration_goes_by_the_pixels_and_the_camera_of_the_movie(tmp_path):
    film, camera = tmp_path / "film", make_camera("scmos")
    accepted("simulate", "--out", film, "--frames", 80, "--size-px", 32, "--pixel-nm", 103, "--density", 2.56)
    offset, gain = camera.offset_counts, camera.counts_per_photon
    movie = np.asarray(open_movie(film / "movie.tif")[:])
    save_movie(movie, tmp_path / "bare.tif")
    two = np.stack([np.full_like(movie, 65535), movie], axis=1)
    tifffile.imwrite(tmp_path / "two.tif", two, imagej=True, metadata={"axes": "TCYX"})
    save_movie((300 + 2 * (movie.astype(int) - offset)).astype(np.uint16), tmp_path / "bright.tif", 103)
    ways = {"told": [film / "movie.tif", "--camera", offset, gain],
            "given": [tmp_path / "bare.tif", "--pixel-nm", 103, "--camera", offset, gain],
            "channel": [tmp_path / "two.tif", "--channel", 1, "--pixel-nm", 103, "--camera", offset, gain],
            "bright": [tmp_path / "bright.tif", "--camera", 300, 2 * gain]}
    cards, said = {}, {}
    for name, way in ways.items():
        said[name] = accepted("calibrate", "fidstorm", "--truth", film / "truth.csv", "--out", tmp_path / name,
                              "--movie", *way)
        cards[name] = json.loads((tmp_path / name / "card.json").read_text())
    assert cards["told"]["calibration"] == cards["given"]["calibration"] == cards["channel"]["calibration"]
    smallest = float(re.search(r"errors from ([\d.]+) to", said["told"])[1])
    assert smallest < 10  # with pixels of another size, no error is below 40
    assert cards["bright"]["threshold"] == pytest.approx(cards["told"]["threshold"], abs=0.002)
    assert cards["bright"]["normalise"] == pytest.approx({"offset_counts": 300, "scale_counts": 200 * gain})


def test_letters_that_a_terminal_lacks_do_not_end_a_command(film):
    done = dl4smlm("match", film / "movie.tif", "--help", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    done = dl4smlm("info", "fidstorm", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "?" in done.stdout, done.stderr


def as_in_a_terminal():
    "Let Ctrl-C through: what a shell starts in the background is told to ignore it, and so are these tests at times."
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="signals are sent as on Linux and macOS")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_says_so_and_cleans_up(tmp_path, number):
    many = ["simulate", "--out", tmp_path / "out", "--frames", 50_000, "--size-px", 64]
    process = subprocess.Popen(typed(many), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                               env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=as_in_a_terminal)
    while not list(tmp_path.iterdir()):  # at work when its hidden folder is there
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)
    said = [line for line in complaint.splitlines() if line and "frame/s" not in line]  # beside a bar
    assert (process.returncode, said) == (130, ["dl4smlm: stopped"])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals are sent as on Linux and macOS")
def test_a_reconstruction_that_is_stopped_says_what_is_kept(tmp_path):
    net = create_model("fidstorm", 2, blocks=1, width=4)
    net.normalise, net.pixel_nm = Normalise(0., 100.), 100.
    save_pretrained(net, tmp_path / "net")
    save_movie(np.zeros((4000, 128, 128), np.uint8), tmp_path / "long.tif", 100)
    asked = ["reconstruct", tmp_path / "long.tif", "--model", tmp_path / "net", "--out", tmp_path / "out",
             "--device", "cpu"]
    process = subprocess.Popen(typed(asked), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                               env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=as_in_a_terminal)
    part = tmp_path / ".out.part"
    while not list(part.glob("sum-*.npz")): assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"dl4smlm: stopped: what is done is kept in {part}: the same command with --resume goes on\n" in complaint
    accepted(*asked, "--resume")
    assert not part.exists()


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


def test_a_network_that_counts_photons_is_told_the_camera_of_the_contest(tmp_path):
    film, contest = tmp_path / "film", tmp_path / "contest"
    accepted("simulate", "--out", film, "--frames", 12, "--size-px", 24, "--density", 2, "--camera", "emccd")
    accepted("compare", "--networks", "", "--bundle", "fidstorm", "--camera", "emccd", "--movie", film / "movie.tif",
             "--truth", film / "truth.csv", "--no-atlas", "--out", contest, "--device", "cpu")
    assert pd.read_csv(contest / "table.csv").loc[0, "jaccard"] > 0.8  # 0.3 without knowing the camera


@pytest.fixture(scope="module")
def bare(film, tmp_path_factory):
    "The same movie in a file that does not say how large its pixels are."
    path = tmp_path_factory.mktemp("bare") / "bare.tif"
    save_movie(np.asarray(open_movie(film / "movie.tif")[:]), path)
    return path


def complaint_of(*arguments):
    "What a command that ends well says beside its answer and its bar."
    done = dl4smlm(*arguments)
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stderr.splitlines() if line.startswith("dl4smlm: "))


def test_only_a_network_for_one_microscope_knows_the_pixels_of_a_bare_movie(film, bare, model, tmp_path):
    asked = ["reconstruct", bare, "--out", tmp_path / "out", "--model"]
    assert "pass --pixel-nm, the camera pixel in nm" in refused(*asked, "fidstorm")
    learn = ["calibrate", "fidstorm", "--truth", film / "truth.csv", "--out", tmp_path / "sure", "--movie", bare]
    assert "pass --pixel-nm" in refused(*learn)
    assert not list(tmp_path.iterdir())
    assert "those of the training, 100 nm, are taken; pass --pixel-nm" in complaint_of(*asked, model)
    assert read_image(tmp_path / "out" / "reconstruction.tif")[1] == pytest.approx(25)
    assert not complaint_of(*asked, model, "--pixel-nm", 108, "--overwrite")
    assert "for a network of your own" in " ".join(accepted("reconstruct", "--help").split())


def test_counts_of_another_camera_are_noted_whatever_was_told(film, model, tmp_path):
    counts = np.asarray(open_movie(film / "movie.tif")[:]).astype(int)
    save_movie((counts - 300).astype(np.float32), tmp_path / "less.tif", 100)
    ways = [["fidstorm"], [model], ["fidstorm", "--camera", 100, 2], ["fidstorm", "--camera", 1e9, 0.001]]
    for way in ways:
        said = complaint_of("reconstruct", tmp_path / "less.tif", "--out", tmp_path / "out", "--overwrite",
                            "--model", *way)
        assert said.count("does not look like one of a camera") == 1 and "--camera, or --match" in said, said
    assert not complaint_of("reconstruct", film / "movie.tif", "--out", tmp_path / "own", "--model", model)
    done = dl4smlm("reconstruct", film / "movie.tif", "--out", tmp_path / "like", "--model", "fidstorm")
    assert "does not look like" not in done.stderr
    assert "the camera is taken for one of 100 counts in the dark" in done.stdout


@pytest.fixture(scope="module")
def in_pixels(film, tmp_path_factory):
    "The truth of the film in a table that counts in pixels and does not say how large they are."
    path = tmp_path_factory.mktemp("tables") / "truth.hdf5"
    save_localizations(read_localizations(film / "truth.csv").assign(uncertainty_nm=10.), path, pixel_nm=100)
    path.with_suffix(".yaml").unlink()
    with h5py.File(path, "r+") as file: file.pop("metadata", None)
    return path


def test_a_table_in_pixels_is_told_how_large_they_are(film, bare, in_pixels, model, tmp_path):
    truth, out = film / "truth.csv", ["--out", tmp_path / "out"]
    for command in (["evaluate", in_pixels, truth], ["info", in_pixels], ["drift", in_pixels, *out],
                    ["filter", in_pixels, "frame > 1", "--out", tmp_path / "a.csv"]):
        assert "give the size of a pixel: --pixel-nm" in refused(*command)
    assert "--camera-pixel-nm" in refused("render", in_pixels, *out)
    assert "Jaccard 1.000" in accepted("evaluate", in_pixels, truth, "--pixel-nm", 100)
    assert "x_nm" in accepted("info", in_pixels, "--pixel-nm", 100)
    assert "leave out --pixel-nm" in refused("info", film / "movie.tif", "--pixel-nm", 100)
    assert "too few" in refused("drift", in_pixels, *out, "--pixel-nm", 100, "--blocks", 1000)  # of what it can read
    compete = ["compare", "--networks", "", "--bundle", model, "--no-atlas", "--upscale", 4, "--device", "cpu"]
    learn = ["train", "--network", "srcnn", "--upscale", 2, "--epochs", 1, "--patches", 4, "--device", "cpu"]
    for command in (compete, learn, ["calibrate", model, "--radius-nm", 250]):
        done = dl4smlm(*command, "--movie", bare, "--pixel-nm", 100, "--truth", in_pixels,
                       "--out", tmp_path / command[0])
        assert "size of a pixel" not in done.stderr, done.stderr
    assert (tmp_path / "compare" / "table.csv").exists() and (tmp_path / "train" / "card.json").exists()


def test_a_bare_movie_gives_the_field_of_a_picture(bare, in_pixels, tmp_path):
    drawn = ["render", in_pixels, "--movie", bare, "--out", tmp_path / "out"]
    assert "--camera-pixel-nm" in refused(*drawn, "--pixel-nm", 20)
    accepted(*drawn, "--camera-pixel-nm", 100, "--pixel-nm", 20)
    image, pixel_nm = read_image(tmp_path / "out" / "rendering.tif")
    assert (image.shape, pixel_nm) == ((120, 120), pytest.approx(20))
    assert image.sum() == pytest.approx(len(read_localizations(in_pixels, 100)), rel=0.05)


def test_errors_are_in_options(film, model, tmp_path):
    truth, out = film / "truth.csv", ["--out", tmp_path / "out"]
    said = {
        "--sigma-nm": refused("render", truth, *out),
        "--field-nm HEIGHT WIDTH": refused("evaluate", truth, truth, "--border-nm", 100),
        "`dl4smlm convert --to`": refused("filter", truth, "frame > 1", "--out", tmp_path / "a.txt"),
        "--batch must be a multiple of 8, got 2": refused("recipe", "--batch", 2, "--steps", 2, *out),
        "--compile is for a GPU": refused("reconstruct", film / "movie.tif", "--model", model, "--compile", *out,
                                          "--device", "cpu"),
        "dl4smlm convert --first-frame": refused("info", write_table(tmp_path / "t.csv", frame=[0, 1, 2, 3, 4]))}
    for option, complaint in said.items(): assert option in complaint, complaint


def test_two_empty_tables_are_doubted(film, tmp_path):
    accepted("filter", film / "truth.csv", "photons < 0", "--out", tmp_path / "none.csv")
    assert "both tables are empty" in complaint_of("evaluate", tmp_path / "none.csv", tmp_path / "none.csv")
    assert not complaint_of("evaluate", tmp_path / "none.csv", film / "truth.csv")


def test_a_part_that_goes_beyond_the_movie_is_noted(film, tmp_path):
    said = complaint_of("convert", film / "movie.tif", tmp_path / "part.tif", "--frames", "20:1000")
    assert "--frames 20:1000 goes beyond the 24 frames" in said
    assert not complaint_of("convert", film / "movie.tif", tmp_path / "all.tif", "--frames", "20:24")


def test_version_and_short_help():
    assert accepted("--version") == f"dl4smlm {__version__}\n"
    for command in ([], ["reconstruct"]): assert accepted(*command, "-h") == accepted(*command, "--help")


@pytest.mark.parametrize("wrong", [["--sigma-nm", 1e6], ["--drift-nm", 1e9, 0], ["--walk-nm", 1e9],
                                   ["--psf", "astigmatic", "--z-nm", -1e9, 1e9]])
def test_lengths_in_other_units_are_refused(tmp_path, wrong):
    assert "is it in nm?" in refused("simulate", "--out", tmp_path / "out", "--frames", 10, *wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="a link, and a shell that closes what is printed to")
def test_a_link_to_nowhere_and_a_closed_output(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    complaint = refused("simulate", "--out", tmp_path / "link", "--frames", 2)
    assert "is a link to" in complaint and "None" not in complaint
    line = 'exec "$@" >&- 2>&-'
    small = typed(["simulate", "--out", tmp_path / "out", "--frames", 2])
    done = subprocess.run(["sh", "-c", line, "sh", *small], cwd=ROOT, timeout=600,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert len(open_movie(tmp_path / "out" / "movie.tif")) == 2
