"Bundles that must not load: damaged, cut short, mismatched, or made to do harm. Each is refused in one clear line."
import hashlib
import io
import json
import math
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_models import NARROW

import dl4smlm.shelf as shelf
from dl4smlm.bundle import from_pretrained, load_card, save_pretrained
from dl4smlm.calibrate import fit_calibration, grid_bias
from dl4smlm.card import CARD, README, WEIGHTS, describe_card, learned_spots_px, spot_warning, write_readme
from dl4smlm.core import make_emitters
from dl4smlm.data import Normalise
from dl4smlm.fuse import fuse
from dl4smlm.localize import add_uncertainty
from dl4smlm.models.contract import random_statistics
from dl4smlm.models.zoo import create_model, list_models
from dl4smlm.shelf import pack_bundle, shipped_models

from project import ROOT
from project import settings as project_settings

often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
numbers = st.integers() | st.floats() | st.booleans() | st.none()
anything = st.recursive(numbers | st.text(max_size=8), lambda inner: st.lists(inner, max_size=4)
                        | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12)


def make(name="fidstorm", **arguments):
    "A small network as a Learner leaves it, with the statistics of a trained one."
    model = random_statistics(create_model(name, 4, **(arguments or NARROW[name])))
    model.normalise, model.pixel_nm, model.threshold = Normalise(100, 160), 100., 0.3
    return model.eval()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "The folder of a bundle that loads."
    folder = tmp_path_factory.mktemp("bundles") / "whole"
    save_pretrained(make(blocks=2, width=8), folder, scores={"jaccard": 0.5},
                    history={"train": [2, 1], "valid": [3, 2]})
    from_pretrained(folder)
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    "A function that copies the bundle with another card, and with weights whose fingerprint fits."
    def changed(card=None, text=None, state=None, data=None, fitting=True):
        new = json.loads((whole / CARD).read_text()) | (card or {})
        if state is not None: data = safetensors.torch.save(state)
        data = (whole / WEIGHTS).read_bytes() if data is None else data
        if fitting and "sha256" not in (card or {}): new["sha256"] = hashlib.sha256(data).hexdigest()
        (tmp_path / WEIGHTS).write_bytes(data)
        (tmp_path / CARD).write_text(json.dumps(new) if text is None else text, encoding="utf-8")
        return tmp_path
    return changed


def refused(folder, *words):
    "The one line in which a bundle must be refused."
    with pytest.raises(ValueError) as caught: from_pretrained(folder)
    assert type(caught.value) is ValueError, "an error of a library underneath came through"
    message = str(caught.value)
    assert "\n" not in message and 10 < len(message) < 800, message
    for word in words: assert word in message, message
    return message


@pytest.mark.parametrize("name", list_models())
def test_there_and_back(name, tmp_path):
    model, x = make(name), torch.randn(2, 1, 9, 13)
    save_pretrained(model, tmp_path / name)
    again = from_pretrained(tmp_path / name)
    with torch.no_grad(): assert torch.equal(again(x), model(x))
    for setting in ("normalise", "pixel_nm", "threshold", "calibration"):
        assert getattr(again, setting) == getattr(model, setting)
    save_pretrained(again, tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / name / WEIGHTS).read_bytes()


def test_full_fidstorm_is_small(tmp_path):
    save_pretrained(make(width=64), tmp_path / "full")
    assert sum(file.stat().st_size for file in (tmp_path / "full").iterdir()) <= 2e6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_any_precision_are_stored_in_single(dtype, tmp_path):
    save_pretrained(make().to(dtype), tmp_path / "bundle")
    assert {p.dtype for p in from_pretrained(tmp_path / "bundle").parameters()} == {torch.float32}


@pytest.mark.parametrize("name", list_models())
def test_fused_networks_are_not_saved(name, tmp_path):
    with pytest.raises(ValueError, match="fuse after loading"): save_pretrained(fuse(make(name)), tmp_path / "fused")
    assert not list(tmp_path.iterdir())


# the card

@often
@given(value=anything, entry=st.sampled_from(
    ["network", "normalise", "pixel_nm", "threshold", "calibration", "scores", "notes", "versions", "sha256"]))
