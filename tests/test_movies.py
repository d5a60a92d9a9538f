"Movies in all kinds of file behind one door: choice of channel and depth, folders, and files made to do harm."
import gc
import json
import os
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from dl4smlm.io import movie_format, open_movie, read_image, save_movie
from dl4smlm.strangers import LENGTHS_NM

DATA = Path(os.environ.get("DL4SMLM_DATA", "no folder given"))
MOVIE = np.random.default_rng(0).integers(0, 2000, (24, 9, 12)).astype(np.uint16)
ENDINGS = [".tif", ".ome.tif", ".npy", ".raw", ".zarr", "folder"]


def save(path):
    "Save the movie in the form that the name ends in; a folder of three files if it is `folder`."
    if path.name.endswith(".zarr"): pytest.importorskip("zarr")
    if not path.name.endswith("folder"): return save_movie(MOVIE, path, pixel_nm=None if path.suffix == ".npy" else 100)
    path.mkdir()
    for start, stop in [(0, 1), (1, 10), (10, 24)]: save_movie(MOVIE[start:stop], path/f"t{start}.tif", pixel_nm=100)


class Frames(Dataset):
    "What a training loader does with a movie."
    def __init__(self, movie): self.movie = movie
    def __len__(self): return len(self.movie)
    def __getitem__(self, i): return self.movie[i].astype(np.float32)


@pytest.mark.parametrize("ending", ENDINGS)
def test_same_interface_in_every_process(ending, tmp_path):
    save(tmp_path/f"a{ending}")
    with open_movie(tmp_path/f"a{ending}") as movie:
        assert movie.shape == MOVIE.shape and movie.dtype == MOVIE.dtype and len(movie) == 24
        assert movie.pixel_nm == (None if ending == ".npy" else 100)
        assert movie[-1].dtype.isnative
        for key in (slice(3, 20, 4), [5, 0, 5], np.arange(24) % 2 == 0):
            np.testing.assert_array_equal(movie[key], MOVIE[key])
        context, workers = ("spawn", 1) if ending == "folder" else (None, 2)  # a spawned one imports torch
        loader = DataLoader(Frames(movie), batch_size=5, num_workers=workers, multiprocessing_context=context)
        np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in loader]), MOVIE)
        np.testing.assert_array_equal(movie[:], MOVIE)


@pytest.mark.parametrize("kind, axes", [("imagej", "TZCYX"), *(("ome", f"{axes}YX") for axes in
                                        ("TCZ", "TZC", "CTZ", "ZCT", "CZT", "ZTC"))])
def test_choice_of_channel_and_depth(kind, axes, tmp_path):
    "Each plane of a stack in any order, against numpy."
    sizes = {"T": 4, "C": 3, "Z": 2}
    stack = MOVIE.reshape([sizes[letter] for letter in axes[:3]] + [9, 12])
    tifffile.imwrite(tmp_path/"a.tif", stack, photometric="minisblack", metadata={"axes": axes}, **{kind: True})
    ordered = stack.transpose([axes.index(letter) for letter in "CZTYX"])
    for c in range(3):
        for z in range(2):
            with open_movie(tmp_path/"a.tif", channel=c, z=z) as movie:
                np.testing.assert_array_equal(movie[:], ordered[c, z])
    with pytest.raises(ValueError, match="choose channel=0 to 2 and z=0 to 1"): open_movie(tmp_path/"a.tif")
    with pytest.raises(ValueError, match="choose z=0 to 1"): open_movie(tmp_path/"a.tif", channel=0)
    with pytest.raises(ValueError, match="channel=3 must be from 0 to 2"): open_movie(tmp_path/"a.tif", channel=3, z=0)
    with pytest.raises(ValueError, match="series"): open_movie(tmp_path/"a.tif", series=1, channel=0, z=0)


def test_folder_in_natural_order(tmp_path):
    for t in range(12): tifffile.imwrite(tmp_path/f"Img {t}.TIF", MOVIE[t], photometric="minisblack")
    (tmp_path/"notes.txt").write_text("not a frame")
    (tmp_path/"._Img 3.TIF").write_bytes(b"left by a file manager")
    with open_movie(tmp_path) as movie: np.testing.assert_array_equal(movie[:], MOVIE[:12])
    tifffile.imwrite(tmp_path/"Img 12.TIF", MOVIE[0, :5], photometric="minisblack")
    with open_movie(tmp_path) as movie, pytest.raises(ValueError, match="Img 12.TIF has frames of"): movie[12]
    (tmp_path/"Img 11.TIF").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match="Img 11.TIF is cut short"): open_movie(tmp_path)


