"The package as a user gets it: light to import, without developer tools, every public name documented."
import inspect
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from fastcore.docments import docments

import dl4smlm

from project import NBS, ROOT, modules, notebooks, read, settings

WITHOUT_DEVELOPER_TOOLS = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"IPython", "nbdev", "execnb", "ipykernel"}: raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refuse())
failed = []
for module in sys.argv[1:]:
    for loaded in [name for name in sys.modules if name.split(".")[0] == "dl4smlm"]: del sys.modules[loaded]
    try: importlib.import_module(f"dl4smlm.{module}")
    except Exception as error: failed.append(f"{module}: {type(error).__name__}: {error}")
print("; ".join(failed))
"""


def fresh(code, *arguments):
    "What `code` prints in a fresh Python process outside the checkout."
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT / "tests", env=environment, timeout=300,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_imports_alone_without_developer_tools():
    assert fresh(WITHOUT_DEVELOPER_TOOLS, *modules()) == ""


def test_import_is_light():
    heavy = "torch numpy scipy pandas matplotlib skimage tifffile typer ipywidgets"
    assert fresh(f"import sys, dl4smlm; print(*[name for name in '{heavy}'.split() if name in sys.modules])") == ""


def public_objects():
    "Each public name with its object; constants, which have no documentation of their own, left out."
    objects = [(name, getattr(dl4smlm, name)) for name in dl4smlm.__all__]
    return [(name, thing) for name, thing in objects if inspect.isclass(thing) or inspect.isroutine(thing)]


@pytest.mark.parametrize("name", dl4smlm.__all__)
def test_public_name_resolves(name):
    assert getattr(dl4smlm, name) is not None
    assert name in dir(dl4smlm)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"): _ = dl4smlm.no_such_name


def test_public_names_have_a_docstring():
    "A dataclass without one gets its own signature as a docstring, which does not count."
    without = [name for name, thing in public_objects() if not thing.__doc__ or thing.__doc__.startswith(f"{name}(")]
    assert not without, f"write a one-line docstring for {without}"


def test_public_parameters_are_documented():
    missing = []
    for name, thing in public_objects():
        if inspect.isclass(thing) and issubclass(thing, dict | Exception): continue
        comments = docments(thing, returns=False)
        for parameter in inspect.signature(thing).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD): continue
            if not comments.get(parameter.name): missing.append(f"{name}({parameter.name})")
    assert not missing, f"say in a comment after each parameter what it is: {missing}"


def test_version_has_one_source():
    assert dl4smlm.__version__ == settings()["version"]
    assert yaml.safe_load(read("CITATION.cff"))["version"] == settings()["version"]


@pytest.mark.parametrize("module", modules())
def test_module_has_its_notebook(module):
    header = re.search(r"File to edit: (\S+\.ipynb)", modules()[module].read_text(encoding="utf-8"))
    assert header, f"dl4smlm/{module} does not come from a notebook"
    notebook = (modules()[module].parent / header[1]).resolve()
    assert notebook in notebooks(), f"{module} comes from {header[1]}, which does not exist: delete the module"


def sidebar_entries(contents):
    "The notebooks named in a Quarto sidebar, in order."
    for entry in contents:
        if isinstance(entry, str): yield entry
        else:
            if "href" in entry: yield entry["href"]
            yield from sidebar_entries(entry.get("contents", []))


def test_sidebar_lists_every_notebook_once_in_order():
    listed = list(sidebar_entries(yaml.safe_load(read("_quarto.yml"))["website"]["sidebar"]["contents"]))
    existing = [path.relative_to(NBS).as_posix() for path in notebooks()]
    assert sorted(listed) == sorted(existing), "make the sidebar in _quarto.yml list each notebook of nbs/ once"
    numbered = [name for name in listed if name[0].isdigit()]
    assert numbered == sorted(numbered), "reading order is the order of the numbers"


@pytest.mark.skipif(os.name == "nt", reason="git makes no symbolic links on Windows unless asked")
def test_one_quarto_configuration():
    link = NBS / "_quarto.yml"
    assert link.is_symlink() and link.resolve() == ROOT / "_quarto.yml"
    assert (NBS / "nbdev.yml").exists(), "without it nbdev_readme writes no README"


def test_functions_are_not_hidden_by_modules_of_the_same_name():
    "`dl4smlm.simulate` is the function, whoever imported the module `dl4smlm.simulate` before."
    script = """
import dl4smlm.cli.commands, dl4smlm.demo, dl4smlm.simulate
import dl4smlm
for name in dl4smlm.__all__: assert callable(getattr(dl4smlm, name)), name
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_one_range_of_camera_pixels():
    from dl4smlm import core, tiff  # tiff does without core, and so without torch
    assert core.PIXEL_NM == tiff.PIXEL_NM


def test_the_home_folder_goes_by_its_short_name(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"): monkeypatch.setenv(name, str(tmp_path))
    movie = np.arange(96, dtype=np.uint16).reshape(2, 6, 8)
    dl4smlm.save_movie(movie, "~/movie.tif", 100)
    assert (tmp_path/"movie.tif").is_file()
    with dl4smlm.open_movie("~/movie.tif") as same: np.testing.assert_array_equal(same[:], movie)
