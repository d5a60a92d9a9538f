"Movies in TIFF files: damaged, odd and large ones, and those of other programs."
import os
import struct
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from torch.utils.data import DataLoader

import dl4smlm.tiff
from dl4smlm.core import make_emitters
from dl4smlm.data import Normalise, make_loaders
from dl4smlm.io import open_movie, read_image, save_image, save_movie
from dl4smlm.localize import localize
from dl4smlm.models.zoo import create_model
from dl4smlm.player import MoviePlayer
from dl4smlm.reconstruct import Reconstruction, reconstruct
from dl4smlm.render import save_picture
from dl4smlm.tables import save_localizations
from dl4smlm.viz import show_frame

DATA = os.environ.get("DL4SMLM_DATA", "")
MOVIE = np.random.default_rng(0).integers(0, 2000, (5, 9, 12)).astype(np.uint16)


def write_pages(path, **options):
    "Write one page after the other, its directory behind its pixels."
    with tifffile.TiffWriter(path, **options) as tif:
        for frame in MOVIE: tif.write(frame, photometric="minisblack", contiguous=False)


def write_run(path):
    "Write as ImageJ does beyond 4 GB: one directory, then frame after frame."
    tifffile.imwrite(path, MOVIE[:1], byteorder=">", photometric="minisblack", metadata=None,
                     description="ImageJ=1.54f\nimages=5\nslices=5\n")
    with open(path, "ab") as file: file.write(MOVIE[1:].astype(">u2").tobytes())


WRITERS = {
    "ours": lambda path: save_movie(MOVIE, path, pixel_nm=100),
    "plain": lambda path: tifffile.imwrite(path, MOVIE, photometric="minisblack"),
    "big": lambda path: tifffile.imwrite(path, MOVIE, photometric="minisblack", bigtiff=True),
    "pages": write_pages,
    "pages big, highest byte first": lambda path: write_pages(path, bigtiff=True, byteorder=">"),
    "deflate": lambda path: tifffile.imwrite(path, MOVIE, photometric="minisblack", compression="zlib"),
    "strips": lambda path: tifffile.imwrite(path, MOVIE, photometric="minisblack", rowsperstrip=2),
    "tiles": lambda path: tifffile.imwrite(path, MOVIE, photometric="minisblack", tile=(16, 16)),
    "ome": lambda path: tifffile.imwrite(path, MOVIE, ome=True, metadata={"axes": "TYX"}, photometric="minisblack"),
    "run": write_run,
}
every_writer = pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)


def read_or_refuse(path):
    "Read a whole movie; None if it is refused. Any other error fails the test."
    try:
        with open_movie(path) as movie: return movie[:]
    except ValueError as error:
        assert str(path) in str(error)
        return None


@every_writer
def test_reads_what_others_write(writer, tmp_path):
    writer(tmp_path/"a.tif")
    with open_movie(tmp_path/"a.tif") as movie:
        assert movie.shape == MOVIE.shape and movie.dtype == np.uint16 and movie[0].dtype.isnative
        np.testing.assert_array_equal(movie[:], MOVIE)
        np.testing.assert_array_equal(movie[[3, 0]], MOVIE[[3, 0]])


@pytest.mark.parametrize("frames", [1, 2, 30])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"metadata": None}, {"imagej": True},
                                     {"imagej": True, "metadata": {"axes": "TCYX"}},
                                     {"ome": True, "metadata": {"axes": "TYX"}}])
def test_one_page_is_read_with_all_checks(frames, options, tmp_path, monkeypatch):
    "The description is in the first page alone, so that the others are like each other and unlike the first."
    movie = np.random.default_rng(1).integers(0, 2000, (frames, 8, 9)).astype(np.uint16)
    channels = options.get("metadata") == {"axes": "TCYX"}
    stack = np.stack([movie[::-1], movie], axis=1) if channels else movie
    tifffile.imwrite(tmp_path/"a.tif", stack, photometric="minisblack", **options)
    checked, page = [], dl4smlm.tiff._page
    with open_movie(tmp_path/"a.tif", **{"channel": 1} if channels else {}) as opened:
        monkeypatch.setattr("dl4smlm.tiff._page", lambda *args: checked.append(args[1]) or page(*args))
        np.testing.assert_array_equal(opened[:], movie)
        assert len(checked) <= 2  # the first, and the next
        order = np.random.default_rng(2).permutation(frames)
        np.testing.assert_array_equal(opened[order], movie[order])


