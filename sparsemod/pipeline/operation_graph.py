"""The computation graph of a traced iteration as an SVG, with the names of the trace."""

from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from sparsemod.training.memory_trace import MemoryTrace, Operation
from sparsemod.units import METRICS

_CHARACTER, _LINE, _GAP, _MARGIN, _BETWEEN = 6.1, 20.0, 10.0, 24.0, 130.0
_PHASES = {"forward": "#dbe9f6", "backward": "#fde5cf", "update": "#e6e6e6"}
_OUTSIDE = ("network", "update")
_STYLE = (
    "text{font:10px ui-monospace,Menlo,Consolas,monospace;fill:#222}"
    ".bytes{text-anchor:end}.layer{font-weight:bold}.band{fill:none;stroke:#ddd}"
    "rect.operation{stroke:#888}rect.peak{stroke:#b30000;stroke-width:2.5}"
    "path{fill:none;stroke:#666;stroke-width:1;marker-end:url(#arrow)}path.kept{stroke:#b35c00}"
)


@dataclass
class _Box:
    """An operation's place: left, top, width, and the column: 0 forward, 1 backward and updates."""

    x: float
    y: float
    width: float
    column: int


def graph_figure(trace: MemoryTrace, layers: Mapping[str, str] | None = None) -> str:
    """Return the graph of the operations that make or change memory as an SVG text, readable without other files.

    Each box has an operation's name in the trace, the number of its calls if there are several, and the bytes that they
    make. Layers follow one another from top to bottom: forward operations on the left, backward operations on the right,
    from bottom to top. Orange arrows from left to right are results that are kept for the backward pass. A red frame marks
    the operations whose results are live at the peak. `layers`: description of each layer by its name.
    """
    bands = _bands(trace)
    texts = {name: _texts(name, operation) for name, operation in trace.operations.items()}
    widths = [
        max((len("   ".join(texts[n])) for band in bands.values() for n in band[column]), default=10)
        * _CHARACTER
        + 16
        for column in (0, 1)
    ]
    lefts = (3 * _MARGIN, 3 * _MARGIN + widths[0] + _BETWEEN)
    width = lefts[1] + widths[1] + 3 * _MARGIN
    boxes: dict[str, _Box] = {}
    shapes: list[str] = []
    y = 3 * _MARGIN
    for layer, columns in bands.items():
        rows = max(len(column) for column in columns)
        height = (rows + 1) * (_LINE + _GAP)
        title = " ".join(filter(None, (layer, (layers or {}).get(layer, ""))))
        shapes.append(
            f'<rect class="band" x="{_MARGIN}" y="{y:g}" width="{width - 2 * _MARGIN:g}" height="{height:g}"/>'
        )
        shapes.append(f'<text class="layer" x="{_MARGIN + 6:g}" y="{y + 14:g}">{escape(title)}</text>')
        for column, names in enumerate(columns):
            for place, name in enumerate(names):
                row = place if column == 0 else rows - 1 - place
                boxes[name] = _Box(lefts[column], y + (row + 0.75) * (_LINE + _GAP), widths[column], column)
        y += height + _GAP
    shapes += _arrows(trace, boxes)
    shapes += [_box(trace, name, texts[name], box) for name, box in boxes.items()]
    return _document(trace, width, y + _MARGIN, shapes)


def _bands(trace: MemoryTrace) -> dict[str, tuple[list[str], list[str]]]:
    """Return layer -> the names of its forward operations and of the others, in the order of the trace; what is in no layer is last."""
    bands: dict[str, tuple[list[str], list[str]]] = {}
    for name in trace.operations:
        phase, layer, _ = _parts(name)
        bands.setdefault(layer, ([], []))[phase != "forward"].append(name)
    return {layer: bands[layer] for layer in sorted(bands, key=lambda layer: layer in _OUTSIDE)}


def _parts(name: str) -> tuple[str, str, str]:
    """Return phase, layer and operation of a name in the trace; an update has no layer."""
    phase, _, rest = name.partition("/")
    layer, _, operation = rest.rpartition("/")
    return phase, layer or phase, operation


def _texts(name: str, operation: Operation) -> tuple[str, str]:
    """Return the name with its calls, and the bytes."""
    calls = f" × {operation.calls}" if operation.calls > 1 else ""
    return f"{name}{calls}", METRICS["working_memory"].show(
        operation.bytes
    ) if operation.bytes else "in place"


def _box(trace: MemoryTrace, name: str, texts: tuple[str, str], box: _Box) -> str:
    live = trace.at_peak.get(name, 0)
    show = METRICS["working_memory"].show
    hint = f"{name}: {show(trace.operations[name].bytes)} made" + (
        f", {show(live)} live at the peak" if live else ""
    )
    return (
        f'<g><title>{escape(hint)}</title><rect class="operation{" peak" if live else ""}" x="{box.x:g}" y="{box.y:g}" '
        f'width="{box.width:g}" height="{_LINE:g}" rx="4" fill="{_PHASES.get(_parts(name)[0], "#fff")}"/>'
        f'<text x="{box.x + 8:g}" y="{box.y + 14:g}">{escape(texts[0])}</text>'
        f'<text class="bytes" x="{box.x + box.width - 8:g}" y="{box.y + 14:g}">{escape(texts[1])}</text></g>'
    )


def _arrows(trace: MemoryTrace, boxes: Mapping[str, _Box]) -> list[str]:
    """Return an arrow for each result that another operation reads. Those of parameters and other existing tensors are left out."""
    return [
        f'<path class="{_kind(boxes[source], boxes[name])}" d="{_curve(boxes[source], boxes[name])}"/>'
        for name, operation in trace.operations.items()
        for source in operation.inputs
        if source in boxes and source != name
    ]


def _kind(source: _Box, target: _Box) -> str:
    return "kept" if source.column < target.column else "read"


def _curve(source: _Box, target: _Box) -> str:
    if source.column != target.column:
        right = source.column < target.column
        x1 = source.x + (source.width if right else 0)
        x2 = target.x + (0 if right else target.width)
        y1, y2, bend = source.y + _LINE / 2, target.y + _LINE / 2, 60.0 if right else -60.0
        return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    middle, down = source.x + source.width / 2, target.y > source.y
    y1, y2 = (source.y + _LINE, target.y) if down else (source.y, target.y + _LINE)
    if abs(y2 - y1) <= 2.5 * _LINE + _GAP:
        return f"M{middle:g} {y1:g}L{middle:g} {y2:g}"
    side = source.x if source.column == 0 else source.x + source.width
    y1, y2 = source.y + _LINE / 2, target.y + _LINE / 2
    bend = min(2 * _MARGIN, 8 + abs(y2 - y1) / 12) * (-1 if source.column == 0 else 1)
    return f"M{side:g} {y1:g}C{side + bend:g} {y1:g} {side + bend:g} {y2:g} {side:g} {y2:g}"


def _document(trace: MemoryTrace, width: float, height: float, shapes: list[str]) -> str:
    show = METRICS["training_memory"].show
    heading = f"one iteration, peak {show(trace.peak)} at {trace.peak_operation}"
    legend = "blue: forward; orange: backward; red frame: live at the peak; orange arrow: kept for the backward pass"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" role="img">'
        f"<title>{escape(heading)}</title><style>{_STYLE}</style>"
        '<defs><marker id="arrow" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0L6 3L0 6z" style="fill:#666;stroke:none;marker-end:none"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="#fff"/><text class="layer" x="{_MARGIN}" y="24">{escape(heading)}</text>'
        f'<text x="{_MARGIN}" y="42">{escape(legend)}</text>{"".join(shapes)}</svg>\n'
    )
