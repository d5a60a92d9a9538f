"""Write the owner of the repository and the address of the site, which stand in settings.ini, wherever they are needed.

    python .ci/address.py

Change `user` (or `repo`, `doc_host`, ...) in settings.ini, then run this. It finds the old address in nbs/nbdev.yml.
Every page also gets its link to Colab, and the cell that installs the package there.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from project import NBS, ROOT, notebooks, settings

KINDS = "*.md *.cff *.ipynb *.yml *.yaml *.toml .github/*".split()
COLAB = "https://colab.research.google.com/github/"
BADGE = '<a href="{link}"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>'
INSTALL = """#| hide
#| eval: false
![ -e /content ] && pip install -q fastcore {package}  # on Colab only"""


def wanted():
    "The addresses of the repository and of the site that settings.ini gives."
    values = settings()
    return values["git_url"], values["doc_host"] + values["doc_baseurl"]


def written():
    "The addresses of the repository and of the site that were written last."
    text = (NBS / "nbdev.yml").read_text(encoding="utf-8")
    return tuple(re.search(rf'{key}: "(.*)"', text)[1] for key in ("repo-url", "site-url"))


def replace(text, old, new):
    "Put the `new` addresses of the repository and of the site where the `old` ones are."
    slugs = [url.removeprefix("https://github.com/") for url in (old[0], new[0])]
    pairs = [(old[0], new[0]), (old[1], new[1]), (COLAB + slugs[0], COLAB + slugs[1])]
    for before, after in pairs:
        text = re.sub(re.escape(before) + r"(?![\w-])", lambda _, after=after: after, text)
    return text


def colab_link(page):
    "Where a page opens in Colab; the landing page has no code and opens the first tutorial."
    if page == NBS / "index.ipynb": page = sorted((NBS / "tutorials").glob("*.ipynb"))[0]
    values = settings()
    slug = values["git_url"].removeprefix("https://github.com/")
    return f"{COLAB}{slug}/blob/{values['branch']}/{page.relative_to(ROOT).as_posix()}"


def colab_cells(page):
    "The link to Colab, and the cell that installs the package there and does nothing elsewhere."
    badge = {"cell_type": "markdown", "id": "colab-badge", "metadata": {},
             "source": BADGE.format(link=colab_link(page)).splitlines(keepends=True)}
    package = f"{settings()['git_url']}/archive/{settings()['branch']}.zip"
    install = {"cell_type": "code", "execution_count": None, "id": "colab-install", "metadata": {}, "outputs": [],
               "source": INSTALL.format(package=package).splitlines(keepends=True)}
    return [badge] if page == NBS / "index.ipynb" else [badge, install]


def is_for_colab(cell):
    "Whether a cell is one of those that `colab_cells` makes."
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown": return "colab.research.google.com/assets" in source
    return cell["cell_type"] == "code" and "-e /content ]" in source


def with_colab(notebook, page):
    "The text of a notebook with its cells for Colab below the title."
    there = {cell["cell_type"]: {"id": cell["id"]} for cell in notebook["cells"] if is_for_colab(cell)}
    cells = [cell for cell in notebook["cells"] if not is_for_colab(cell)]
    cells[1:1] = [cell | there.get(cell["cell_type"], {}) for cell in colab_cells(page)]
    return json.dumps(notebook | {"cells": cells}, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def texts():
    "Every file that may hold an address, with what should stand in it."
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *KINDS], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.splitlines()
    for path in [ROOT / name for name in listed]:
        if path.is_symlink() or path == NBS / "nbdev.yml": continue
        text = replace(path.read_text(encoding="utf-8"), written(), wanted())
        if path in notebooks(): text = with_colab(json.loads(text), path)
        yield path, text


def main():
    "Write what differs, then what is made from it: nbs/nbdev.yml, the modules, the README."
    for path, text in [(path, text) for path, text in texts() if path.read_text(encoding="utf-8") != text]:
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT).as_posix())
    for code in ("from nbdev.quarto import refresh_quarto_yml; refresh_quarto_yml()",
                 "from nbdev.doclinks import nbdev_export; nbdev_export()"):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    subprocess.run([sys.executable, str(ROOT / ".ci" / "readme.py")], check=True)


if __name__ == "__main__": main()
