"What every tutorial has: a way into Colab, a duration, a form, a choice of size, and exercises that answer."
import json
import os
import re
import subprocess

import pytest

from project import NBS, read, settings

TUTORIALS = {path.name: path for path in sorted((NBS / "tutorials").glob("[0-9]*.ipynb"))}
tutorial = pytest.mark.parametrize("name", TUTORIALS)
FOLDED = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.+?)```.*?</details>", re.S)


def cells(name, kind=None):
    "The cells of a tutorial with their source as one string; only of one `kind` if it is given."
    found = json.loads(TUTORIALS[name].read_text(encoding="utf-8"))["cells"]
    for cell in found: cell["source"] = "".join(cell["source"])
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def text(name, kind):
    "All cells of one kind, one after the other."
    return "\n\n".join(cell["source"] for cell in cells(name, kind))


def printed(name):
    "What the stored outputs print."
    outputs = [output for cell in cells(name, "code") for output in cell["outputs"]]
    return "".join("".join(output.get("text", "")) for output in outputs)


def install_cell(name):
    "The cell that is for Colab only: the first one with code."
    return cells(name, "code")[0]["source"]


@tutorial
def test_opens_in_colab(name):
    user, repo, branch = (settings()[key] for key in ("user", "repo", "branch"))
    link = f"colab.research.google.com/github/{user}/{repo}/blob/{branch}/nbs/tutorials/{name}"
    assert link in cells(name)[1]["source"]


@tutorial
@pytest.mark.skipif(os.name == "nt" or os.path.exists("/content"), reason="for a shell, and not on Colab itself")
def test_install_cell_does_nothing_outside_colab(name, tmp_path):
    "With a `pip` that leaves a trace: there is none, unless the folder by which Colab is known is there."
    traces = []
    (tmp_path / "pip").write_text(f"#!/bin/sh\necho \"$@\" > '{tmp_path}/trace'\n", encoding="utf-8")
    (tmp_path / "pip").chmod(0o755)
    shell = [line[1:] for line in install_cell(name).splitlines() if line.startswith("!")]
    for command in ("\n".join(shell), "\n".join(shell).replace("/content", str(tmp_path))):
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["sh", "-c", command], env=os.environ | {"PATH": path}, cwd=tmp_path, check=False)
        traces.append((tmp_path / "trace").exists())
    assert traces == [False, True]


@tutorial
def test_install_cell_keeps_torch_and_numpy(name):
    "It names neither, upgrades nothing, and leaves the versions to the lower bounds of settings.ini."
    assert len(cells(name, "code")) > 1 and "eval: false" in install_cell(name)
    assert not re.search(r"torch|numpy|--upgrade| -U|constraints", install_cell(name))


@tutorial
def test_says_how_long_it_takes_and_on_what(name):
    said = re.search(r"^\*\*How long\?\*\* (.+)$", text(name, "markdown"), re.M)
    assert said and "minute" in said[1] and "core" in said[1] and "GPU" in said[1]
    assert re.search(r"^\d+ s, in the \w+ size on \w+", printed(name), re.M), "the last line says how long it took"


@tutorial
def test_has_a_form(name):
    fields = re.findall(r"^\w+ = .+#@param ", text(name, "code"), re.M)
    assert len(fields) >= 3 and text(name, "code").count("#@markdown") >= 3
    assert any('["auto", "reduced", "full"]' in cell["source"] for cell in cells(name, "code"))


@tutorial
def test_quick_and_real_values_stand_side_by_side(name):
    code = text(name, "code")
    assert re.search(r'"reduced": \{', code) and re.search(r'"full": \{', code)
    assert "torch.cuda.is_available()" in code and "size, on" in printed(name), "say aloud which size was chosen"


def test_the_first_page_explains_its_columns():
    "Whoever meets a setting for the first time finds a word on it."
    page = "1_first_session.ipynb"
    settings = set(re.findall(r'"(\w+)":', re.search(r'"reduced": \{(.*?)\}', text(page, "code"))[1]))
    unexplained = {word for word in settings if not re.search(rf"[`*]{word.rstrip('s')}s?[`*]", text(page, "markdown"))}
    assert len(settings) >= 6 and not unexplained, f"say what {sorted(unexplained)} mean"


@tutorial
def test_says_what_to_change_next(name):
    assert re.search(r"^## What to change next$", text(name, "markdown"), re.M)


@tutorial
def test_exercises_check_themselves(name):
    "A blank, a cell that judges it, a folded solution, and at the end a cell that runs what the solutions say."
    code, prose, tried = text(name, "code"), text(name, "markdown"), cells(name, "code")[-2]["source"]
    blanks = re.findall(r"^(answer_\d) = \.\.\.$", code, re.M)
    assert len(blanks) >= 2
    for blank in blanks: assert re.search(rf"check_answer\({blank}, right_\d,\s", code), f"nothing checks {blank}"
    solutions = FOLDED.findall(prose)
    assert len(solutions) == len(blanks), "give each exercise one folded solution with code"
    for blank, solution in zip(blanks, solutions):
        assert re.search(rf"^{blank} = ", solution, re.M), f"the solution does not say what {blank} is"
        untried = [line for line in solution.splitlines() if line not in tried and not line.startswith("print")]
        assert not untried, f"the last cell but one, which tries the solutions, lacks {untried}"
        assert f"is_right({blank}, {blank.replace('answer', 'right')}" in tried
    assert printed(name).count("No answer yet") == len(blanks), "store the page with its blanks empty"


def test_index_and_sidebar_list_them_in_order():
    listed = re.findall(r"tutorials/(\d\w+\.ipynb)", read("_quarto.yml"))
    index = "".join("".join(cell["source"]) for cell in json.loads(read("nbs/tutorials/index.ipynb"))["cells"])
    assert listed == list(TUTORIALS) == re.findall(r"\]\((\d\w+\.ipynb)\)", index)