def test_any_entry_of_any_kind_loads_or_is_refused(value, entry, copy):
    "A value of the wrong kind is refused in one line; a right one can be described and written for people."
    folder = copy({entry: value})
    try: card = load_card(folder)
    except ValueError as error:
        assert type(error) is ValueError and "\n" not in str(error)
        return
    text = write_readme(card | {"network": {"name": "fidstorm", "upscale": 4}})
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    if entry not in ("network", "sha256"): from_pretrained(folder)


@often
@given(arguments=st.dictionaries(st.sampled_from(["name", "upscale", "blocks", "width", "widths", "bottleneck", "x"]),
                                 anything | st.integers(-10, 10**12), max_size=4))
def test_any_arguments_build_the_network_or_are_refused(arguments, copy):
    folder = copy({"network": {"name": "fidstorm", "upscale": 4, "blocks": 2, "width": 8} | arguments})
    try: from_pretrained(folder)
    except ValueError as error: assert type(error) is ValueError and "\n" not in str(error)


@often
@given(text=st.text(max_size=40) | anything.map(json.dumps))
def test_any_text_is_refused_as_a_card(text, copy):
    refused(copy(text=text))


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", "1e999", "[" * 100_000, "{" * 5_000, '{"a":' * 100_000, "9" * 10_000, "\ufeff{}",
    '{"network": NaN}', '{"network": Infinity}'])
def test_texts_that_break_parsers(text, copy): refused(copy(text=text))


def test_bytes_that_are_no_text(copy):
    folder = copy()
    (folder / CARD).write_bytes(b"\xff\xfe\x00{")
    refused(folder, "cannot be read as JSON")


def test_a_card_of_many_megabytes(copy):
    refused(copy(text='"' + "a" * 11_000_000 + '"'), "too large for a card")


@pytest.mark.parametrize("network, words", [
    ({"name": "fidstorm", "upscale": 4, "width": 10**9}, "cannot be built"),
    ({"name": "fidstorm", "upscale": 4, "width": 10**30}, "cannot be built"),
    ({"name": "fidstorm", "upscale": 4, "blocks": 10**12}, "more weights than"),
    ({"name": "ustorm", "upscale": 16, "widths": [4096] * 4}, "more weights than"),
    ({"name": "deepstorm", "upscale": 4, "bottleneck": 10**7}, "more weights than"),
    ({"name": "../../os", "upscale": 4}, "no network called"),
    ({"name": "fidstorm", "upscale": True}, "network is"),
    ({"name": "fidstorm", "upscale": 4, "model": "x"}, "does not take model"),
    ({"name": "fidstorm", "upscale": 4, "blocks": {"a": 1}}, "is not the card"),
    ({"name": "fidstorm", "upscale": 8, "blocks": 2, "width": 8}, "does not fit"),
])
def test_networks_that_the_weights_do_not_fit(network, words, copy): refused(copy({"network": network}), words)


@pytest.mark.parametrize("entry, value", [
    ("normalise", {"offset_counts": 100, "scale_counts": 0}),
    ("normalise", {"offset_counts": "100", "scale_counts": 1}),
    ("normalise", {"offset_counts": 100}), ("normalise", {"offset_counts": 1, "scale_counts": 1, "x": 1}),
    ("pixel_nm", 0), ("pixel_nm", True), ("pixel_nm", "100"), ("pixel_nm", 10**400), ("threshold", "low"),
    ("threshold", 0), ("threshold", -1), ("calibration", 3), ("calibration", {}), ("calibration", {"grid": {}}),
    ("calibration", {"probability": [[0], [1]], "spread": [[0], ["a"]], "correction": [[0], [1]]}),
    ("network", {"name": "fidstorm", "upscale": 0}), ("network", {"name": "fidstorm", "upscale": True}),
    ("scores", [1]), ("notes", None), ("versions", 3), ("sha256", None)])
def test_wrong_entries_are_named(entry, value, copy): refused(copy({entry: value}), entry)


