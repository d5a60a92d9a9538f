"Of widgets in stored notebooks keep the picture; drop bars and what needs a kernel: `python .ci/still.py NOTEBOOK...`."
import re
import sys

import nbformat

VIEW = "application/vnd.jupyter.widget-view+json"
BAR = re.compile(r"\d+%\|.*\| \d+/\d+ \[")  # of tqdm


def is_bar(output):
    "Whether an output is the bar of work that took long, on another machine perhaps."
    return VIEW in output.get("data", {}) and bool(BAR.search("".join(output.data.get("text/plain", ""))))


def without_widgets(notebook):
    "Drop bars, widget views that have a picture beside them, and the state of widgets that nothing shows any more."
    for cell in notebook.cells:
        if "outputs" in cell: cell.outputs = [output for output in cell.outputs if not is_bar(output)]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    for output in outputs:
        if VIEW in output.data and "image/png" in output.data: del output.data[VIEW]
    if not any(VIEW in output.data for output in outputs): notebook.metadata.pop("widgets", None)
    return notebook


if __name__ == "__main__":
    for path in sys.argv[1:]: nbformat.write(without_widgets(nbformat.read(path, as_version=4)), path)
