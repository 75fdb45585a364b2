"""The computation graph of a traced iteration: its operations are those of the trace, its arrows those of the data."""

import itertools
from xml.etree import ElementTree

import pytest
import torch
from support_dashboard import browser
from torch import nn

from sparsemod.networks.zoo import network
from sparsemod.pipeline.operation_graph import graph_figure
from sparsemod.pipeline.training_memory import by_rule, predicted
from sparsemod.records import DataInfo
from sparsemod.spec.training import TrainingSpec

INFO = DataInfo(name="x", shape=(1, 8, 8), classes=10)
SVG = "{http://www.w3.org/2000/svg}"


def chain():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)
    )  # fmt: skip


@pytest.fixture(scope="module")
def traces():
    return by_rule(chain(), INFO, TrainingSpec(batch_size=4), ["bp", "mem-dfa"], "cpu")


@pytest.mark.parametrize("rule", ["bp", "mem-dfa"])
def test_every_operation_of_the_trace_is_in_the_graph_with_its_bytes(traces, rule):
    trace = traces[rule]
    made = {}
    for event in trace.events:
        if event.operation not in trace.baseline and event.delta > 0:
            made[event.operation] = made.get(event.operation, 0) + event.delta
    assert {name: one.bytes for name, one in trace.operations.items() if one.bytes} == made
    root = ElementTree.fromstring(graph_figure(trace))
    shown = [text.text for text in root.iter(f"{SVG}text")]
    assert all(name in [text.split(" × ")[0] for text in shown] for name in made)
    framed = sum(rect.get("class") == "operation peak" for rect in root.iter(f"{SVG}rect"))
    assert framed == sum(name in trace.operations for name in trace.at_peak) > 0


def test_arrows_follow_the_data(traces):
    operations = traces["bp"].operations
    assert list(operations["forward/0/convolution"].inputs) == ["batch", "parameters"]
    assert list(operations["forward/1/relu"].inputs) == ["forward/0/convolution"]
    assert next(iter(operations["forward/3/native_batch_norm"].inputs)) == "forward/2/convolution"
    assert "forward/4/relu" in operations["forward/6/addmm"].inputs, "through the view of nn.Flatten"
    kept = operations["backward/2/convolution_backward"].inputs
    assert {"forward/1/relu", "backward/3/native_batch_norm_backward", "parameters"} == set(kept)
    assert operations["update/_fused_adam_"].bytes == 0
    assert "backward/0/convolution_backward" in operations["update/_fused_adam_"].inputs
    root = ElementTree.fromstring(graph_figure(traces["bp"]))
    drawn = [path.get("class") for path in root.iter(f"{SVG}path") if path.get("class")]
    wanted = [
        (source, name) for name, one in operations.items() for source in one.inputs if source in operations and source != name
    ]  # fmt: skip
    assert len(drawn) == len(wanted)
    crossing = [
        pair for pair in wanted if pair[0].startswith("forward") and not pair[1].startswith("forward")
    ]
    assert drawn.count("kept") == len(crossing) > 0


def test_a_layer_that_runs_twice_is_one_box_with_its_calls(traces):
    assert traces["mem-dfa"].operations["forward/2/convolution"].calls == 2
    assert "forward/2/convolution × 2" in graph_figure(traces["mem-dfa"])


def test_layers_are_described_and_texts_escaped():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    text = graph_figure(predicted(module, INFO, TrainingSpec(batch_size=4)), {"1": "<Linear & co>"})
    assert "1 &lt;Linear &amp; co&gt;" in text
    ElementTree.fromstring(text)


@pytest.mark.long
def test_nothing_overlaps_in_a_browser(tmp_path):
    with torch.device("meta"):
        module = network("wrn-10-0.5").build((1, 8, 8), 10)
    page = tmp_path / "graph.html"
    figure = graph_figure(predicted(module, INFO, TrainingSpec(batch_size=4)))
    page.write_text(f"<meta charset='utf-8'>{figure}")
    with browser() as running:
        opened = running.new_page()
        opened.goto(page.as_uri())
        found = opened.evaluate(
            """() => [...document.querySelectorAll('svg g')].map(g => {
                const inside = e => { const b = e.getBBox(); return [b.x, b.x + b.width, b.y, b.y + b.height] };
                return [g.querySelector('rect'), ...g.querySelectorAll('text')].map(inside) })"""
        )
    assert len(found) > 50
    for box, name, size in found:
        assert box[0] <= name[0] and name[1] <= size[0] and size[1] <= box[1], "the texts fit into their box"
    boxes = sorted(box for box, *_ in found)
    for one, other in itertools.pairwise(boxes):
        assert one[0] != other[0] or one[3] <= other[2], "boxes of a column lie below one another"
