"""Make the pages of the site as far as that goes without Quarto, and follow every link: `python .ci/pages.py FOLDER`.

The notebooks are processed as nbdev does it for the site. What Quarto would do with the result is done here in small:
cell options, alternative texts, anchors, links between pages, and the site's own styles.css. `.ci/look.py FOLDER` then
looks at the pages in a browser.
"""
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from urllib.parse import unquote

import nbformat
import yaml
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbdev.serve import proc_nbs
from pygments.formatters import HtmlFormatter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from project import NBS, ROOT, notebooks

MATHJAX = Path("/usr/share/javascript/mathjax/MathJax.js")  # Debian: libjs-mathjax
ELSEWHERE = "https://cdn.jsdelivr.net/npm/mathjax@2/MathJax.js"
OPTION = re.compile(r"^#\|\s*([\w-]+):\s*(.*)\n?", re.M)
ATTRIBUTES = re.compile(r"(\]\([^)\s]*\))\{[^}\n]*\}")  # Pandoc's, behind a link
LIKE_QUARTO = {"code_cell": "cell", "input_area": "sourceCode cell-code", "output_area": "cell-output",
               "output_subarea": "cell-output-display", "output_stdout": "cell-output-stdout",
               "output_stderr": "cell-output-stderr"}
EXPORTER = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
FRAME = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 17px/1.5 system-ui, sans-serif; margin: 0 }} main {{ max-width: 850px; margin: auto; padding: 12px }}
pre {{ font-size: 14px }} .cell-code pre {{ background: #f5f5f5; padding: 6px 10px }}
table {{ border-collapse: collapse }} td, th {{ padding: 4px 8px; border-bottom: 1px solid #ddd; text-align: left }}
{code}</style><link rel="stylesheet" href="{up}styles.css">
<script type="text/x-mathjax-config">MathJax.Hub.Config({{messageStyle: "none",
tex2jax: {{inlineMath: [["$", "$"]], processEscapes: true, skipTags: ["script", "style", "pre", "code"]}}}})</script>
<script src="{mathjax}?config=TeX-AMS_CHTML-full"></script></head>
<body><main class="content"><h1 class="title">{title}</h1><p class="description">{description}</p>
{body}</main></body></html>
"""


def settings(folder):
    "The addresses of the site and of the files on GitHub."
    website = yaml.safe_load((ROOT / folder / "nbdev.yml").read_text(encoding="utf-8"))["website"]
    return website["site-url"] + "/", f"{website['repo-url']}/blob/{website['repo-branch']}/"


def problems(notebook):
    "What went wrong in a processed notebook: cells that ended in an error."
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]


def front_matter(notebook):
    "Title, description and name of the page, which nbdev writes into the first cell."
    return yaml.safe_load(notebook.cells[0].source.strip().strip("-"))


def apply_options(cell):
    "Do what the options of a code cell say, and take them out of its source; None if the cell is not shown."
    options = dict(OPTION.findall(cell.source))
    cell.source = OPTION.sub("", cell.source)
    if options.get("include") == "false": return None
    if options.get("echo") == "false": cell.metadata["hide"] = True
    for output in cell.outputs:
        if output.output_type not in ("display_data", "execute_result"): continue
        if "fig-alt" in options: output.metadata["image/png"] = {"alt": yaml.safe_load(options["fig-alt"])}
        if "text/markdown" in output.data: output.data["text/markdown"] = strip(output.data["text/markdown"])
    return cell


def strip(text):
    "Markdown without the attributes that only Pandoc understands."
    return ATTRIBUTES.sub(r"\1", text)


def code_in(text):
    "A line of Markdown as HTML: what stands in backticks is code."
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))


def body(notebook):
    "The page as HTML, with the classes and anchors that Quarto would give."
    cells = []
    for cell in notebook.cells[1:]:
        if cell.cell_type == "code": cell = apply_options(cell)
        elif cell.cell_type == "markdown": cell.source = strip(cell.source)
        if cell is not None: cells.append(cell)
    notebook.cells = cells
    page = BeautifulSoup(EXPORTER.from_notebook_node(notebook)[0], "html.parser")
    shown = [cell for cell in cells if cell.cell_type == "code"]
    for tag, cell in zip(page.find_all(class_="code_cell"), shown, strict=True):
        if cell.metadata.get("hide"): tag.find(class_="input").decompose()
    for theirs, ours in LIKE_QUARTO.items():
        for tag in page.find_all(class_=theirs): tag["class"] = ours.split()
    for link in page.find_all("a", class_="anchor-link"): link.decompose()
    for heading in page.find_all(re.compile("^h[1-6]$")):
        words = re.sub(r"[^\w\s.-]", "", heading.get_text()).strip().lower()
        heading["id"] = re.sub(r"^[^a-z_]*", "", re.sub(r"\s+", "-", words))
    return page


def make(folder, processed):
    "Write every page into the folder; return the pages by name, and what is wrong with them."
    pages, failed, names = {}, [], {}
    for source in [path.relative_to(NBS) for path in notebooks()]:
        if not (processed / source).exists():
            failed.append(f"{source}: no page")
            continue
        notebook = nbformat.read(processed / source, as_version=4)
        failed += [f"{source}: {problem}" for problem in problems(notebook)]
        front = front_matter(notebook)
        name = source.with_name(front["output-file"]).as_posix()
        names[(NBS / source).resolve()] = name
        pages[name] = source, front, body(notebook)
    for name, (source, front, page) in pages.items():
        to_pages(page, source, name, names)
        up = "../" * name.count("/")
        html = FRAME.format(title=escape(front["title"]), description=code_in(front["description"]), body=page, up=up,
                            mathjax=MATHJAX.as_uri() if MATHJAX.exists() else ELSEWHERE,
                            code=HtmlFormatter().get_style_defs(".highlight"))
        if len(page.get_text()) < 300: failed.append(f"{name}: empty page")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")
    for path in ["styles.css", "images"]:
        place = NBS / path
        if place.is_dir(): shutil.copytree(place, folder / path, dirs_exist_ok=True)
        else: shutil.copy(place, folder / path)
    return {name: page for name, (_, _, page) in pages.items()}, failed


def to_pages(page, source, name, names):
    "Let links to notebooks lead to their pages, as Quarto does."
    for link in page.find_all("a", href=re.compile(r"^(?!https?:)[^#]*\.ipynb")):
        path, _, anchor = link["href"].partition("#")
        target = names.get((NBS / source.parent / unquote(path)).resolve())
        if target: link["href"] = "../" * name.count("/") + target + (f"#{anchor}" if anchor else "")


def lost_links(folder, pages):
    "Links and images of the pages that lead nowhere: within the site, and to files of the repository."
    site, blob = settings("nbs")
    anchors = {name: {tag["id"] for tag in page.find_all(id=True)} for name, page in pages.items()}
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    files, lengths = set(listed.stdout.splitlines()), {}
    for name, page in pages.items():
        for image in page.find_all("img"):
            if not image.get("alt", "").strip(): yield f"{name}: a picture without alternative text"
            if re.match(r"https?:|data:", image["src"]): continue
            if not (folder / name).parent.joinpath(image["src"]).is_file(): yield f"{name}: no picture {image['src']}"
        for href in {link["href"] for link in page.find_all("a", href=True)}:
            path, _, anchor = unquote(href).partition("#")
            if path.startswith(blob):
                file, line = path.removeprefix(blob), int(anchor[1:] or 0) if re.match(r"(L\d+)?$", anchor) else 0
                if file in files and file not in lengths: lengths[file] = (ROOT / file).read_bytes().count(b"\n") + 1
                if file not in files or line > lengths[file]: yield f"{name}: {href} is not in the repository"
                continue
            if path.startswith(site): path = path.removeprefix(site) or "index.html"
            elif re.match(r"https?:|mailto:", path): continue
            elif path: path = (Path("/") / name).parent.joinpath(path).resolve().as_posix()[1:]
            else: path = name
            if path not in pages and not (folder / path).is_file(): yield f"{name}: {href} is not there"
            elif anchor.startswith("_") and path in pages: continue  # private names have a page, but no place on it
            elif anchor and path in pages and anchor not in anchors[path]: yield f"{name}: no place {href}"


def main(folder):
    "Process all notebooks as nbdev does for the site, make the pages, refuse missing and broken ones and lost links."
    shutil.rmtree(ROOT / "_proc", ignore_errors=True)
    folder = Path(folder)
    pages, failed = make(folder, Path(proc_nbs()))
    failed += sorted(lost_links(folder, pages))
    print(f"{len(pages)} pages")
    if failed or not pages: sys.exit("\n".join(["the pages are not as they should be:", *failed]))


if __name__ == "__main__":
    main(sys.argv[1])
