"Localization tables in ThunderSTORM's CSV format: there and back, and what is refused."
import os
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4smlm.core import make_emitters
from dl4smlm.merge import merge_localizations
from dl4smlm.tables import read_localizations, save_localizations

DATA = os.environ.get("DL4SMLM_DATA", "")
COLUMNS = {  # ours, and what ThunderSTORM calls it
    "sigma_nm": "sigma [nm]", "background_photons": "offset [photon]", "background_std_photons": "bkgstd [photon]",
    "uncertainty_nm": "uncertainty_xy [nm]", "z_nm": "z [nm]", "sigma1_nm": "sigma1 [nm]", "sigma2_nm": "sigma2 [nm]",
    "uncertainty_z_nm": "uncertainty_z [nm]", "chi2": "chi2", "confidence": "confidence",
    "gt_dist_xy_nm": "gt_dist_xy [nm]"}
number = st.floats(-1e9, 1e9, allow_subnormal=True)


@st.composite
def tables(draw):
    "Any table of emitters, with any of the columns, in any order of rows."
    rows = draw(st.integers(0, 8))
    column = lambda values: draw(st.lists(values, min_size=rows, max_size=rows))  # noqa: E731
    more = draw(st.lists(st.sampled_from(list(COLUMNS)), unique=True))
    return make_emitters(column(st.integers(0, 10**6)), *(column(number) for _ in range(3)),
                         **{name: column(number) for name in more})