@often
@given(ranges=anything | st.fixed_dictionaries({"sigma_nm": anything | st.lists(numbers, max_size=3)}),
       psfs=anything | st.lists(st.fixed_dictionaries({"sigma_nm": numbers})), pixel_nm=anything | numbers)
def test_any_notes_tell_of_spots_or_of_none(ranges, psfs, pixel_nm):
    "What was learned is two widths in order, or unknown; a warning is one line that a terminal can show."
    data = {"ranges": ranges, "psfs": psfs, "pixel_nm": pixel_nm}
    for notes in ({"training_data": data}, {"training_data": ranges}):
        learned = learned_spots_px({"notes": notes})
        assert learned is None or 0 < learned[0] <= learned[1] < math.inf
        warning = spot_warning({"notes": notes, "pixel_nm": 100.}, 65, 130)
        assert warning is None or warning.isprintable()


def test_terminal_commands_in_a_card_are_not_obeyed(copy):
    shown = describe_card(load_card(copy({"notes": {"\x1b[2Jname": "\x1b]0;title\x07\u202ereversed"}})))
    assert all(letter.isprintable() for lines in shown.values() for line in lines for text in line for letter in text)


def test_deep_and_wide_notes_can_be_shown(copy):
    deep = "[" * 400 + "]" * 400
    folder = copy({"notes": {"deep": json.loads(deep), "wide": {str(k): [k] for k in range(1000)}}})
    shown = describe_card(load_card(folder))
    assert all(len(text) <= 200 for lines in shown.values() for line in lines for text in line)


def test_a_real_calibration_goes_there_and_back(tmp_path):
    rng = np.random.default_rng(0)
    truth = make_emitters(np.arange(1000), rng.uniform(200, 3000, 1000), rng.uniform(200, 3000, 1000))
    found = truth.assign(x_nm=truth["x_nm"] + rng.normal(0, 20, 1000), confidence=rng.uniform(0.1, 1, 1000),
                         spread_nm=rng.uniform(10, 60, 1000))
    model = make()
    model.calibration = fit_calibration(found, truth) | {"grid": grid_bias(found, 25.).correction()}
    save_pretrained(model, tmp_path / "bundle")
    again = from_pretrained(tmp_path / "bundle")
    assert again.calibration == model.calibration
    pd.testing.assert_frame_equal(add_uncertainty(found, again.calibration), add_uncertainty(found, model.calibration))


# the weights

def state_of(whole): return safetensors.torch.load((whole / WEIGHTS).read_bytes())


@often
@given(share=st.floats(0, 0.999))
def test_weights_cut_short(share, whole, copy):
    data = (whole / WEIGHTS).read_bytes()
    part = data[:int(share * len(data))]
    refused(copy(data=part), "holds no weights that can be read")
    refused(copy(data=part, fitting=False), "fingerprint")


@often
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_one_changed_byte(where, flip, whole, copy):
    data = bytearray((whole / WEIGHTS).read_bytes())
    data[int(where * len(data))] ^= flip
    refused(copy(data=bytes(data), fitting=False), "fingerprint")


