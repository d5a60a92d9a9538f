"Hygiene of the book: what every page has, and what no page has."
import ast
import json
import re

import pytest

from project import NBS, notebooks

PAGES = {path.relative_to(NBS).as_posix(): path for path in notebooks()}
SOURCES = [name for name in PAGES if re.match(r"\d", name)]  # pages that define a module
PRIVATE = re.compile(r"(?<![\w.:])/(home|root|opt|work|mnt|Users|usr/lib)/|[A-Z]:\\\\?Users", re.ASCII)
TESTING = re.compile(r"\bassert\b|\bassert_\w+\(|\btest_(eq|ne|close|fail|is|warns|stdout|eq_type)\(|"
                     r"\bcheck_\w+\(|\bpytest\.raises\b")

page = pytest.mark.parametrize("name", PAGES)
source_page = pytest.mark.parametrize("name", SOURCES)


def cells(name, kind=None):
    "The cells of a page, their source as one string; only of one `kind` if it is given."
    found = json.loads(PAGES[name].read_text(encoding="utf-8"))["cells"]
    for cell in found: cell["source"] = "".join(cell["source"])
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def exported(cell):
    "Whether a code cell goes into the module."
    return re.match(r"#\s*\|\s*exports?i?\b", cell["source"]) is not None


def code_lines(cell):
    "The lines of a cell that are not directives."
    return [line for line in cell["source"].splitlines() if not re.match(r"#\s*\|", line)]


def parsed(cell):
    "The syntax tree of a code cell, without its lines for the shell."
    lines = code_lines(cell)
    if lines and lines[0].startswith("%%"): lines = []
    return ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("!", "%"))))


def defines(cell):
    "Whether a cell defines a function or a class."
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in parsed(cell).body)


@page
def test_first_cell_has_title_and_subtitle(name):
    first = cells(name)[0]
    assert first["cell_type"] == "markdown"
    assert re.match(r"# \S.*\n+> \S", first["source"]), "begin with '# Title', an empty line, '> what it does'"


@page
def test_one_module_with_the_name_of_the_file(name):
    directives = re.findall(r"^#\s*\|\s*default_exp\s+(\S+)", "\n".join(c["source"] for c in cells(name, "code")), re.M)
    expected = [re.sub(r"^\d+[a-z]*_", "", name.removesuffix(".ipynb"))] if name in SOURCES else []
    assert directives == expected


@page
def test_directives_stand_on_the_first_lines(name):
    for cell in cells(name, "code"):
        below = cell["source"].splitlines()
        while below and re.match(r"#\s*\|", below[0]): below.pop(0)
        late = [line for line in below if re.match(r"#\s*\|\s*\w", line)]
        assert not late, f"nbdev reads directives only above the code: {late}"


@page
def test_no_star_imports(name):
    for cell in cells(name, "code"):
        imports = [node for node in ast.walk(parsed(cell)) if isinstance(node, ast.ImportFrom)]
        assert "*" not in {node.names[0].name for node in imports}, f"import by name: {cell['source']}"


@page
def test_imports_have_cells_of_their_own(name):
    "The documentation runs every cell that has an import, so such a cell does nothing else."
    for cell in cells(name, "code"):
        if exported(cell) or "eval: false" in cell["source"]: continue
        imports = {isinstance(node, ast.Import | ast.ImportFrom) for node in parsed(cell).body}
        assert imports != {True, False}, f"give the imports a cell of their own: {cell['source'][:200]}"


@source_page
def test_exported_cells_are_short(name):
    for cell in filter(exported, cells(name, "code")):
        lines = cell["source"].splitlines()
        assert len(lines) <= 40, f"{len(lines)} lines, at most 40: split {lines[1]}"
        assert not re.search(r"#\s*\|\s*slow|#\s*\|\s*cuda", cell["source"]), "an exported cell is never slow"


@source_page
def test_exported_cells_are_tested(name):
    "At least one testing cell for two that export a definition, and one after the last of them."
    code = [cell for cell in cells(name, "code") if "eval: false" not in cell["source"]]
    definitions = [i for i, cell in enumerate(code) if exported(cell) and defines(cell)]
    tests = [i for i, cell in enumerate(code) if not exported(cell) and TESTING.search(cell["source"])]
    if not definitions: return
    assert 2 * len(tests) >= len(definitions), f"{len(definitions)} cells export, only {len(tests)} test"
    assert tests[-1] > definitions[-1], "the last exported definition is not tested"


@source_page
def test_the_site_shows_the_source(name):
    "`exports` shows a definition on the site, `export` hides it; imports may be hidden."
    hidden = [cell["source"] for cell in cells(name, "code") if re.match(r"#\s*\|\s*export\b", cell["source"])]
    shown = [source for source in hidden if not re.search(r"^(def|class|@|\w+\s*=)", source, re.M)]
    assert hidden == shown, "begin these cells with `#| exports`"


@page
def test_first_cell_is_title_and_subtitle_only(name):
    "What else stands in that cell is lost on the site."
    lines = cells(name)[0]["source"].split("\n")
    rest = [line for line in lines if line.strip() and not re.match(r"# |> |- \w+:", line)]
    assert not rest, f"move this into a cell of its own: {rest[0][:80]}"


@page
def test_page_has_words(name):
    words = sum(len(cell["source"].split()) for cell in cells(name, "markdown")[1:])
    assert words >= 30, f"{words} words beside the title: say why the code is there"


@page
def test_stored_outputs_are_clean(name):
    for cell in cells(name, "code"):
        assert cell["execution_count"] is None, "run nbdev_clean"
        for output in cell["outputs"]:
            assert output["output_type"] != "error", f"stored error: {output.get('ename')}: {output.get('evalue')}"
            assert output.get("execution_count") is None, "run nbdev_clean"
            assert output.get("name") != "stderr", f"stored warning: {output['text']}"
            assert "%|" not in str(output.get("data", {}).get("text/plain")), "a bar: run `python .ci/still.py`"


@page
def test_stored_widgets_are_still_pictures(name):
    "Without a kernel a widget shows nothing; the picture that is stored beside it must be what a page shows."
    for cell in cells(name, "code"):
        for output in cell["outputs"]:
            kinds = set(output.get("data", {}))
            assert not {"image/png", "application/vnd.jupyter.widget-view+json"} <= kinds, "run `python .ci/still.py`"


@page
def test_page_is_small(name):
    size = PAGES[name].stat().st_size
    assert size <= 300_000, f"{size} bytes, at most 300,000: draw fewer or smaller figures"


@page
def test_no_private_paths_and_no_silenced_warnings(name):
    text = PAGES[name].read_text(encoding="utf-8")
    assert not PRIVATE.search(text), f"a path of one machine: {text[PRIVATE.search(text).start():][:80]!r}"
    silenced = re.search(r"(filterwarnings|simplefilter)\(\\?[\"']ignore\\?[\"']\)", text)
    assert not silenced, "name the warning that you ignore, and say why"