@settings(max_examples=150, deadline=None)
@given(tables())
def test_there_and_back(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp()/"there.csv"
    save_localizations(table, path, overwrite=True)
    back = read_localizations(path)
    assert set(back.columns) == set(table.columns)
    pd.testing.assert_frame_equal(back[table.columns], table, rtol=0, atol=1e-5 + 1e-15*1e9)
    text = path.read_text()
    assert not re.search(r"nan|inf|\d[eE][+-]?\d|\"", text)
    rows = [line.split(",") for line in text.splitlines()]
    assert {len(row) for row in rows} == {len(table.columns) + 1}
    assert rows[0][:4] == ["id", "frame", "x [nm]", "y [nm]"]
    assert [row[0] for row in rows[1:]] == [str(i + 1) for i in range(len(table))]
    assert {COLUMNS.get(name) for name in table.columns} - {None} <= set(rows[0])


@settings(max_examples=200, deadline=None)
@given(st.one_of(
    st.binary(max_size=200),
    st.one_of(st.text(max_size=100), st.text('0123456789.,;-+eE"\' \n\r\tnaif#', max_size=100))
    .map(lambda text: ("frame,x [nm],y [nm]\n" + text).encode("utf-8", "replace")),
    st.lists(st.sampled_from(["frame", "x [nm]", "y [nm]", "x [px]", "[", "]", "id", "", "\"", ",", "\n", "1", "é"]))
    .map(lambda parts: ",".join(parts).encode("latin-1"))))
def test_garbage_is_refused_or_read(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp()/"garbage.csv"
    path.write_bytes(data)
    try: table = read_localizations(path)
    except ValueError as error: assert str(path) in str(error)
    else: assert np.isfinite(table.to_numpy(dtype=float)).all() and (table["frame"] >= 0).all()


@pytest.mark.filterwarnings("ignore:.*left out for lack of a finite number")
@pytest.mark.parametrize("header, row, expected", [
    ('"id","frame","x [nm]","y [nm]","uncertainty [nm]"', "1,1,50,60,7", {"x_nm": 50, "y_nm": 60, "uncertainty_nm": 7}),
    ("frame,x [um],y [µm]", "1.0,0.05,0.06", {"x_nm": 50, "y_nm": 60}),
    ("frame,x [\u03bcm],y [mm]", "1,0.05,0.00006", {"x_nm": 50, "y_nm": 60}),
    ("y [nm],x [nm],frame", "60,50,1", {"x_nm": 50, "y_nm": 60}),
    ("frame, x [nm] , y [nm]", "1, 50, 60", {"x_nm": 50, "y_nm": 60}),
    (",frame,x [nm],y [nm]", "0,1,50,60", {"x_nm": 50, "y_nm": 60}),
    ("\ufeffframe,x [nm],y [nm]", "1,50,60", {"x_nm": 50, "y_nm": 60}),
    ("frame,x [nm],y [nm],intensity [ADU]", "1,50,60,300", {"x_nm": 50, "y_nm": 60, "intensity [ADU]": 300}),
    ("frame,x [nm],y [nm],comment,chi2", "1,50,60,good,NaN", {"x_nm": 50, "y_nm": 60}),
    ("frame,x [px],y [px],sigma [px]", "1,0.5,0.6,1", {"x_nm": 50, "y_nm": 60, "sigma_nm": 100}),
    ("Frame,X [nm],Y [nm]", "1,50,60", {"x_nm": 50, "y_nm": 60}),
    ("ID,FRAME,X [um],Y [px],Sigma [nm]", "1,1,0.05,0.6,100", {"x_nm": 50, "y_nm": 60, "sigma_nm": 100}),
    ("frame,x [nm],y [nm],X [nm],Sigma", "1,50,60,7,3", {"x_nm": 50, "y_nm": 60, "X_nm": 7, "Sigma": 3}),
])
def test_flavours(header, row, expected, tmp_path):
    for end in ("\n", "\r\n"):
        (tmp_path/"a.csv").write_bytes(f"{header}{end}{row}{end}".encode())
        table = read_localizations(tmp_path/"a.csv", pixel_nm=100)
        assert table["frame"].tolist() == [0]
        assert table.drop(columns="frame").iloc[0].to_dict() == pytest.approx(expected)


@pytest.mark.parametrize("text, reason", [
    ("", "is empty"),
    ("\n\n", "is empty"),
    ("\0\1\2", "not a CSV file: .* save it as CSV .in Excel"),
    ("frame;x [nm];y [nm]\n1;2,5;3,5\n", "semicolons"),
    ("frame\tx [nm]\ty [nm]\n1\t2\t3\n", "tabs"),
    ("x [nm],y [nm]\n1,2\n", "no column frame; its first line is: x .nm., y .nm."),
    ("1,50,60\n2,50,60\n", "no column frame"),
    ("frame,x,y\n1,2,3\n", "x needs one of the units"),
    ("frame,x [px],y [px]\n1,2,3\n", "pixel_nm"),
    ("frame,x [parsec],y [nm]\n1,2,3\n", "needs one of the units"),
    ("frame,x_nm\n0,2\n", "no column y_nm"),
    ("frame,x [nm],y [nm]\n0,2,3\n", "frame number 0.*first_frame"),
    ("frame,x [nm],y [nm]\n-4,2,3\n", "frame number -4"),
    ("frame,x [nm],y [nm]\n1e300,2,3\n", "frame number 1e"),
    ("frame,x [nm],y [nm]\n1,2,3\n1,,3\n", "1 of 2 rows have no finite number in column x .nm., the first is row 2"),
    ("frame,x [nm],y [nm]\n1,2\n", "column y"),
    ("frame,x [nm],y [nm]\n1,2,3,4\n", "too many items in row 1"),
    ("frame,x [nm],y [nm]\n1,2,3\n1,2,3,4,5,6\n", "cannot be read as CSV"),
    ("frame,x [nm],y [nm],uncertainty [nm]\n1,2,3,nan\n", "column uncertainty"),
    ("frame,x [nm],y [nm],y [nm]\n1,2,3,4\n", "more than one column for y_nm"),
])
def test_refused_with_a_reason(text, reason, tmp_path):
    (tmp_path/"a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=reason): read_localizations(tmp_path/"a.csv")


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf\n1,2,3\n", b"\x85\n1,2", b"\xa0\n"])
def test_a_first_line_that_is_blank_once_decoded(data, tmp_path):
    (tmp_path/"a.csv").write_bytes(data)
    with pytest.raises(ValueError, match="a.csv is empty, or its first line is"): read_localizations(tmp_path/"a.csv")


def test_missing_file_folder_and_existing_output(tmp_path):
    with pytest.raises(ValueError, match="no file"): read_localizations(tmp_path/"none.csv")
    with pytest.raises(ValueError, match="is a folder"): read_localizations(tmp_path)
    table = make_emitters([0], [1], [2])
    save_localizations(table, str(tmp_path/"a.csv"))
    with pytest.raises(ValueError, match="exists already"): save_localizations(table, tmp_path/"a.csv")
    for bad in (table.assign(x_nm=np.inf), table.drop(columns="x_nm"), table.assign(name="a"), table.assign(frame=-1),
                table.rename(columns={"photons": "a,b"}), table.assign(id=1), table.assign(x=1)):
        with pytest.raises(ValueError): save_localizations(bad, tmp_path/"b.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_rows_may_have_any_index(tmp_path):
    table = make_emitters([3, 1, 2], [1, 2, 3], [4, 5, 6]).sort_values("frame")
    save_localizations(table, tmp_path/"a.csv")
    pd.testing.assert_frame_equal(read_localizations(tmp_path/"a.csv"), table.reset_index(drop=True))


@pytest.mark.skipif(not Path(DATA).is_dir() or not DATA, reason="DL4SMLM_DATA names no folder with tables")
def test_tables_of_others():
    paths = sorted(Path(DATA).rglob("*.csv"))
    assert paths
    for path in paths:
        table, lines = read_localizations(path), path.read_text().splitlines()
        assert len(table) == len(lines) - 1 and table["frame"].min() == 0
        if path.name == "positions_demo1.csv":
            assert table[["x_nm", "y_nm"]].min().min() >= 0 and table[["x_nm", "y_nm"]].max().max() < 6400
            assert table["frame"].max() == 19


ROWS = "frame,x [nm],y [nm],uncertainty [nm]\n1,50,60,9\n2,70,80,%s\n3,90,95,8\n"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-inf", "", "n/a"])
def test_rows_that_are_broken_can_be_left_out(word, tmp_path):
    (tmp_path/"a.csv").write_text(ROWS % word)
    with pytest.raises(ValueError, match="the first is row 2: repair or remove these rows, or .* drop_broken=True"):
        read_localizations(tmp_path/"a.csv")
    with pytest.warns(UserWarning, match="1 of 3 rows are left out, without a .* in uncertainty .nm.: row 2") as told:
        table = read_localizations(tmp_path/"a.csv", drop_broken=True)
    assert table["frame"].tolist() == [0, 2] and table["uncertainty_nm"].tolist() == [9, 8]
    assert told[0].filename == __file__  # the line that is to blame is that of the user


def test_a_whole_table_is_read_without_a_word(tmp_path, recwarn):
    (tmp_path/"a.csv").write_text(ROWS % 7)
    pd.testing.assert_frame_equal(*(read_localizations(tmp_path/"a.csv", drop_broken=drop) for drop in (True, False)))
    assert not len(recwarn)


def test_arguments_in_the_wrong_order_are_told(tmp_path):
    table = make_emitters([0], [50], [60])
    for wrong in ((tmp_path/"a.csv", table), (str(tmp_path/"a.csv"), table), (table, table)):
        with pytest.raises(ValueError, match=r"got DataFrame: the order is save_localizations\(table, path\)"):
            save_localizations(*wrong)
    with pytest.raises(ValueError, match="the name of a file is needed, got DataFrame"): read_localizations(table)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["hdf5", "h5", "csv", "smlm"])
def test_merged_molecules_keep_their_gain_in_a_file(ending, tmp_path):
    "From another program, merged, and to another program: every axis is known better by the same factor."
    seen = make_emitters(range(4), [100, 101, 99, 100], 100., 1000., uncertainty_x_nm=8., uncertainty_y_nm=12.)
    save_localizations(seen, tmp_path/"seen.h5", pixel_nm=100)
    merged = merge_localizations(read_localizations(tmp_path/"seen.h5"))
    save_localizations(merged, tmp_path/f"merged.{ending}", pixel_nm=100)
    again = read_localizations(tmp_path/f"merged.{ending}").iloc[0]
    errors = again[["uncertainty_x_nm", "uncertainty_y_nm", "uncertainty_nm"]].astype(float)
    np.testing.assert_allclose(errors, [4, 6, 5], rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_places_of_merged_molecules_are_as_good_as_stated(seed):
    "Errors that differ between the axes and from frame to frame: what is stated after merging is true for each axis."
    rng, number = np.random.default_rng(seed), 4000
    errors = {name: rng.uniform(3, 30, 4*number) for name in "xyz"}
    true = {name: np.repeat(1000.*np.arange(number) if name == "x" else np.full(number, 500.), 4) for name in "xyz"}
    places = {f"{name}_nm": true[name] + errors[name]*rng.standard_normal(4*number) for name in "xyz"}
    found = make_emitters(np.tile(range(4), number), **places, true_nm=true["x"],
                          **{f"uncertainty_{name}_nm": errors[name] for name in "xyz"})
    merged = merge_localizations(found, 300.)
    merged = merged[merged["detections"] == 4]
    assert len(merged) > 0.95*number
    for name in "xyz":
        off = merged[f"{name}_nm"] - (merged["true_nm"] if name == "x" else 500)
        assert (off/merged[f"uncertainty_{name}_nm"]).std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("header", ["id,frame,x [nm],y [nm],chi2,label", "frame_ix,frame,x_nm,y_nm,chi2,label"])
def test_columns_with_a_gap_are_named_when_they_are_lost(header, tmp_path):
    "One warning for all of them, at the line of the user, with the number of the row in the file."
    (tmp_path/"a.csv").write_text(header + "\n7,1,50,60,1,a\n7,2,x,60,2,b\n7,3,50,60,,c\n7,4,50,60,4,d\n")
    with pytest.warns(UserWarning) as told: table = read_localizations(tmp_path/"a.csv", drop_broken=True)
    assert len(told) == 2 and told[1].filename == __file__
    assert "left out for lack of a finite number in every row: column chi2 (row 3), label (row 1 and 2 more)" in str(
        told[1].message)
    assert len(table) == 3 and not {"chi2", "label"} & set(table)


def test_many_columns_with_a_gap_are_told_briefly(tmp_path):
    names = "".join(f",c{i}" for i in range(500))
    (tmp_path/"a.csv").write_text(f"frame,x_nm,y_nm{names}\n0,1,2{',a'*500}\n")
    with pytest.warns(UserWarning, match=r"c0 \(row 1\), .*c9 \(row 1\), 490 more$"):
        read_localizations(tmp_path/"a.csv")


@pytest.mark.parametrize("name", ["photons_sd", "uncertainty_of_photons"])
@pytest.mark.parametrize("format, ending", [("decode", "h5"), ("decode", "csv"), ("liteloc", "csv")])
def test_the_error_of_the_light_reaches_other_programs(name, format, ending, tmp_path):
    "Four frames with 1000 +- 50 photons each are 4000 +- 100, whoever said so, and whoever reads it."
    more = {"uncertainty_nm": 8., "background_photons": [9, 11, 9, 11], name: 50}
    seen = make_emitters(range(4), 100., 100., 1000., **more)
    merged = merge_localizations(seen)
    assert merged[["photons", name, "background_photons"]].to_numpy().tolist() == [[4000, 100, 10]]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        save_localizations(merged, tmp_path/f"a.{ending}", format=format, pixel_nm=100)
    assert not any("photons_sd" in str(one.message) for one in told)
    again = read_localizations(tmp_path/f"a.{ending}").iloc[0]
    assert again[["photons", "uncertainty_of_photons"]].tolist() == pytest.approx([4000, 100])


def test_a_gap_longer_than_the_movie_is_the_whole_movie():
    found = make_emitters([0, 5, 59, 60], 100., [100, 100, 100, 900])
    begin = time.perf_counter()
    pd.testing.assert_frame_equal(*(merge_localizations(found, gap_frames=gap) for gap in (58, 10**9)))
    assert time.perf_counter() - begin < 5
    assert merge_localizations(found, gap_frames=58)["detections"].tolist() == [3, 1]
    for rows in (found[:0], found[:1], found.assign(frame=3)):
        assert len(merge_localizations(rows, gap_frames=9)) == len(rows)


@pytest.mark.parametrize("call, why", [
    (lambda path: read_localizations(path), "pixel_nm=... (--pixel-nm)"),
    (lambda path: read_localizations(path, 100), "first_frame (dl4smlm convert --first-frame)"),
    (lambda path: save_localizations(make_emitters(0, 5, 5), path.with_suffix(".txt")), "format=... (--to)"),
    (lambda path: save_localizations(make_emitters(0, 5, 5), path.with_suffix(".h5")), "pixel_nm=... (--pixel-nm)")])
def test_what_to_do_is_said_as_it_is_typed_too(call, why, tmp_path):
    (tmp_path/"a.csv").write_text("frame,x [px],y [px]\n0,5,5\n")
    with pytest.raises(ValueError, match=re.escape(why)): call(tmp_path/"a.csv")