@often
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_header_with_a_fitting_fingerprint_loads_finite_weights_or_is_refused(where, flip, whole, copy):
    data = bytearray((whole / WEIGHTS).read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    data[int(where * header)] ^= flip
    try: model = from_pretrained(copy(data=bytes(data)))
    except ValueError as error: assert type(error) is ValueError and "\n" not in str(error)
    else: assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite(value, whole, copy):
    state = state_of(whole)
    state["chain.1.1.running_var"][3] = value
    refused(copy(state=state), "NaN or infinite", "chain.1.1.running_var")


def test_missing_extra_and_wrong_tensors(whole, copy):
    state = state_of(whole)
    first = state.pop("first.0.weight")
    refused(copy(state=state), "it lacks first.0.weight")
    refused(copy(state=state | {"first.0.weight": first, "more": first.clone()}), "it has also more")
    row = first[:, :, :1].clone()
    refused(copy(state=state | {"first.0.weight": row}), "of another shape: first.0.weight is (8, 1, 1, 3)")
    refused(copy(state=state | {"first.0.weight": first.double()}), "first.0.weight is (8, 1, 3, 3) float64")
    refused(copy(state={}), "it lacks first.0.weight")


# pickles

class Trap:
    def __reduce__(self): return os.mkdir, ("trapped",)


def pickles(folder):
    "Files that would run a program if a careless reader opened them."
    torch.save({"first.0.weight": Trap()}, folder / "zipped")
    torch.save({"first.0.weight": Trap()}, folder / "old", _use_new_zipfile_serialization=False)
    (folder / "bare").write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile(folder / "archive", "w") as archive: archive.writestr("../outside", "text")
    with tarfile.open(folder / "tar", "w") as archive: archive.add(folder / "bare", "../outside")
    return [(folder / name).read_bytes() for name in ("zipped", "old", "bare", "archive", "tar")]


def test_a_pickle_under_the_name_of_the_weights_is_refused(copy, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    for data in pickles(tmp_path_factory.mktemp("pickles")):
        refused(copy(data=data), "holds no weights that can be read")
        folder = copy()
        (folder / CARD).write_bytes(data)
        refused(folder, "cannot be read as JSON")
    assert not os.path.exists("trapped")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "card.pkl", "model.pth", "last.ckpt"])