@every_writer
def test_cut_anywhere_is_refused_or_whole(writer, tmp_path):
    "A file that lost its end is never a shorter or another movie."
    writer(tmp_path/"a.tif")
    data, part, whole = (tmp_path/"a.tif").read_bytes(), tmp_path/"part.tif", 0
    for size in range(0, len(data), 1 + len(data)//300):
        part.write_bytes(data[:size])
        found = read_or_refuse(part)
        if found is not None:
            np.testing.assert_array_equal(found, MOVIE)
            whole += 1
    assert whole < 150


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]))
def test_garbage_is_refused(tmp_path_factory, data, head):
    path = tmp_path_factory.getbasetemp()/"garbage.tif"
    path.write_bytes(head + data)
    read_or_refuse(path)


@pytest.mark.parametrize("name", ["ours", "pages", "deflate", "ome", "run", "big"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_never_crash(tmp_path_factory, name, changes):
    path = tmp_path_factory.getbasetemp()/f"changed-{name}.tif"
    source = path.with_name(f"source-{name}.tif")
    if not source.exists(): WRITERS[name](source)
    data = bytearray(source.read_bytes())
    for place, value in changes: data[int(place**3*len(data))] = value  # more of them in the directory, at the front
    path.write_bytes(data)
    read_or_refuse(path)


@pytest.mark.parametrize("prepare, reason", [
    (lambda p: None, "no file"),
    (lambda p: p.mkdir(), "is a folder without TIFF files"),
    (lambda p: p.touch(), "0 bytes"),
    (lambda p: p.write_text("id,frame"), "not a TIFF"),
    (lambda p: p.write_bytes(b"\xda\xce\xbe\n" + bytes(99)), r"Fiji \(Bio-Formats\) and save it as TIFF"),
    (lambda p: p.write_bytes(b"II*\0\0\0\0\0"), "no image"),
    (lambda p: p.write_bytes(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"), "in a circle"),
    (lambda p: tifffile.imwrite(p, np.zeros((3, 4, 4, 3), np.uint8), photometric="rgb"), "colour"),
    (lambda p: tifffile.imwrite(p, np.zeros((3, 8, 8), np.uint8), photometric="rgb", planarconfig=2), "colour"),
    (lambda p: tifffile.imwrite(p, np.zeros((2, 8, 8), complex), photometric="minisblack"), "complex128"),
    (lambda p: tifffile.imwrite(p, np.zeros((2, 3, 8, 8), np.uint8), imagej=True, metadata={"axes": "TZYX"}),
     "3 slices, 2 frames"),
    (lambda p: tifffile.imwrite(p, np.zeros((2, 3, 8, 8), np.uint8), ome=True, metadata={"axes": "CTYX"}),
     "2 channels, 3 frames"),
    (lambda p: tifffile.imwrite(p, np.zeros((2, 3, 8, 8), np.uint8), photometric="minisblack"), "more than one axis"),
    (lambda p: tifffile.imwrite(p, np.zeros((2, 8, 8), np.uint8), description="ImageJ=1\nimages=9\n", metadata=None,
                                photometric="minisblack"), "9 images, but holds 2"),
])
def test_refused_with_a_reason(prepare, reason, tmp_path):
    path = tmp_path/"a.tif"
    prepare(path)
    with pytest.raises(ValueError, match=reason): open_movie(path)


def test_missing_decoder_names_what_to_install(tmp_path):
    if find_spec("imagecodecs"): pytest.skip("imagecodecs is installed")
    tifffile.imwrite(tmp_path/"a.tif", MOVIE, photometric="minisblack", compression="zlib", byteorder="<")
    data = (tmp_path/"a.tif").read_bytes()
    deflate, lzw = (struct.pack("<HHIHH", 259, 3, 1, code, 0) for code in (8, 5))
    assert deflate in data
    (tmp_path/"a.tif").write_bytes(data.replace(deflate, lzw))
    with pytest.raises(ValueError, match="pip install imagecodecs"): open_movie(tmp_path/"a.tif")


@pytest.mark.parametrize("pixel_nm", [1, 6.25, 12.5, 100, 106.7, 1000/9, 160, 2000])
@pytest.mark.parametrize("classic", [True, False])
def test_pixel_size_comes_back(pixel_nm, classic, tmp_path, monkeypatch):
    if not classic: monkeypatch.setattr("dl4smlm.io._CLASSIC_BYTES", 0)
    save_movie(MOVIE, tmp_path/"a.tif", pixel_nm)
    save_image(MOVIE[0], tmp_path/"b.tif", pixel_nm)
    with tifffile.TiffFile(tmp_path/"a.tif") as tif: assert tif.is_imagej == classic and tif.is_bigtiff != classic
    with open_movie(tmp_path/"a.tif") as movie: assert movie.pixel_nm == pytest.approx(pixel_nm, rel=1e-6)
    assert read_image(tmp_path/"b.tif")[1] == pytest.approx(pixel_nm, rel=1e-6)


@pytest.mark.parametrize("unit, per_unit, nm", [
    ("micron", 10, 100), ("um", 10, 100), ("µm", 10, 100), (r"\u00B5m", 10, 100), ("nm", 0.01, 100),
    ("mm", 1e4, 100), ("inch", 254_000, 100), ("cm", 1e5, 100),
    ("pixel", 10, None), ("", 10, None), ("um", 0.001, None), ("inch", 72, None)])
def test_pixel_size_in_the_units_of_imagej(unit, per_unit, nm, tmp_path):
    for code in ("utf-8", "latin-1"):
        text = f"ImageJ=1.54f\nimages=5\nunit={unit}\n".encode(code)
        tifffile.imwrite(tmp_path/"a.tif", MOVIE, photometric="minisblack", resolution=(per_unit, per_unit),
                         resolutionunit="NONE", metadata=None, description=text)
        with open_movie(tmp_path/"a.tif") as movie: assert movie.pixel_nm == (nm and pytest.approx(nm, rel=1e-5))


def test_nothing_is_left_when_writing_fails(tmp_path):
    class Broken:
        shape = (3, 8, 8)
        def __getitem__(self, key): return MOVIE[:1, :8, :8] if key == slice(None, 1) else 1/0
    with pytest.raises(ZeroDivisionError): save_movie(Broken(), tmp_path/"a.tif")
    with pytest.raises(ValueError, match="int64"): save_movie(MOVIE.astype(int), tmp_path/"a.ome.tif")
    with pytest.raises(ValueError, match="pixel_nm must be"): save_movie(MOVIE, tmp_path/"a.tif", pixel_nm=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where not even root may write")
@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.raw", "a.zarr", "a.csv", "a.hdf5", "a.h5", "a.smlm"])
def test_a_place_where_nobody_may_write(name):
    "The error names the file that was asked for, not the temporary one."
    if name == "a.zarr": pytest.importorskip("zarr")
    with pytest.raises(ValueError, match=f"^/proc/{name} cannot be made .*: choose another place$"):
        if name in ("a.tif", "a.npy", "a.raw", "a.zarr"): save_movie(MOVIE, f"/proc/{name}")
        else: save_localizations(make_emitters([0], [200], [200], uncertainty_nm=9), f"/proc/{name}", pixel_nm=100)


def test_tensors_lists_and_files_can_be_saved(tmp_path):
    for i, movie in enumerate([torch.from_numpy(MOVIE.astype(np.float32)), list(MOVIE)]):
        save_movie(movie, tmp_path/f"{i}.tif")
        with open_movie(tmp_path/f"{i}.tif") as back: np.testing.assert_array_equal(back[:], MOVIE)


def test_shrinking_file_is_noticed(tmp_path):
    for name, writer in WRITERS.items():
        path = tmp_path/f"{name}.tif"
        writer(path)
        with open_movie(path) as movie:
            os.truncate(path, 100)
            with pytest.raises(ValueError): movie[4]


def test_threads_do_not_disturb_each_other(tmp_path):
    write_pages(tmp_path/"a.tif")
    wrong = []
    with open_movie(tmp_path/"a.tif") as movie:
        def read():
            for i in [0, 4, 2, 1, 3]*20:
                if not np.array_equal(movie[i], MOVIE[i]): wrong.append(i)
        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    assert not wrong


class TellingLock:
    "A lock that tells when somebody comes to it."
    def __init__(self, tell): self.lock, self.tell = threading.Lock(), tell

    def __enter__(self):
        self.tell()
        self.lock.acquire()

    def __exit__(self, *error): self.lock.release()


def test_closing_waits_for_those_who_read(tmp_path):
    save_movie(MOVIE, tmp_path/"a.tif")
    movie, came = open_movie(tmp_path/"a.tif"), threading.Event()
    read = movie._frames.read

    def close():
        movie.close()
        came.set()

    closer = threading.Thread(target=close)

    def read_slowly(number):
        if not number:
            movie._lock.tell = came.set
            closer.start()
        came.wait()  # until the other has come to the lock, or has closed the file without it
        return read(number)

    movie._lock, movie._frames.read = TellingLock(lambda: None), read_slowly
    np.testing.assert_array_equal(movie[:], MOVIE)
    closer.join()
    with pytest.raises(ValueError, match="has been closed"): movie[0]
    movie.close()


def test_closed_while_waiting_to_read(tmp_path):
    save_movie(MOVIE, tmp_path/"a.tif")
    movie = open_movie(tmp_path/"a.tif")

    def close():
        frames, movie._frames = movie._frames, None
        frames.close()

    movie._lock = TellingLock(close)  # who comes to the lock finds that another closed the movie just before
    with pytest.raises(ValueError, match="has been closed"): movie[0]


def test_closing_does_not_wait_for_those_of_another_process(tmp_path):
    save_movie(MOVIE, tmp_path/"a.tif")
    movie = open_movie(tmp_path/"a.tif")
    movie._process = -1  # as if this were a child, and its parent had the lock when the child was made
    movie._lock = TellingLock(lambda: pytest.fail("it would wait for ever"))
    movie.close()
    with pytest.raises(ValueError, match="has been closed"): movie[0]


def test_processes_read_the_same_batches(tmp_path):
    movie = np.random.default_rng(0).integers(0, 2000, (40, 16, 16)).astype(np.uint16)
    save_movie(movie, tmp_path/"a.tif", pixel_nm=100)
    truth = make_emitters(np.arange(40), np.full(40, 800.), np.full(40, 300.))
    with open_movie(tmp_path/"a.tif") as opened:
        alone, helped = (make_loaders(opened, truth, upscale=2, patch_px=8, seed=1, num_workers=n)[0] for n in (0, 2))
        for one, two in zip(alone, helped, strict=True): torch.testing.assert_close(one, two)
        assert isinstance(helped, DataLoader) and len(opened) == 40


def test_a_part_is_reconstructed_and_localized_as_it_would_be_alone(tmp_path):
    movie = np.random.default_rng(3).integers(0, 400, (30, 16, 16)).astype(np.uint16)
    movie[np.arange(30), np.arange(30) % 10 + 3, 8] = 20_000
    save_movie(movie, tmp_path/"a.tif", pixel_nm=100)
    torch.manual_seed(0)
    model = create_model("fidstorm", upscale=2, blocks=1, width=4)
    model.normalise = Normalise(0., 400.)
    with torch.no_grad():
        for weights in model.parameters(): weights.abs_()  # so that a bright pixel becomes a peak, whatever was drawn
    with open_movie(tmp_path/"a.tif") as opened:
        ways = [reconstruct(model, frames, pixel_nm=100, keep_frames=True, progress=False)
                for frames in (opened.part(4, 25), movie[4:25])]
        np.testing.assert_array_equal(*(way.image for way in ways))
        found, expected = map(localize, ways)
        assert len(found) >= 21
        assert_frame_equal(found, expected.assign(frame=expected["frame"] + 4))  # those of the part as in the file
        shown = (opened.part(4, 25), ways[0], found), (movie[4:25], ways[1], expected)
        marks = [MoviePlayer(seen, found=table, pixel_nm=100).marks for seen, _, table in shown]
        assert marks[0] == marks[1] and sum(map(len, marks[0][1])) == len(found)
        crosses = [show_frame(*given, frame=3)[0, 0].lines[-1].get_xydata().tolist() for given in shown]
        assert crosses[0] == crosses[1] and crosses[0]
    save_movie(ways[0].frames, tmp_path/"densities.tif", 50)
    with open_movie(tmp_path/"densities.tif") as densities:
        alone, within = localize(densities.part(10)), localize(densities)
    assert_frame_equal(alone, within[within["frame"] >= 10].reset_index(drop=True))


def test_processes_read_a_part_of_a_movie(tmp_path):
    movie = np.random.default_rng(0).integers(0, 2000, (60, 16, 16)).astype(np.uint16)
    save_movie(movie, tmp_path/"a.tif", pixel_nm=100)
    truth = make_emitters(np.arange(40), np.full(40, 800.), np.full(40, 300.))
    settings = {"pixel_nm": 100, "upscale": 2, "patch_px": 8, "seed": 1}
    with open_movie(tmp_path/"a.tif") as opened:
        helped = make_loaders(opened.part(10, 50), truth, num_workers=2, **settings)[0]
        alone = make_loaders(movie[10:50], truth, **settings)[0]
        for one, two in zip(alone, helped, strict=True): torch.testing.assert_close(one, two)


def test_a_part_reads_no_more_than_it_is_asked_for(tmp_path, monkeypatch):
    save_movie(MOVIE, tmp_path/"a.tif")
    with open_movie(tmp_path/"a.tif") as movie:
        part, read, numbers = movie.part(1, 4), movie._frames.read, []
        monkeypatch.setattr(movie._frames, "read", lambda number: numbers.append(number) or read(number))
        np.testing.assert_array_equal(part[[2, 0]], MOVIE[[3, 1]])
        assert numbers == [3, 1]


def test_opens_more_than_4_gb_at_once(tmp_path):
    "A file with holes: as large as a real one, without taking the room on the disk."
    path, frame = tmp_path/"large.tif", np.full((512, 512), 7, np.uint16)
    tifffile.imwrite(path, frame, byteorder=">", photometric="minisblack", metadata=None,
                     description="ImageJ=1.54f\nimages=10000\nframes=10000\n")
    with tifffile.TiffFile(path) as tif: start = tif.pages[0].dataoffsets[0]
    with open(path, "r+b") as file:
        file.truncate(start + 10_000*frame.nbytes)
        file.seek(start + 9_999*frame.nbytes)
        file.write(np.full_like(frame, 9).astype(">u2").tobytes())
    with open_movie(path) as movie:
        assert movie.shape == (10_000, 512, 512)
        assert [int(f.mean()) for f in movie[[0, 5000, -1]]] == [7, 0, 9]
    os.truncate(path, start + 10_000*frame.nbytes - 1)
    with pytest.raises(ValueError, match="cut short"): open_movie(path)


@pytest.mark.skipif(not Path(DATA).is_dir() or not DATA, reason="DL4SMLM_DATA names no folder with movies")
def test_movies_of_others():
    paths = sorted(path for path in Path(DATA).rglob("*") if path.suffix.lower() in (".tif", ".tiff"))
    assert paths
    for path in paths:
        with open_movie(path) as movie:
            np.testing.assert_array_equal(movie[:], tifffile.imread(path), err_msg=path.name)
            if "deepstorm" in str(path): assert movie.pixel_nm == 100


def test_a_reconstruction_is_saved_as_it_is(tmp_path):
    seen = Reconstruction(MOVIE[0].astype(np.float32), np.zeros((0, 6)), 0.1, 30., 12.5)
    save_image(seen, tmp_path/"a.tif")
    image, pixel_nm = read_image(tmp_path/"a.tif")
    assert np.array_equal(image, seen.image) and pixel_nm == 12.5
    with pytest.warns(UserWarning, match="says that its pixels have 12.5 nm: 100 nm is used, as given") as told:
        save_image(seen, tmp_path/"b.tif", 100)
    assert read_image(tmp_path/"b.tif")[1] == 100 and told[0].filename == __file__
    for unknown in (seen.image, replace(seen, pixel_nm=None)):
        with pytest.raises(ValueError, match="the pixel size is missing"): save_image(unknown, tmp_path/"c.tif")
    assert not (tmp_path/"c.tif").exists()


def test_arguments_in_the_wrong_order_are_told(tmp_path):
    seen = Reconstruction(MOVIE[0].astype(np.float32), np.zeros((0, 6)), 0.1, 30., 12.5)
    images = [(save_image, "image", image) for image in (MOVIE[0], torch.ones(4, 4), seen)]
    for save, name, what in ((save_movie, "movie", MOVIE), *images):
        with pytest.raises(ValueError) as told: save(str(tmp_path/"a.tif"), what, 100)
        assert f"got {type(what).__name__}: the order is {save.__name__}({name}, path" in str(told.value)
    with pytest.raises(ValueError, match=r"the order is save_picture\(image, path"):
        save_picture(tmp_path/"a.png", MOVIE[0], 100)
    assert not list(tmp_path.iterdir())
