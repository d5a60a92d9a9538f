"Tables of other programs: there and back in every format, and files that are broken or made to do harm."
import io
import json
import os
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4smlm.core import make_emitters
from dl4smlm.formats import read_zerocost
from dl4smlm.io import save_image, save_movie
from dl4smlm.strangers import LENGTHS_NM
from dl4smlm.tables import FORMATS, read_localizations, save_localizations, table_format
from dl4smlm.thunderstorm import read_thunderstorm

DATA = Path(os.environ.get("DL4SMLM_DATA", "no folder given"))
PIXEL_NM = 130.
POSITIVE = ["sigma_nm", "background_photons", "uncertainty_nm", "uncertainty_z_nm", "confidence"]
AXES = ["uncertainty_x_nm", "uncertainty_y_nm"]
BOUNDS = [f"bound_{axis}_nm" for axis in "xyz"] + ["bound_of_photons", "bound_of_background"]
ERRORS = ["uncertainty_of_photons", "uncertainty_of_background"]
HELD = {  # the columns that each format can hold, beside frame, x_nm and y_nm
    "thunderstorm": ["photons", "z_nm", *POSITIVE, "sigma1_nm", "sigma2_nm", "background_std_photons", "chi2", *AXES],
    "picasso": ["photons", "z_nm", *POSITIVE, "net_gradient", "group"],
    "decode": ["photons", "z_nm", "background_photons", "uncertainty_nm", "uncertainty_z_nm", "confidence", "emitter",
               *ERRORS, *BOUNDS],
    "smlm": ["photons", "z_nm", *POSITIVE, "sigma1_nm", "sigma2_nm", "background_std_photons", "chi2", *AXES],
    "challenge": ["photons", "z_nm"],
    "liteloc": ["photons", "z_nm", "confidence", "uncertainty_nm", "uncertainty_z_nm", "uncertainty_of_photons"],
    "zerocost": ["photons", "sigma_nm", "confidence"],
    "plain": ["photons", "z_nm", *POSITIVE, *AXES, "my own, name"],
}
FILES = [(format, ending) for format, known in FORMATS.items() for ending in known.endings]


@st.composite
def tables(draw, columns):
    "A table of emitters inside a field of 512 pixels, with some of the columns, its rows sorted by frame."
    rows = draw(st.integers(0, 6))
    number = st.floats(0.125, 5000, width=32)
    column = lambda values: draw(st.lists(values, min_size=rows, max_size=rows))  # noqa: E731
    place = st.floats(PIXEL_NM/2, 511*PIXEL_NM)
    values = {"frame": sorted(column(st.integers(0, 10**6))), "x_nm": column(place), "y_nm": column(place)}
    if "photons" in columns: values["photons"] = column(number)
    for name in draw(st.lists(st.sampled_from(columns), unique=True)): values[name] = column(number)
    if "emitter" in values: values["emitter"] = column(st.integers(0, 10**6))
    table = make_emitters(**values)
    return table if "photons" in values else table.drop(columns="photons")