def test_listed_files_are_one_movie_in_the_order_of_the_list(tmp_path):
    for t in range(12): save_movie(MOVIE[2*t:2*t + 2], tmp_path/f"{t}.tif", pixel_nm=100)
    paths = [tmp_path/f"{t}.tif" for t in (10, 2, 0)]
    for listed in (paths, tuple(map(str, paths))):
        with open_movie(listed) as movie:
            assert (movie.shape, movie.pixel_nm, movie.path) == ((6, 9, 12), 100, paths[0])
            np.testing.assert_array_equal(movie[:], MOVIE[[20, 21, 4, 5, 0, 1]])
            loader = DataLoader(Frames(movie), batch_size=3, num_workers=1)
            np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in loader]), movie[:])
    with open_movie(tmp_path/"*.tif") as movie: np.testing.assert_array_equal(movie[:], MOVIE)
    save_movie(MOVIE[:, :5], tmp_path/"low.tif")
    save_movie(MOVIE.astype(np.float32), tmp_path/"float.tif")
    for odd in ("low", "float"):
        with pytest.raises(ValueError, match=f"{odd}.tif has frames of"): open_movie([*paths, tmp_path/f"{odd}.tif"])
    with pytest.raises(ValueError, match="no file .*gone.tif"): open_movie([*paths, tmp_path/"gone.tif"])


def test_a_folder_that_is_refused_leaves_no_file_open(tmp_path):
    for t in range(3): tifffile.imwrite(tmp_path/f"{t}.tif", MOVIE[:4], photometric="minisblack")
    (tmp_path/"3.tif").write_bytes(b"broken")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(ValueError, match="3.tif is not a TIFF"): open_movie(tmp_path)
        gc.collect()
    assert not [str(warning.message) for warning in said if str(tmp_path) in str(warning.message)]


@pytest.mark.parametrize("unit", LENGTHS_NM)
def test_every_reader_of_movies_knows_the_same_lengths(unit, tmp_path):
    zarr, size = pytest.importorskip("zarr"), 100/LENGTHS_NM[unit]
    tifffile.imwrite(tmp_path/"a.tif", MOVIE[0], photometric="minisblack", metadata=None, resolution=(1/size, 1/size),
                     resolutionunit="NONE", description=f"ImageJ=1\nunit={unit}\n".encode())
    store = zarr.open_group(str(tmp_path/"a.zarr"), mode="w")
    store.create_array("0", shape=(2, 8, 8), dtype="u2")
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, size, size]}]}
    axes = [{"name": "t"}, {"name": "y", "unit": unit}, {"name": "x", "unit": unit}]
    store.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": [level]}]}
    for name in ("a.tif", "a.zarr"):
        with open_movie(tmp_path/name) as movie: assert movie.pixel_nm == pytest.approx(100, rel=1e-4)


def test_ome_movie_in_two_files(tmp_path):
    "Some microscopes begin a new file at 4 GB, and describe the whole movie in each."
    xml = tifffile.OmeXml()
    xml.addimage("uint16", (24, 9, 12), (24, 1, 1, 9, 12, 1), axes="TYX")
    for name, frames in (("m.ome.tif", MOVIE[:15]), ("m_1.ome.tif", MOVIE[15:])):
        tifffile.imwrite(tmp_path/name, frames, photometric="minisblack", metadata=None,
                         description=xml.tostring().encode())
    with open_movie(tmp_path) as movie: np.testing.assert_array_equal(movie[:], MOVIE)
    with pytest.raises(ValueError, match="open the folder"): open_movie(tmp_path/"m.ome.tif")


OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def ome(path, planes, images, sizes, name=None):
    "Write an OME file: its planes {(c, t): (file, IFD)}, and the images that it holds itself."
    data = "".join(f'<TiffData IFD="{ifd}" FirstC="{c}" FirstT="{t}" PlaneCount="1"><UUID FileName="{file}">urn:uuid:'
                   f'{file}</UUID></TiffData>' for (c, t), (file, ifd) in planes.items())
    size = f'SizeX="12" SizeY="9" SizeZ="1" SizeC="{sizes[0]}" SizeT="{sizes[1]}"'
    xml = (f'{OME} UUID="urn:uuid:{name or path.name}"><Image><Pixels DimensionOrder="XYZCT" Type="uint16" {size}>'
           f'{data}</Pixels></Image></OME>')
    tifffile.imwrite(path, images, photometric="minisblack", metadata=None, description=xml)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("choice", [{}, {"series": 0}, {"channel": 0}, {"channel": 1}, {"channel": 0, "z": 0}])
def test_planes_of_an_ome_file_in_any_order(channels, choice, tmp_path):
    "TiffData may put the planes anywhere: here the movie runs backwards in the file, also if it is called otherwise."
    frames = 24//channels
    planes = {(i//frames, i % frames): ("first_name.ome.tif", 23 - i) for i in range(24)}
    ome(tmp_path/"a.ome.tif", planes, MOVIE[::-1], (channels, frames), "first_name.ome.tif")
    def read():
        with open_movie(tmp_path/"a.ome.tif", **choice) as movie: return movie[:]
    if choice.get("channel", 0) >= channels:
        with pytest.raises(ValueError, match="must be from 0 to 0"): read()
    elif channels == 2 and "channel" not in choice:
        with pytest.raises(ValueError, match="choose channel=0 to 1"): read()
    else: np.testing.assert_array_equal(read(), MOVIE[choice.get("channel", 0)*frames:][:frames])


@pytest.mark.parametrize("by", ["time", "channel", "plane"])
def test_ome_movie_of_two_channels_in_several_files(by, tmp_path):
    "Each file describes all of them, and says in which of them a plane is."
    files = {"time": lambda c, t: t//5, "channel": lambda c, t: c, "plane": lambda c, t: 12*c + t}[by]
    held, planes = {}, {}
    for t in range(12):
        for c in range(2):
            images = held.setdefault(f"m_{files(c, t)}.ome.tif", [])
            planes[c, t] = f"m_{files(c, t)}.ome.tif", len(images)
            images.append(MOVIE[2*t + c])
    for name, images in held.items(): ome(tmp_path/name, planes, np.stack(images), (2, 12))
    for c in range(2):
        with open_movie(tmp_path, channel=c) as movie: np.testing.assert_array_equal(movie[:], MOVIE[c::2])
    with pytest.raises(ValueError, match="choose channel=0 to 1"): open_movie(tmp_path)


@pytest.mark.parametrize("choice", [{}, {"series": 0}, {"channel": 0}, {"z": 0, "series": 0}])
def test_a_set_of_ome_files_is_never_doubled(choice, tmp_path):
    planes = {(0, t): (f"m_{t//14}.ome.tif", t % 14) for t in range(24)}
    for i, images in enumerate((MOVIE[:14], MOVIE[14:])):
        ome(tmp_path/f"m_{i}.ome.tif", planes, images, (1, 24))
    with open_movie(tmp_path, **choice) as movie: np.testing.assert_array_equal(movie[:], MOVIE)


def test_other_ome_images_are_in_another_file(tmp_path):
    "An image that is said to be elsewhere is not looked for here, and a set without any of it is refused."
    ome(tmp_path/"a.ome.tif", {(i % 2, i//2): ("b.ome.tif", i) for i in range(24)}, MOVIE, (2, 12))
    with pytest.raises(ValueError, match="in other files"): open_movie(tmp_path/"a.ome.tif", channel=0)
    with pytest.raises(ValueError, match="none of its files holds an image of {'channel': 1}"):
        open_movie(tmp_path, channel=1)
    only = f'{OME}><BinaryOnly MetadataFile="a.ome.tif"/></OME>'
    tifffile.imwrite(tmp_path/"c.ome.tif", MOVIE, photometric="minisblack", metadata=None, description=only)
    with open_movie(tmp_path/"c.ome.tif") as movie: np.testing.assert_array_equal(movie[:], MOVIE)
    with pytest.raises(ValueError, match="description of its images to another file"):
        open_movie(tmp_path/"c.ome.tif", channel=0)


def pixels(frames, data): return f'{OME}><Image><Pixels SizeT="{frames}">{data}</Pixels></Image></OME>'


DESCRIPTIONS = {
    "none": None, "ImageJ": "ImageJ=1.54\nimages=24\nframes=24\n",
    "more than ImageJ says": "ImageJ=1.54\nimages=4\nframes=4\n",
    "more than OME says": pixels(4, "<TiffData/>"),
    "more than OME lists": pixels(4, '<TiffData IFD="0" PlaneCount="4"/>'),
    "fewer than OME should list": pixels(24, '<TiffData IFD="0"/>'),
    "OME says one image for all": pixels(24, "".join(f'<TiffData IFD="0" FirstT="{t}"/>' for t in range(24))),
}


@pytest.mark.parametrize("choice", [{}, {"channel": 0}, {"z": 0}, {"series": 0}, {"channel": 0, "z": 0, "series": 0}])
@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_choice_of_the_only_one_there_is_leaves_no_frame_out(description, choice, tmp_path):
    with tifffile.TiffWriter(tmp_path/"a.tif") as tif:
        for frame in MOVIE:
            tif.write(frame, photometric="minisblack", metadata=None, contiguous=False, description=description)
            description = None
    for path in (tmp_path/"a.tif", tmp_path):
        with open_movie(path, **choice) as movie: np.testing.assert_array_equal(movie[:], MOVIE)


def imagej(path, images, described):
    tifffile.imwrite(path, images, photometric="minisblack", metadata=None, description=f"ImageJ=1.54\n{described}\n")


def test_imagej_set_of_two_channels(tmp_path):
    "Nothing says where a file begins, so it must hold whole rounds of the channels."
    for name, images in (("0.tif", MOVIE[:14]), ("1.tif", MOVIE[14:])):
        imagej(tmp_path/name, images, "images=24\nchannels=2\nframes=12")
    for c in range(2):
        with open_movie(tmp_path, channel=c) as movie: np.testing.assert_array_equal(movie[:], MOVIE[c::2])
    imagej(tmp_path/"0.tif", MOVIE[:15], "images=24\nchannels=2\nframes=12")
    with pytest.raises(ValueError, match="holds 15 images and describes 24, and does not say which"):
        open_movie(tmp_path, channel=0)
    imagej(tmp_path/"2.tif", MOVIE, "images=12\nchannels=2\nframes=6")
    with pytest.raises(ValueError, match="holds 24 images and describes 12"): open_movie(tmp_path/"2.tif", channel=0)


def test_a_run_without_directories_is_whole_in_a_folder_too(tmp_path):
    "As ImageJ writes beyond 4 GB; a set of single images that each describe all is no run."
    for name, images in (("0.tif", MOVIE[:10]), ("1.tif", MOVIE[10:])):
        imagej(tmp_path/name, images[:1], f"images={len(images)}\nframes={len(images)}")
        with open(tmp_path/name, "ab") as file: file.write(images[1:].tobytes())
    with open_movie(tmp_path) as movie: np.testing.assert_array_equal(movie[:], MOVIE)
    with open(tmp_path/"1.tif", "r+b") as file: file.truncate(file.seek(0, 2) - 1)
    with pytest.raises(ValueError, match="1.tif is cut short"): open_movie(tmp_path)
    for t in range(24): imagej(tmp_path/f"{t}.tif", MOVIE[t], "images=24\nframes=24")
    with open_movie(tmp_path) as movie: np.testing.assert_array_equal(movie[:], MOVIE)


@pytest.mark.parametrize("ending", ENDINGS[:-1])
def test_what_is_written_can_be_read(ending, tmp_path):
    "The highest byte first is written as well; what no reader takes is refused, and leaves nothing behind."
    if ending == ".zarr": pytest.importorskip("zarr")
    for wrong in (MOVIE > 5, MOVIE*1j, MOVIE.astype(object)):
        with pytest.raises(ValueError, match="whole or floating-point"): save_movie(wrong, tmp_path/f"a{ending}")
    assert not list(tmp_path.iterdir())
    for kind in (">u2", ">f4"):
        save_movie(MOVIE.astype(kind), tmp_path/f"{kind[1:]}{ending}")
        with open_movie(tmp_path/f"{kind[1:]}{ending}") as movie:
            assert movie.dtype == np.dtype(kind[1:])
            np.testing.assert_array_equal(movie[:], MOVIE)


KINDS = ("i1", "i2", "u4", "i4", "u8", "i8", "f8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ENDINGS[:-1])
def test_a_movie_of_any_numbers_can_be_saved_again(ending, kind, tmp_path):
    if ending == ".zarr": pytest.importorskip("zarr")
    movie = (MOVIE - 1000).astype(kind) if kind[0] != "u" else MOVIE.astype(kind)
    tifffile.imwrite(tmp_path/"source.tif", movie, photometric="minisblack")
    with open_movie(tmp_path/"source.tif") as source:
        if ending == ".ome.tif" and kind in ("u8", "i8"):
            with pytest.raises(ValueError, match="OME-TIFF has no numbers of"): save_movie(source, tmp_path/"a.ome.tif")
            return
        save_movie(source, tmp_path/f"a{ending}", *[] if ending == ".npy" else [130])
    with open_movie(tmp_path/f"a{ending}") as back:
        assert back.dtype == np.dtype(kind) and back.pixel_nm == (None if ending == ".npy" else 130)
        np.testing.assert_array_equal(back[:], movie)


@pytest.mark.parametrize("pixel_nm", [None, 65.5])
def test_a_zarr_store_of_ours_is_ome_zarr(pixel_nm, tmp_path):
    zarr = pytest.importorskip("zarr")
    save_movie(MOVIE, tmp_path/"a.zarr", pixel_nm)
    notes, = zarr.open(str(tmp_path/"a.zarr"), mode="r").attrs["multiscales"]
    assert notes["version"] == "0.4" and [axis["name"] for axis in notes["axes"]] == ["t", "y", "x"]
    assert [axis.get("unit") for axis in notes["axes"]] == [None, *["nanometer" if pixel_nm else None]*2]
    level, = notes["datasets"]
    assert level["coordinateTransformations"] == [{"type": "scale", "scale": [1, *[pixel_nm or 1]*2]}]
    np.testing.assert_array_equal(zarr.open(str(tmp_path/"a.zarr"), mode="r")[level["path"]][:], MOVIE)
    with open_movie(tmp_path/"a.zarr") as movie: assert movie.pixel_nm == pixel_nm


def test_a_size_that_npy_cannot_hold_is_told(tmp_path):
    save_movie(MOVIE, tmp_path/"a.tif", pixel_nm=100)
    with open_movie(tmp_path/"a.tif") as known:
        for movie, size in ((MOVIE, [100]), (known, [])):
            with pytest.warns(UserWarning, match="no place for the size of a pixel: open it with pixel_nm=100") as told:
                save_movie(movie, tmp_path/"a.npy", *size, overwrite=True)
            assert [one.filename for one in told] == [__file__]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_region_of_any_movie_is_read_a_block_at_a_time(ending, tmp_path, monkeypatch):
    save(tmp_path/f"a{ending}")
    with open_movie(tmp_path/f"a{ending}") as movie:
        region, read = movie.part(3, 20, 2, rows=(1, 8), cols=slice(4, None)), []
        known = movie.pixel_nm
        assert (region.shape, region.first, region.pixel_nm) == ((17, 3, 4), 3, known and 2*known)
        monkeypatch.setattr("dl4smlm.io.Movie.__getitem__", lambda self, key, get=type(movie).__getitem__: (
            read.append(np.size(key)), get(self, key))[1])
        expected = MOVIE[3:20, 1:7, 4:].reshape(17, 3, 2, 4, 2).sum((2, 4))
        np.testing.assert_array_equal(region[:], expected)
        np.testing.assert_array_equal(region[[5, 0]], expected[[5, 0]])
        assert read == [17, 2]


def test_a_pixel_in_micrometres_is_doubted_and_a_channel_that_is_not_there_refused(tmp_path):
    pytest.importorskip("zarr")
    for ending in (".raw", ".zarr"): save(tmp_path/f"a{ending}")
    notes = (tmp_path/"a.yaml").read_text()
    (tmp_path/"a.yaml").write_text(notes.replace("Pixelsize: 100.0", "Pixelsize: 0.1"))
    with pytest.warns(UserWarning, match="pixels of 0.1 nm, which is not"): movie = open_movie(tmp_path/"a.raw")
    assert movie.pixel_nm is None
    with pytest.raises(ValueError, match="no axis c: channel=1 must be 0"): open_movie(tmp_path/"a.zarr", channel=1)
    with open_movie(tmp_path/"a.zarr", channel=0) as movie: assert len(movie) == 24


def test_the_argument_wins_and_says_so(tmp_path):
    save_movie(MOVIE, tmp_path/"a.tif", pixel_nm=160)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_movie(tmp_path/"a.tif").pixel_nm == 160
        assert open_movie(tmp_path/"a.tif", pixel_nm=160.5).pixel_nm == 160.5
    with pytest.warns(UserWarning, match="160 nm: 100 nm is used") as told:
        movie = open_movie(tmp_path/"a.tif", pixel_nm=100)
    assert movie.pixel_nm == 100 and told[0].filename == __file__


def test_a_pixel_that_is_not_believed_is_told_at_the_line_that_opened_the_file(tmp_path):
    tifffile.imwrite(tmp_path/"a.tif", MOVIE[0], photometric="minisblack", resolution=(2e3, 2e3), resolutionunit=3)
    for read in (read_image, open_movie):
        with pytest.warns(UserWarning, match="pixels of 5000 x 5000 nm, which is not believed") as told:
            read(tmp_path/"a.tif")
        assert [one.filename for one in told] == [__file__]


def test_twenty_thousand_frames_open_at_once(tmp_path):
    "Opening costs a small part of reading: compared with a plain read of the same bytes, not with a clock."
    path = tmp_path/"long.tif"
    save_movie(np.zeros((20_000, 32, 32), np.uint16), path, pixel_nm=100)
    def seconds(what):
        start = time.perf_counter()
        what()
        return time.perf_counter() - start
    opening = min(seconds(lambda: open_movie(path).close()) for _ in range(3))
    with open_movie(path) as movie: reading = seconds(lambda: movie[::10])
    assert opening < 2*reading and opening < 5


def tiff(width, height, offset, count, code=1, order="<"):
    "A TIFF file of one page whose directory says what it is told to say."
    tags = [(256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, code), (262, 3, 1), (273, 4, offset), (277, 3, 1),
            (278, 4, height), (279, 4, count)]
    body = b"".join(struct.pack(order + "HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", 0) + bytes(200)


def header(shape, dtype="<u2"):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def zarr_store(path, **changes):
    meta = {"zarr_format": 2, "shape": [5, 8, 8], "chunks": [1, 8, 8], "dtype": "<u2", "compressor": None,
            "fill_value": 0, "order": "C", "filters": None} | changes
    path.mkdir()
    (path/".zarray").write_text(json.dumps(meta))


@pytest.mark.parametrize("data, reason", [
    (tiff(2**31, 2**31, 200, 100), "a.tif"),
    (tiff(20_000, 20_000, 200, 100), "damaged|fill the memory"),
    (tiff(30_000, 30_000, 200, 100, code=8), "fill the memory"),
    (tiff(0, 10, 200, 100), "a.tif"),
    (tiff(10, 10, 2**31, 200), "cut short"),
    (tiff(10, 10, 150, 2**31), "cut short"),
    (tiff(10, 10, 150, 100, code=60_000), "a.tif"),
    (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60), "cut short"),
    (b"II*\0\xff\xff\xff\xff", "cut short"),
])
def test_tiff_with_a_huge_header(data, reason, tmp_path):
    (tmp_path/"a.tif").write_bytes(data)
    with pytest.raises(ValueError, match=reason) as refused: open_movie(tmp_path/"a.tif")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data, reason", [
    (header((10**12, 512, 512)), "no movie has"), (header((10**6, 512, 512)), "cut short"),
    (header((0, 8, 8)), "no movie"),
    (header((-1, 8, 8)), "a.npy"), (header((5, 8, 8), "|O"), "type object"), (header((2, 3, 8, 8)), "4 axes"),
    (header(("x", 8, 8)), "a.npy"), (header((5, 8, 8))[:20], "a.npy"), (header((5, 8, 8), "<c8"), "complex"),
    (b"\x93NUMPY\x09\x00" + bytes(100), "a.npy"), (b"\x93NUMPY\x01\x00\xff\xff" + b"("*65535, "a.npy"),
])
def test_npy_made_to_do_harm(data, reason, tmp_path):
    (tmp_path/"a.npy").write_bytes(data)
    with pytest.raises(ValueError, match=reason) as refused: open_movie(tmp_path/"a.npy")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("notes, reason", [
    ("Frames: 10000000000\nHeight: 512\nWidth: 512\nData Type: uint16\n", "no movie has"),
    ("Frames: 5\nHeight: 8\nWidth: 8\nData Type: object\n", "type object"),
    ("Frames: 5\nHeight: 8\nWidth: 8\nData Type: nonsense\n", "a.yaml cannot be read"),
    ("Frames: 5\nHeight: 8\n", "a.yaml cannot be read"),
    ("Frames: [5]\nHeight: 8\nWidth: 8\nData Type: u2\n", "a.yaml"),
    ("Frames: 6\nHeight: 8\nWidth: 8\nData Type: uint16\n", "cut short"), ("[[[", "a.yaml cannot be read"),
])
def test_raw_made_to_do_harm(notes, reason, tmp_path):
    (tmp_path/"a.raw").write_bytes(bytes(5*8*8*2))
    (tmp_path/"a.yaml").write_text(notes)
    with pytest.raises(ValueError, match=reason) as refused: open_movie(tmp_path/"a.raw")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("changes, reason", [
    ({"shape": [10**15, 8, 8]}, "no movie has"), ({"chunks": [10**9, 8, 8]}, "fill the memory"),
    ({"dtype": "|O"}, "a.zarr"),
    ({"shape": [8]}, "a.zarr"), ({"shape": "wide"}, "a.zarr"), ({"compressor": {"id": "nonsense"}}, "a.zarr"),
    ({"shape": [2, 3, 4, 8, 8], "chunks": [1, 1, 1, 8, 8]}, "5 axes"),
])
def test_zarr_made_to_do_harm(changes, reason, tmp_path):
    pytest.importorskip("zarr")
    zarr_store(tmp_path/"a.zarr", **changes)
    with pytest.raises(ValueError, match=reason) as refused: open_movie(tmp_path/"a.zarr")[0]
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("ending", [".npy", ".raw", ".zarr", ".ome.tif"])
def test_cut_or_changed_files_are_refused_or_read(ending, tmp_path):
    save(tmp_path/f"a{ending}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in files}

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(files), st.floats(0, 1),
           st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4))
    def check(file, share, changes):
        part = bytearray(contents[file])
        for place, value in changes: part[int(place**2*len(part))] = value
        file.write_bytes(part if changes else part[:int(share*len(part))])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of pixel sizes, which are changed here too
                with open_movie(tmp_path/f"a{ending}") as movie: movie[:24]
        except ValueError as error: assert "\n" not in str(error) and str(tmp_path) in str(error), error
        file.write_bytes(contents[file])

    check()


def test_a_movie_that_gets_shorter_while_open(tmp_path):
    "With memory maps this would end the program."
    for ending in (".npy", ".raw"):
        save(tmp_path/f"a{ending}")
        with open_movie(tmp_path/f"a{ending}") as movie:
            os.truncate(tmp_path/f"a{ending}", 300)
            with pytest.raises(ValueError, match="cut short"): movie[23]


def test_formats_are_found_by_content(tmp_path):
    for ending in ENDINGS: save(tmp_path/f"a{ending}")
    assert [movie_format(tmp_path/f"a{e}") for e in ENDINGS] == ["tiff", "tiff", "npy", "raw", "zarr", "folder"]
    (tmp_path/"b.npy").write_bytes((tmp_path/"a.tif").read_bytes())
    with open_movie(tmp_path/"b.npy") as movie: np.testing.assert_array_equal(movie[:], MOVIE)
    for name in ("nothing", "a.yaml"): assert movie_format(tmp_path/name) is None


@pytest.mark.skipif(not DATA.is_dir(), reason="DL4SMLM_DATA names no folder with movies")
def test_a_movie_of_picasso():
    path = DATA/"picasso"/"testdata.raw"
    with open_movie(path) as movie:
        assert movie.shape == (100, 32, 32) and movie.pixel_nm == 160
        np.testing.assert_array_equal(movie[:].ravel(), np.fromfile(path, "<u2"))
