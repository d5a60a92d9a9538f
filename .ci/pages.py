"Make the pages of the site as far as that goes without Quarto: `python .ci/pages.py FOLDER`."
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbdev.serve import proc_nbs

ROOT = Path(__file__).resolve().parent.parent


def problems(notebook):
    "What went wrong in a processed notebook: cells that ended in an error."
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]


def main(folder):
    "Process all notebooks as nbdev does for the site, convert each to HTML, refuse missing and broken pages."
    shutil.rmtree(ROOT / "_proc", ignore_errors=True)
    processed = Path(proc_nbs())
    sources = [path.relative_to(ROOT / "nbs") for path in sorted((ROOT / "nbs").rglob("*.ipynb"))]
    sources = [path for path in sources if not path.parts[0].startswith(".")]
    failed = []
    for source in sources:
        if not (processed / source).exists():
            failed.append(f"{source}: no page")
            continue
        notebook = nbformat.read(processed / source, as_version=4)
        failed += [f"{source}: {problem}" for problem in problems(notebook)]
        html, _ = HTMLExporter().from_notebook_node(notebook)
        if len(html) < 1000: failed.append(f"{source}: empty page")
        target = (Path(folder) / source).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")
    print(f"{len(sources)} pages")
    if failed or not sources: sys.exit("\n".join(["the pages are not as they should be:", *failed]))


if __name__ == "__main__":
    main(sys.argv[1])