@pytest.mark.filterwarnings("ignore:the table has no")
@pytest.mark.parametrize("format, ending", FILES)
def test_there_and_back(format, ending, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables")/f"a{ending}"

    @settings(max_examples=40, deadline=None)
    @given(tables(HELD[format]))
    def check(table):
        save_localizations(table, path, overwrite=True, format=format, pixel_nm=PIXEL_NM, shape=(10**6 + 1, 512, 512))
        assert table_format(path) in (format, "thunderstorm")
        back = read_localizations(path, format=format)
        assert len(back) == len(table) and (set(table) <= set(back) or not len(table))
        for name in set(table) & set(back):
            close = 0.01*PIXEL_NM if name.endswith("_nm") else 1e-3
            np.testing.assert_allclose(back[name], table[name], rtol=1e-5, atol=close, err_msg=name)
        assert back["frame"].tolist() == table["frame"].tolist() and back["frame"].dtype == np.int64

    check()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format, ending", FILES)
@pytest.mark.parametrize("columns", [{}, {"photons": []}, {"z_nm": [], "uncertainty_nm": [], "confidence": []}])
def test_an_empty_table_comes_back_empty(format, ending, columns, tmp_path):
    "Nobody has to say what format it is in, and it can be written again."
    empty = make_emitters([], [], [], **columns)
    for table in (empty, empty[["frame", "x_nm", "y_nm"]]):
        save_localizations(table, tmp_path/f"a{ending}", overwrite=True, format=format, pixel_nm=PIXEL_NM)
        back = read_localizations(tmp_path/f"a{ending}")
        assert len(back) == 0 and set(table) - {"photons", "z_nm", "uncertainty_nm", "confidence"} <= set(back)
        assert back["frame"].dtype == np.int64
        save_localizations(back, tmp_path/"b.csv", overwrite=True)


@pytest.mark.parametrize("format, ending", [("picasso", ".hdf5"), ("decode", ".h5"), ("decode", ".csv")])
def test_errors_of_writing_name_no_temporary_file(format, ending, tmp_path):
    with pytest.raises(ValueError, match="counts in pixels, give the size") as refused:
        save_localizations(make_emitters([0], [200], [200]), tmp_path/f"a{ending}", format=format)
    assert f"-a{ending}" not in str(refused.value)


@pytest.mark.parametrize("name", ["a.xlsx", "a.smlm", "a.csv"])
def test_a_table_of_excel_has_to_be_saved_as_csv(name, tmp_path):
    with zipfile.ZipFile(tmp_path/name, "w") as archive: archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(ValueError, match=f"{name} is a ZIP archive .* as CSV"): read_localizations(tmp_path/name)


@pytest.mark.parametrize("format, ending", FILES)
def test_middle_of_the_first_pixel(format, ending, tmp_path):
    "What each program calls the middle of the first pixel, and a place with x and y far apart, in its own file."
    table = make_emitters([0, 7], [50, 1250], [50, 450], uncertainty_nm=10)
    path = tmp_path/f"a{ending}"
    with pytest.warns() if format in ("challenge", "zerocost", "decode") else io.StringIO():
        save_localizations(table, path, format=format, pixel_nm=100)
    if ending in (".h5", ".hdf5"):
        with h5py.File(path) as file:
            if format == "picasso": at = file["locs"][:][["frame", "x", "y"]].tolist()
            else: at = [(frame, *xyz[:2]) for frame, xyz in zip(file["data/frame_ix"], file["data/xyz"])]
    elif format == "smlm":
        with zipfile.ZipFile(path) as file: at = np.frombuffer(file.read("table.bin"), "<f4").reshape(2, -1)[:, :3]
    else:
        rows = [line.split(",") for line in path.read_text().splitlines()[-2:]]
        pick = {"thunderstorm": (1, 2, 3), "zerocost": (1, 2, 3), "decode": (4, 0, 1)}.get(format, (0, 1, 2))
        at = [tuple(float(row[i]) for i in pick) for row in rows]
    expected = {"picasso": [(0, 0, 0), (7, 12, 4)], "decode": [(0, 0, 0), (7, 4, 12)],
                "plain": [(0, 50, 50), (7, 1250, 450)]}.get(format, [(1, 50, 50), (8, 1250, 450)])
    np.testing.assert_allclose(np.array([list(row) for row in at], dtype=float), expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["float32", "uint8"])
@pytest.mark.parametrize("format, ending", FILES)
def test_frames_are_whole_numbers_in_the_file(format, ending, kind, tmp_path):
    "Whatever type they have in the table, and none becomes 0 because it has no room for one more."
    table = make_emitters([0, 255], [200, 300], [200, 300], uncertainty_nm=10.)
    for frame, name in ((table["frame"], "as_int"), (table["frame"].astype(kind), "other")):
        save_localizations(table.assign(frame=frame), tmp_path/f"{name}{ending}", format=format, pixel_nm=100)
    if ending == ".csv": assert (tmp_path/"other.csv").read_text() == (tmp_path/"as_int.csv").read_text()
    assert read_localizations(tmp_path/f"other{ending}")["frame"].tolist() == [0, 255]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_is_not_there_is_refused_by_every_reader(format, tmp_path):
    (tmp_path/"empty").touch()
    def door(path): return read_localizations(path, 100, format)
    def reader(path): return FORMATS[format].read(path, 100., 0, False)
    for read in (door, reader):
        with pytest.raises(ValueError, match="there is no file .*none.csv"): read(tmp_path/"none.csv")
        with pytest.raises(ValueError, match="is a folder: give the name of a"): read(tmp_path)
        if format == "challenge": assert len(read(tmp_path/"empty")) == 0  # so it writes a table without rows
        else:
            with pytest.raises(ValueError, match="empty is empty: it has 0 bytes"): read(tmp_path/"empty")


def test_the_same_place_means_the_same_in_every_reader(tmp_path):
    (tmp_path/"a.csv").write_text("frame,x [nm],y [nm]\n1,2,3\n2,NaN,3\n")
    for read in (read_thunderstorm, read_zerocost):
        with pytest.warns(UserWarning, match="1 of 2 rows are left out"): table = read(tmp_path/"a.csv", None, 1, True)
        assert table["frame"].tolist() == [0]


def test_what_may_be_overwritten_has_to_be_named(tmp_path):
    table, movie = make_emitters([0], [100], [100]), np.zeros((1, 8, 8), np.uint16)
    with pytest.raises(TypeError, match="positional"): save_localizations(table, tmp_path/"a.csv", 100)
    for save, what in ((save_movie, movie), (save_image, movie[0])):
        with pytest.raises(TypeError, match="positional"): save(what, tmp_path/"a.tif", 100, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format, ending", [("picasso", ".hdf5"), ("decode", ".h5"), ("decode", ".csv")])
def test_a_pixel_that_differs_from_that_of_the_file_is_used_and_told(format, ending, tmp_path):
    path, table = tmp_path/f"a{ending}", make_emitters([0], [650], [65], uncertainty_nm=13, confidence=1)
    save_localizations(table, path, format=format, pixel_nm=130)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (None, 130, 130.5): read_localizations(path, given)
    with pytest.warns(UserWarning, match="a.* says that its pixels have 130 nm: 100 nm is used, as given") as told:
        back = read_localizations(path, pixel_nm=100)
    assert [one.filename for one in told] == [__file__]
    assert back.iloc[0][["x_nm", "y_nm", "uncertainty_nm"]].tolist() == pytest.approx([500, 50, 10])


@pytest.mark.parametrize("format, ending", [("challenge", ".csv"), ("decode", ".h5"), ("decode", ".csv")])
def test_numbers_that_nobody_measured_are_told(format, ending, tmp_path):
    table = make_emitters([0, 1], [50, 60], [50, 60])
    def told(table):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            save_localizations(table, tmp_path/f"a{ending}", overwrite=True, format=format, pixel_nm=100)
        return " ".join(str(one.message) for one in said)
    no_photons = "the table has no photons: 0 is written (see `measure_photons`)"
    assert (no_photons in told(table.drop(columns="photons"))) and no_photons not in told(table)
    assert ("no confidence: 1 is written" in told(table)) == (format == "decode")
    assert told(table[:0].drop(columns="photons")) == ""


def test_thunderstorm_has_no_exponents_and_no_nan(tmp_path):
    table = make_emitters([0, 1], [1e-7, 4e5], [3e-5, 2], [1e9, 1e-9], chi2=[1e-12, 5e14])
    save_localizations(table, tmp_path/"a.csv")
    for line in (tmp_path/"a.csv").read_text().splitlines()[1:]:
        assert set(line) <= set("0123456789.,-")
    with pytest.raises(ValueError, match="chi2"): save_localizations(table.assign(chi2=np.nan), tmp_path/"b.csv")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format, ending", FILES)
def test_cut_or_changed_files_are_refused_or_read(format, ending, tmp_path_factory):
    "A file of each format, cut anywhere or with bytes changed, never ends in another error than one of one line."
    folder = tmp_path_factory.mktemp("broken")
    whole = folder/f"whole{ending}"
    save_localizations(make_emitters(range(5), range(100, 600, 100), [500]*5, uncertainty_nm=10), whole, format=format,
                       pixel_nm=100)
    data, path = whole.read_bytes(), folder/f"part{ending}"

    @settings(max_examples=60, deadline=None)
    @given(st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4))
    def check(share, changes):
        part = bytearray(data[:int(share*len(data))] if not changes else data)
        for place, value in changes: part[int(place*len(part))] = value
        path.write_bytes(part)
        try: table = read_localizations(path, pixel_nm=100)
        except ValueError as error: assert str(path) in str(error) and "\n" not in str(error), error
        else: assert np.isfinite(table.to_numpy(dtype=float)).all() and (table["frame"] >= 0).all()

    check()


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(data=st.one_of(st.binary(min_size=1, max_size=300), st.text(min_size=1, max_size=100).map(str.encode)))
def test_garbage_under_every_name(format, data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp()/"garbage"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="garbage") as refused: read_localizations(path, 100, format)
    assert "\n" not in str(refused.value)


def test_a_name_that_is_no_text_is_refused_in_one_line(tmp_path):
    with h5py.File(tmp_path/"odd.hdf5", "w") as file: file.create_group(b"\xff"), file.create_group("notes")
    with pytest.raises(ValueError, match="neither locs") as told: read_localizations(tmp_path/"odd.hdf5")
    assert "notes" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_wrong_format_is_refused_in_one_line(tmp_path):
    "Every file, read as every other format: an error of one line, or a table where the columns happen to fit."
    for format, ending in FILES:
        path = tmp_path/f"{format}{ending}"
        save_localizations(make_emitters([0], [100], [200], z_nm=0), path, overwrite=True, format=format, pixel_nm=100)
        for other in set(FORMATS) - {format}:
            try: read_localizations(path, 100, other)
            except ValueError as error: assert "\n" not in str(error) and str(path) in str(error)
    (tmp_path/"b.hdf5").write_bytes((tmp_path/"smlm.smlm").read_bytes())
    assert table_format(tmp_path/"b.hdf5") == "smlm"


def smlm(path, data=bytes(12), name="t.bin", rows=1, **layout):
    "Write an archive with a table of three columns, told otherwise by its list of contents."
    layout = {"mode": "binary", "headers": ["frame", "x", "y"], "dtype": ["float32"]*3, "shape": [1]*3} | layout
    manifest = {"format_version": "0.2", "formats": {"f": layout},
                "files": [{"name": name, "type": "table", "format": "f", "rows": rows}]}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr(name, data)


@pytest.mark.parametrize("write, reason", [
    (lambda p: smlm(p, name="../../evil.bin"), "no file '../../evil.bin'"),
    (lambda p: smlm(p, name="/etc/evil.bin"), "no file '/etc/evil.bin'"),
    (lambda p: smlm(p, bytes(12*2**23), rows=2**23), "fill the memory"),
    (lambda p: smlm(p, rows=10**15), "list of contents says"),
    (lambda p: smlm(p, rows=-1), "list of contents says"),
    (lambda p: smlm(p, shape=[1, 1, [10**9, 10**9]]), "cannot be read|list of contents"),
    (lambda p: smlm(p, dtype=["O"]*3), "cannot be read"),
    (lambda p: smlm(p, headers=["x", "x", "x"]), "cannot be read"),
    (lambda p: smlm(p, headers=["frame", "u", "v"]), "no column x"),
])
def test_hostile_archives(write, reason, tmp_path):
    write(tmp_path/"a.smlm")
    with pytest.raises(ValueError, match=reason): read_localizations(tmp_path/"a.smlm")
    assert [path.name for path in tmp_path.iterdir()] == ["a.smlm"]


@pytest.mark.parametrize("unit", LENGTHS_NM)
def test_every_reader_of_tables_knows_the_same_lengths(unit, tmp_path):
    nm, one = LENGTHS_NM[unit], np.array([1, 2, 4], "f4").tobytes()
    smlm(tmp_path/"a.smlm", one, units=["frame", unit, unit])
    (tmp_path/"a.csv").write_text(f"frame,x [{unit}],y [{unit}]\n1,2,4\n", encoding="utf-8")
    for name in ("a.smlm", "a.csv"):
        table = read_localizations(tmp_path/name)
        assert table.iloc[0].tolist() == pytest.approx([0, 2*nm, 4*nm])


RECORD = np.dtype([("frame", "u4"), ("x", "f4"), ("y", "f4")])


def locs(path, **more):
    with h5py.File(path, "w") as file:
        file.create_dataset("locs", dtype=RECORD, **more)


def pandas_style(path):
    with h5py.File(path, "w") as file: file["locs/table"] = np.zeros(3)


def linked(path):
    with h5py.File(path, "w") as file: file["locs"] = h5py.ExternalLink("/etc/passwd", "/locs")


def circle(path):
    with h5py.File(path, "w") as file: file["locs"] = h5py.SoftLink("/locs")


@pytest.mark.parametrize("write, reason", [
    (lambda p: locs(p, shape=(10**12,), chunks=(10**5,)), "fill the memory"),
    (lambda p: locs(p, shape=(2**24,), chunks=(2**20,), data=np.zeros(2**24, RECORD), compression="gzip"),
     "fill the memory"),
    (lambda p: locs(p, shape=(9,)), "never written"),
    (pandas_style, "written by pandas"), (linked, "of its own"), (circle, "of its own"),
    (lambda p: h5py.File(p, "w").close(), "neither locs"),
])
def test_hostile_hdf5(write, reason, tmp_path):
    write(tmp_path/"a.hdf5")
    with pytest.raises(ValueError, match=reason): read_localizations(tmp_path/"a.hdf5", pixel_nm=100)


@pytest.mark.parametrize("text, reason", [
    ("a: &a {k: 1}\n" + "".join(f"{b}: &{b} {{<<: [{', '.join(['*' + a]*9)}]}}\n" for a, b in
                                zip("abcdefghi", "bcdefghij")), "merge"),
    ("[" * 100_000, "recursion|longer"), ("!!python/object/apply:os.system [ls]", "constructor"),
    ("Pixelsize: [1, 2]\n", "pixel size"), ("Pixelsize: -5\n", "from 1 to 2000, got -5"), ("\0", "cannot be read"),
    ("x"*2**21, "longer than 1 MB"), ("", "how large a pixel"), ("Pixelsize: .nan\n", "from 1 to 2000, got nan"),
])
def test_hostile_yaml(text, reason, tmp_path):
    save_localizations(make_emitters([0], [200], [200], uncertainty_nm=9), tmp_path/"a.hdf5", pixel_nm=100)
    (tmp_path/"a.yaml").write_text(text)
    with pytest.raises(ValueError, match=reason): read_localizations(tmp_path/"a.hdf5")


def test_aliases_without_merges_are_only_references(tmp_path):
    "Picasso repeats lists in this way, and they take no room until somebody walks through them."
    save_localizations(make_emitters([0], [200], [200], uncertainty_nm=9), tmp_path/"a.hdf5", pixel_nm=100)
    layers = [f"{b}: &{b} [{', '.join(['*' + a]*9)}]\n" for a, b in zip("abcdefghi", "bcdefghij")]
    (tmp_path/"a.yaml").write_text("Pixelsize: 200\na: &a [1]\n" + "".join(layers))
    assert read_localizations(tmp_path/"a.hdf5")["x_nm"].tolist() == [400]


def test_wide_and_long_lines(tmp_path):
    (tmp_path/"wide.csv").write_text("frame,x [nm],y [nm]" + ",a"*2**16 + "\n1,2,3\n")
    with pytest.raises(ValueError, match="wide.csv"): read_localizations(tmp_path/"wide.csv")
    (tmp_path/"long.csv").write_bytes(b"9"*10**7)
    with pytest.raises(ValueError, match="long.csv"): read_localizations(tmp_path/"long.csv")


def test_both_tables_in_one_hdf5_are_ambiguous(tmp_path):
    with h5py.File(tmp_path/"a.h5", "w") as file: file["locs"], file["data/xyz"] = [0.], [0.]
    with pytest.raises(ValueError, match="say which is meant"): read_localizations(tmp_path/"a.h5")


def test_nothing_is_left_when_writing_fails(tmp_path):
    with pytest.raises(ValueError): save_localizations(make_emitters([0], [200], [200], a=np.nan), tmp_path/"a.hdf5",
                                                       pixel_nm=100)
    assert not list(tmp_path.iterdir())
    (tmp_path/"a.yaml").write_text("mine")
    with pytest.raises(ValueError, match="a.yaml exists"):
        save_localizations(make_emitters([0], [200], [200]), tmp_path/"a.hdf5", pixel_nm=100)
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.skipif(not DATA.is_dir(), reason="DL4SMLM_DATA names no folder with tables")
def test_a_table_of_picasso():
    path = DATA/"picasso"/"testdata_locs.hdf5"
    table = read_localizations(path)
    with h5py.File(path) as file: locs = file["locs"][:]
    assert len(table) == len(locs) and table["frame"].tolist() == locs["frame"].tolist()
    np.testing.assert_allclose(table["x_nm"]/130 - 0.5, locs["x"], atol=1e-5)  # its YAML says 130 nm in the last part
    with pytest.warns(UserWarning, match="130 nm: 160 nm is used, as given"): wide = read_localizations(path, 160)
    np.testing.assert_allclose(wide["y_nm"]/160 - 0.5, locs["y"], atol=1e-5)
    assert {"net_gradient", "likelihood", "uncertainty_x_nm", "sigma_nm", "background_photons"} <= set(table)
