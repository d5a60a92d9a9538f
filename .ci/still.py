"Of widgets in stored notebooks keep the picture, and drop what needs a kernel: `python .ci/still.py NOTEBOOK...`."
import sys

import nbformat

VIEW = "application/vnd.jupyter.widget-view+json"


def without_widgets(notebook):
    "Drop widget views that have a picture beside them, and the state of widgets that nothing shows any more."
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    for output in outputs:
        if VIEW in output.data and "image/png" in output.data: del output.data[VIEW]
    if not any(VIEW in output.data for output in outputs): notebook.metadata.pop("widgets", None)
    return notebook


if __name__ == "__main__":
    for path in sys.argv[1:]: nbformat.write(without_widgets(nbformat.read(path, as_version=4)), path)
