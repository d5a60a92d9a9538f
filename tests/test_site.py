"The site: its configuration, its pages, and what they lead to. The rendered pages are looked at by .ci/look.py."
import ast
import json
import re
import subprocess
import sys

import pytest
import yaml
from nbdev.frontmatter import _md2dict

import dl4smlm

from project import NBS, ROOT, notebooks, read, settings

PAGES = {path.relative_to(NBS).as_posix(): path for path in notebooks()}
BOOK = [name for name in PAGES if re.match(r"\d", name)]
NOTHING_TO_SEE = {  # pages about files, memory, processes and answers
    "00b_exercises.ipynb",
    "05b_strangers.ipynb", "05c_tiff.ipynb", "06c_formats.ipynb", "06d_containers.ipynb", "10b_checkpoint.ipynb",
    "10c_parallel.ipynb", "22g_blocks.ipynb", "22h_pipeline.ipynb", "23d_shelf.ipynb", "24_bundle.ipynb",
    "26_cli.door.ipynb", "26a_cli.movies.ipynb", "26c_cli.train.ipynb", "26d_cli.reconstruct.ipynb",
    "26g_cli.tools.ipynb", "26h_cli.commands.ipynb"}
FOREIGN = {"safe_load", "to_hdf", "XResolution", "InstanceNorm2d", "img_10", "cell_1",  # names of others, in prose only
           "AttentionImitationLoss", "ImageDataset", "TrainValid"}  # of the first DL4SMLM
NOT_RUN = re.compile(r"^#\s*\|\s*(exports?i?\b|eval:\s*false|slow|cuda)", re.M)
PICTURE = ("image/png", "image/jpeg", "image/svg+xml")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def cells(kind):
    "All cells of one kind: the page's name, the source as one string, the cell."
    for name, path in PAGES.items():
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == kind: yield name, "".join(cell["source"]), cell


def prose(source):
    "The text of a Markdown cell without its blocks of code."
    return re.sub(r"^```.*?^```", "", source, flags=re.M | re.S)


def tree(source):
    "The syntax tree of a code cell, without its lines for the shell."
    return ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("!", "%"))))


def has_picture(cell):
    return any(kind in output.get("data", {}) for output in cell["outputs"] for kind in PICTURE)


def headings(name):
    "The anchors that Pandoc makes of the headings of a page."
    for page, source, _ in cells("markdown"):
        if page != name: continue
        for text in re.findall(r"^#+ (.*)$", prose(source), re.M):
            text = re.sub(r"[^\w\s.-]", "", re.sub(r"\]\([^)]*\)", "]", text)).strip().lower()
            yield re.sub(r"^[^a-z]*", "", re.sub(r"\s+", "-", text))


def test_configuration_of_the_site():
    site = yaml.safe_load(read("_quarto.yml"))
    html, website = site["format"]["html"], site["website"]
    assert set(html["theme"]) == {"light", "dark"}
    assert "commonmark" in site["format"], "Markdown beside the pages"
    assert website["navbar"]["search"] and website["page-navigation"]
    for path in [html["css"], website["image"], *(entry["href"] for entry in website["navbar"]["left"])]:
        assert (NBS / path).exists(), path
    assert site["metadata-files"] == ["nbdev.yml"] and website["repo-subdir"] == "nbs"
    for part in website["sidebar"]["contents"][1:]: assert part["section"] and part["contents"]


def test_every_page_has_a_title_and_a_description():
    titles = {}
    for name, path in PAGES.items():
        first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        front = _md2dict(first)
        assert 2 <= len(front["title"]) <= 60, name
        assert 20 <= len(front["description"]) <= 160, f"{name}: a description of one line, for search and for links"
        assert len(re.findall(r"^>", first, re.M)) == 1, f"{name}: only the first line of the description is kept"
        titles.setdefault(front["title"], []).append(name)
    assert not {title: names for title, names in titles.items() if len(names) > 1}


def test_links_and_images_lead_somewhere():
    lost, anchors = [], {}
    for name, source, _ in cells("markdown"):
        for image, text, target in LINK.findall(prose(source)):
            if image and not text.strip(): lost.append(f"{name}: {target} has no alternative text")
            path, _, anchor = target.partition("#")
            if re.match(r"https?:|mailto:", target) or target.startswith("attachment:"): continue
            place = (PAGES[name].parent / path).resolve() if path else PAGES[name]
            if not place.is_file(): lost.append(f"{name}: {target} is not there")
            elif anchor:
                page = place.relative_to(NBS).as_posix()
                if anchor not in anchors.setdefault(page, set(headings(page))): lost.append(f"{name}: no {target}")
    assert not lost, "\n".join(lost)


