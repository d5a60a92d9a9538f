"The files around the package agree with each other."
import ast
import importlib.util
import json
import re
import subprocess
import sys

import pytest
import yaml

from project import INSTALL_AND_DEMO, INSTALL_AND_TEST, NBS, ROOT, modules, notebooks, read, settings

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PRIVATE = re.compile(r"(?<![\w.:*])/(home|root|opt|work|mnt|Users)/|[A-Z]:\\\\?Users")


def words(text):
    "The words of a text in order, whatever stands between them; where links lead and pictures lie is left out."
    return re.findall(r"\w+", re.sub(r"\]\([^)]*\)|src=\"[^\"]*\"", "]", text))


def test_readme_is_made_from_the_index_notebook():
    "Line breaks, marks and the folder in links may differ; the words must be the notebook's."
    readme = " ".join(words(read("README.md")))
    for number, cell in enumerate(json.loads((NBS / "index.ipynb").read_text(encoding="utf-8"))["cells"]):
        lines = "".join(cell["source"]).splitlines()
        if any(re.match(r"#\s*\|\s*hide\b", line) for line in lines): continue
        lines = [line for line in lines if not re.match(r"#\s*\|" if number else r"#\s|> ", line)]
        text = " ".join(words("\n".join(lines)))
        assert text in readme, f"README.md is older than nbs/index.ipynb, make it again; it lacks {text[:80]!r}"


@pytest.mark.parametrize("command", [INSTALL_AND_DEMO, INSTALL_AND_TEST])
def test_readme_has_the_two_commands(command):
    assert command in read("README.md").splitlines()


def test_readme_has_a_first_session():
    done = subprocess.run([sys.executable, str(ROOT / ".ci" / "first_session.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "import dl4smlm" in done.stdout
    compile(done.stdout, "README.md", "exec")


def test_the_test_command_is_the_same_everywhere():
    for path in [".github/workflows/test.yml", "CONTRIBUTING.md"]: assert INSTALL_AND_TEST in read(path), path
    assert "grep -m1 'python tests/run.py' README.md" in read(".ci/run")


def test_owner_stands_only_in_settings():
    "Where an address has to be written out, it is the one that settings.ini gives."
    user, repo = settings()["user"], settings()["repo"]
    address = re.compile(rf"github(?:\.com|usercontent\.com)?/([\w-]+)/{repo}\b|([\w-]+)\.github\.io/{repo}\b")
    texts = [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *ROOT.glob("*.yml"), *NBS.glob("*.yml"), *notebooks(),
             *WORKFLOWS, *modules().values()]
    for path in texts:
        for match in address.finditer(path.read_text(encoding="utf-8")):
            assert user in match.groups(), f"{path.name} has {match[0]}, but settings.ini says that the owner is {user}"


def script(name):
    "A script of .ci as a module."
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_addresses_and_cells_for_colab_are_written_from_settings():
    stale = [path.name for path, text in script("address").texts() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `python .ci/address.py`: it would change {stale}"


def test_one_line_of_settings_moves_the_project():
    "With another owner no file keeps the old address, and back again it is what it was."
    address = script("address")
    here, there = address.wanted(), ("https://github.com/someone/else", "https://someone.example/else")
    for path, text in address.texts():
        moved = address.replace(text, here, there)
        assert here[0] not in moved and here[1] not in moved, path.name
        assert address.replace(moved, there, here) == text, path.name
    for path in ["README.md", "CITATION.cff", "nbs/index.ipynb", "nbs/23d_shelf.ipynb"]:
        assert address.replace(read(path), here, there) != read(path), f"{path} names no address"


def test_site_configuration_is_made_from_settings():
    site = yaml.safe_load(read("nbs/nbdev.yml"))["website"]
    assert site["repo-url"] == settings()["git_url"]
    assert site["site-url"] == settings()["doc_host"] + settings()["doc_baseurl"]
    assert site["description"] == settings()["description"]


def test_workflows_and_citation_follow_their_schemas():
    for schema, paths in [("github-workflows", WORKFLOWS), ("citation-file-format", [ROOT / "CITATION.cff"])]:
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_take_least_permissions(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job
        for step in job["steps"]:
            if "uses" in step: assert re.search(r"@v\d", step["uses"]), f"give {step['uses']} a version"


def test_changelog_has_a_place_for_what_comes():
    assert "\n## Unreleased\n" in read("CHANGELOG.md")


def test_pins_are_for_build_tools_only():
    assert not re.search(r"==|<|~=", settings()["requirements"]), "requirements have lower bounds only"
    assert "torch==" in read("constraints.txt")


def test_requirements_are_what_the_modules_import():
    "A package is asked for as soon as a module uses it, and not before."
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "dl4smlm").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    used = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"dl4smlm", "IPython"}
    required = {re.match(r"[\w-]+", text)[0] for text in settings()["requirements"].split()}
    for_bars = {"ipywidgets"}  # tqdm draws its bars with them in a notebook
    called = {"skimage": "scikit-image", "yaml": "pyyaml"}
    assert {called.get(name, name) for name in used} | for_bars == required


def test_no_private_paths():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.yml"), *ROOT.glob("*.txt"), *modules().values()]:
        found = PRIVATE.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.name} names a folder of one machine: {found[0]}"