def test_a_pickle_beside_the_weights_is_not_opened(name, copy, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    data = pickles(tmp_path_factory.mktemp("pickles"))[0]
    def opened(*_, **__): raise AssertionError("a pickle was opened")
    for module, function in [(torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")]:
        monkeypatch.setattr(module, function, opened)
    folder = copy()
    (folder / name).write_bytes(data)
    from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    message = refused(folder, "has no file weights.safetensors")
    assert name == "card.pkl" or f"{name} may hold a pickle" in message
    assert not os.path.exists("trapped")


# addresses

@often
@given(where=st.text(max_size=30) | st.sampled_from(
    ["", ".", "..", "../x", "fidstorm/../..", "\0", "a" * 5000, "~", "a//b", "a\nb/c"]))
def test_any_address_is_refused_or_asked_of_the_hub(where, monkeypatch):
    asked = []
    def ask(repo_id, **_):
        asked.append(repo_id)
        raise OSError("no connection")
    monkeypatch.setattr(shelf, "snapshot_download", ask)
    refused(where)
    assert len(asked) <= 1 and all(name.count("/") == 1 and ".." not in name for name in asked)


def test_shipped_names_are_found_whatever_the_folder(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "files", lambda package: tmp_path)
    assert shipped_models() == {}
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "fidstorm").symlink_to(whole, target_is_directory=True)
    assert list(shipped_models()) == ["fidstorm"]
    assert from_pretrained("FID-STORM").config["name"] == "fidstorm"
    refused("../weights/fidstorm", "give a folder")


OFFLINE = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from dl4smlm import from_pretrained
for where in sys.argv[1:]:
    try: print(from_pretrained(where).config["name"])
    except ValueError as error: print(error)
"""


def test_without_a_connection(whole, tmp_path):
    "A folder needs none, nor does what the hub sent before; another name says what to do."
    repo, commit = tmp_path / "hub" / "models--someone--theirs", "0" * 40
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    for name in (WEIGHTS, CARD, README): (repo / "snapshots" / commit / name).symlink_to(whole / name)
    command = [sys.executable, "-c", OFFLINE, str(whole), "someone/theirs", "someone/never-fetched"]
    environment = os.environ | {"HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder, cached, unknown = done.stdout.splitlines()
    assert (folder, cached) == ("fidstorm", "fidstorm")
    assert "copy the folder to this machine and give its path" in unknown


# fetched by name

class Quiet(SimpleHTTPRequestHandler):
    "A server that keeps a list of what it was asked for."
    asked = None
    def log_message(self, *_): self.asked.append(self.path)


@pytest.fixture
def away(whole, tmp_path, monkeypatch):
    "A package with an index and no weights, an empty cache, and a server with the archive; what was asked of it."
    package, served = tmp_path / "site" / "dl4smlm", tmp_path / "served"
    (package / "weights").mkdir(parents=True)
    fingerprint = pack_bundle(whole, served / "deepstorm.zip")
    index = {"deepstorm": {"sha256": fingerprint, "bytes": (served / "deepstorm.zip").stat().st_size}}
    (package / "weights" / "index.json").write_text(json.dumps(index))
    monkeypatch.setattr(shelf, "files", lambda _: package)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"): monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.delenv("DL4SMLM_WEIGHTS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked = []
    handler = partial(type("Handler", (Quiet,), {"asked": asked}), directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(shelf, "_ADDRESS", f"http://127.0.0.1:{server.server_port}")
        yield SimpleNamespace(asked=asked, served=served, cache=tmp_path / "cache", site=package.parent,
                              package=package, stop=server.shutdown)
        server.shutdown()


def left_behind(away): return [path for path in away.cache.rglob("*") if path.is_file()]


def test_a_name_is_fetched_once_and_then_needs_no_connection(away):
    assert shipped_models() == {"deepstorm": None}
    model = from_pretrained("deepstorm")
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
    assert away.asked == ["/deepstorm.zip"]
    assert sorted(path.name for path in left_behind(away)) == sorted([CARD, README, WEIGHTS])
    (away.served / "deepstorm.zip").unlink()
    again = from_pretrained("Deep-STORM")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert load_card("deepstorm")["notes"]["rounded"]
    assert away.asked == ["/deepstorm.zip"]
    assert shipped_models()["deepstorm"].parent == away.cache / "dl4smlm"


def broken(away, change):
    "Change the archive on the server, and give the one line that says why it is refused."
    archive = away.served / "deepstorm.zip"
    archive.write_bytes(change(archive.read_bytes()))
    with pytest.raises(ValueError) as refusal: from_pretrained("deepstorm")
    assert "\n" not in str(refusal.value)
    assert left_behind(away) == []
    return str(refusal.value)


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"x", lambda data: data[:100], lambda data: b"",
                                    lambda data: data * 3], ids=["altered", "cut short", "empty", "too long"])
def test_a_wrong_fingerprint_is_refused_and_leaves_nothing(away, change):
    message = broken(away, change)
    assert "wrong fingerprint" in message and "DL4SMLM_WEIGHTS" in message and str(away.cache) in message


def test_an_endless_answer_is_cut_off(away):
    size = (away.served / "deepstorm.zip").stat().st_size
    (away.served / "long.zip").write_bytes(bytes(10 * size))
    assert len(shelf._download(f"{shelf._ADDRESS}/long.zip", size)) == size + 1


def test_without_a_connection_the_error_says_what_to_do(away):
    (away.served / "deepstorm.zip").unlink()
    with pytest.raises(ValueError, match=r"tried http://127.*404.*Download http.*DL4SMLM_WEIGHTS") as refusal:
        from_pretrained("deepstorm")
    assert "\n" not in str(refusal.value)
    away.stop()


@pytest.mark.parametrize("place", ["own", "clone", "cache"])
def test_an_archive_on_this_machine_is_taken_first(away, place, tmp_path, monkeypatch):
    folder = {"own": tmp_path / "own", "clone": away.site / "weights", "cache": away.cache / "dl4smlm"}[place]
    folder.mkdir(parents=True)
    if place == "own": monkeypatch.setenv("DL4SMLM_WEIGHTS", str(folder))
    os.replace(away.served / "deepstorm.zip", folder / "deepstorm.zip")
    assert from_pretrained("deepstorm").config["name"] == "fidstorm"
    assert away.asked == []


def test_a_wrong_archive_on_this_machine_is_passed_over_and_named(away, tmp_path, monkeypatch):
    monkeypatch.setenv("DL4SMLM_WEIGHTS", str(tmp_path))
    (tmp_path / "deepstorm.zip").write_bytes(b"of last year")
    from_pretrained("deepstorm")
    assert away.asked == ["/deepstorm.zip"]
    for path in left_behind(away): path.unlink()
    assert f"{tmp_path / 'deepstorm.zip'} (wrong fingerprint" in broken(away, lambda data: b"")


def hostile(kind, whole):
    "An archive that is more than a bundle, or less."
    parts = {name: (whole / name).read_bytes() for name in (CARD, README, WEIGHTS)}
    parts |= {"escape": {"../escaped.png": b""}, "absolute": {"/tmp/escaped.csv": b""}, "pickle": {"model.pt": b""},
              "folder": {"inner/picture.png": b""}, "windows": {"..\\escaped.png": b""}, "newline": {"a.png\n": b""},
              "swollen": {"picture.png": bytes(shelf._MOST)}}.get(kind, {})
    if kind == "no card": del parts[CARD]
    with zipfile.ZipFile(data := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items(): archive.writestr(name, content)
    return data.getvalue() if kind != "no archive" else b"PK"


@pytest.mark.parametrize("kind", ["escape", "absolute", "pickle", "folder", "windows", "newline", "swollen", "no card",
                                  "no archive"])
def test_a_hostile_archive_is_refused_even_with_the_right_fingerprint(away, kind, whole, tmp_path):
    data = hostile(kind, whole)
    index = {"deepstorm": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}
    (away.package / "weights" / "index.json").write_text(json.dumps(index))
    assert "is not a packed bundle" in broken(away, lambda _: data)
    assert not list(tmp_path.rglob("escaped*")) and not os.path.exists("/tmp/escaped.csv")


def test_a_cache_that_cannot_be_written_is_named(away):
    away.cache.write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"cannot be kept in .*XDG_CACHE_HOME"): from_pretrained("deepstorm")


def test_packing_is_repeatable_and_refuses_what_is_damaged(whole, tmp_path):
    (tmp_path / "bundle").mkdir()
    for name in (CARD, README, WEIGHTS): (tmp_path / "bundle" / name).write_bytes((whole / name).read_bytes())
    (tmp_path / "bundle" / "picture.png").write_bytes(b"a picture")
    (tmp_path / "bundle" / "diary.txt").write_text("not to be packed")
    first = pack_bundle(tmp_path / "bundle", tmp_path / "a.zip")
    assert pack_bundle(tmp_path / "bundle", tmp_path / "b.zip") == first
    assert hashlib.sha256((tmp_path / "b.zip").read_bytes()).hexdigest() == first
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == sorted([CARD, README, WEIGHTS, "picture.png"])
        state = safetensors.torch.load(archive.read(WEIGHTS))
    exact = safetensors.torch.load_file(whole / WEIGHTS)
    for name, value in exact.items():
        if value.ndim > 1: assert torch.equal(state[name], value.bfloat16()), name
        else: assert torch.equal(state[name], value) and state[name].dtype == value.dtype, name
    (tmp_path / "bundle" / WEIGHTS).write_bytes(b"other weights")
    with pytest.raises(ValueError, match="fingerprint"): pack_bundle(tmp_path / "bundle", tmp_path / "c.zip")


def test_the_index_is_that_of_the_archives():
    "Each archive of the repository is in the index, with its size and fingerprint; none is missing or left over."
    archives = {path.stem: path.read_bytes() for path in (ROOT / "weights").glob("*.zip")}
    index = json.loads((ROOT / "dl4smlm" / "weights" / "index.json").read_text(encoding="utf-8"))
    assert index == {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
                     for name, data in sorted(archives.items())}, "run benchmarks/pack_weights.py"
    assert sum(map(len, archives.values())) <= 12_000_000
    assert shelf._ADDRESS == f"{project_settings()['git_url']}/raw/{project_settings()['branch']}/weights"


def test_the_readme_says_which_spots_the_trained_networks_know():
    cards = [(ROOT / "dl4smlm" / "weights" / "fidstorm" / CARD).read_bytes()]
    for path in (ROOT / "weights").glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            cards += [archive.read(name) for name in archive.namelist() if name.endswith(CARD)]
    (low, high), = {learned_spots_px(json.loads(card)) for card in cards}
    assert len(cards) == 6
    assert f"{low:g} to {high:g} pixels wide" in (ROOT / "README.md").read_text(encoding="utf-8")