def test_names_in_backticks_are_no_text_of_links():
    "The site links a name in backticks to its page by itself, and a link within a link shows its brackets."
    wrong = [f"{name}: {link}" for name, source, _ in cells("markdown")
             for link in re.findall(r"\[`[^`\s]+`\]\([^)]*\)", prose(source))]
    assert not wrong, f"leave out the brackets and the address: {wrong}"


def test_tables_have_no_bars_in_their_cells():
    "A vertical bar ends a cell, even in a formula: write lvert and rvert."
    for name, source, _ in cells("markdown"):
        for table in re.findall(r"(?:^\|.*\|$\n?){3,}", prose(source), re.M):
            counts = {re.sub(r"`[^`]*`|\\\|", "", row).count("|") for row in table.splitlines()}
            assert len(counts) == 1, f"{name}: rows of different length in a table: {table[:200]}"


def test_names_in_backticks_exist():
    "What looks like a name of ours is one: it occurs in the code of the book."
    known = FOREIGN.union(*(re.findall(r"\w+", source) for _, source, _ in cells("code")))
    lost = set()
    for name, source, _ in cells("markdown"):
        for text in re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", prose(source)):
            parts = [part for part in text.split(".") if "_" in part or re.search(r"[a-z][A-Z]", part)]
            lost |= {f"{name}: `{text}`" for part in parts if part not in known}
    assert not lost, f"renamed, or foreign (then add it to FOREIGN): {sorted(lost)}"


def test_pictures_have_alternative_text():
    "`#| fig-alt: \"...\"` above the code says what the picture shows to who cannot see it, and the picture is stored."
    wrong = []
    for name, source, cell in cells("code"):
        alt = re.search(r"^#\|\s*fig-alt:\s*(.+)$", source, re.M)
        if has_picture(cell) and not alt: wrong.append(f"{name}: no fig-alt in {source[:80]!r}")
        if not alt: continue
        text = yaml.safe_load(alt[1])
        if not isinstance(text, str) or len(text) < 20: wrong.append(f"{name}: fig-alt says too little: {alt[1]}")
        if not has_picture(cell) and not NOT_RUN.search(source): wrong.append(f"{name}: run it, no picture: {alt[1]}")
    assert not wrong, "\n".join(wrong)


def test_where_something_can_be_seen_there_is_a_picture():
    seen = {name for name, _, cell in cells("code") if has_picture(cell)}
    assert set(BOOK) - seen == NOTHING_TO_SEE


def test_every_page_of_the_book_tests_something():
    tested = {name for name, source, _ in cells("code") if not NOT_RUN.search(source)
              and re.search(r"\bassert|\btest_\w+\(|\bcheck_\w+\(", source)}
    assert set(BOOK) <= tested


def test_more_words_than_code():
    words = sum(len(prose(source).split()) for name, source, _ in cells("markdown") if name in BOOK)
    lines = sum(len([line for line in source.splitlines() if line.strip() and not line.startswith("#|")])
                for name, source, _ in cells("code") if name in BOOK)
    assert words >= 2*lines, f"{words} words for {lines} lines of code"


def test_every_public_name_is_used_on_a_page():
    "In a cell that runs, which is not its own definition."
    used = set()
    for _, source, _ in cells("code"):
        if NOT_RUN.search(source): continue
        nodes = list(ast.walk(tree(source)))
        used |= {node.id for node in nodes if isinstance(node, ast.Name)}
        used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    unused = set(dl4smlm.__all__) - used
    assert not unused, f"show {sorted(unused)} at work on a page"


def test_how_to_cite_agrees_with_the_citation_file():
    entries = re.findall(r"```bibtex\n(.*?)```", "\n".join(source for name, source, _ in cells("markdown")
                                                           if name == "cite.ipynb"), re.S)
    text, citation = " ".join("".join(entries).split()), yaml.safe_load(read("CITATION.cff"))
    assert f"version = {{{settings()['version']}}}" in text and citation["title"] in text
    assert len(re.findall(r"@\w+\{", text)) == len(citation["references"]) + 1
    for paper in citation["references"]:
        entry = next(entry for entry in re.split(r"(?=@\w+\{)", text) if paper["doi"] in entry)
        names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
        for value in [paper["title"], f"{paper['start']}--{paper['end']}", str(paper["year"]), names]:
            assert value in entry, f"{paper['doi']}: {value} is not on the page"


def test_read_the_docs_and_github_build_with_one_quarto():
    workflow, read_the_docs = read(".github/workflows/docs.yml"), read(".readthedocs.yaml")
    version = re.search(r"quarto-cli==([\d.]+)", read_the_docs)[1]
    assert f"version: {version}" in workflow
    assert "nbdev_docs" in workflow and "nbdev_docs" in read_the_docs
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.readthedocs"]
    done = subprocess.run([*command, str(ROOT / ".readthedocs.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_workflow_runs_the_tests_on(version):
    assert version in yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]["test"]["strategy"]["matrix"]["python"]
