"""Report cards and the fit on devices."""

import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_export import Every, Wide, contents, measurement, quantized

from sparsemod.delivery.card import PLOT
from sparsemod.delivery.card_content import _usage
from sparsemod.delivery.card_plot import blocks, memory_plot
from sparsemod.delivery.deliver import CARD, PAGE, REPORTS, Delivered, Subject, deliver
from sparsemod.delivery.needs import check_fit, fit, fits, need
from sparsemod.errors import DoesNotFit, UnknownName
from sparsemod.export import EXPORTERS
from sparsemod.export.c import plan
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import Device, device, device_names

TINY = Device(
    name="tiny", title="A tiny chip", core="cortex-m4", clock=1_000_000, flash=4096, ram=512, cycles_per_instruction=2.0, source="none"
)  # fmt: skip


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Delivered]:
    folder = tmp_path_factory.mktemp("delivered")
    rng = np.random.default_rng(0)
    subject = Subject(
        quantized(Every), "digits | <trial> 3", parameters={"blocks": 2, "learning_rate": 0.00123},
        measurements=[measurement(0.05), measurement(0.07).model_copy(update={"split": "test"})],
        samples=rng.normal(size=(40, 1, 8, 8)).astype(np.float32), labels=rng.integers(0, 10, 40), data="noise",
    )  # fmt: skip
    return folder, deliver(subject, folder, ["c", "onnx", "tflite"], target="stm32f446")


class _Balanced(HTMLParser):
    """Counts open elements, and what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)
        self.loads += [
            str(v) for k, v in attrs if k in ("src", "href", "xlink:href") and not str(v).startswith("#")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_card_is_complete(delivered: tuple[Path, Delivered]) -> None:
    folder, done = delivered
    assert Delivered.model_validate_json((folder / REPORTS).read_text()) == done and not done.failed
    assert set(done.fit) == set(device_names()) and next(iter(done.fit)) == "stm32f446"
    card = (folder / CARD).read_text()
    assert card.startswith("# digits \\| \\<trial> 3\n")
    assert "**93.00 %**" in card and "**95.00 %**" in card and "test ± 1.00" in card
    for name in device_names():
        assert device(name).title in card
    network = quantized(Every)
    for info in network.layers_info():
        assert f"| {info.name} | {info.kind.replace('_', ' ')} |" in card
    assert f"{sum(info.macs for info in network.layers_info()):,}" in card
    assert "| learning_rate | 0.00123 |" in card
    assert "equal" in card and "onnxruntime" in card and "LiteRT" in card and "TensorFlow Lite Micro" in card
    for text in ("make -C c", "onnxruntime.InferenceSession", "xxd -i"):
        assert text in card
    assert not re.search(r"\n\n\n", card)


def test_a_page_is_self_contained(delivered: tuple[Path, Delivered]) -> None:
    folder, _ = delivered
    page = (folder / PAGE).read_text()
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == [] and parser.loads == []
    assert "<svg" in page and "digits | &lt;trial&gt; 3" in page and "<trial>" not in page
    assert (folder / PLOT).read_bytes().startswith(b"\x89PNG")
    width, height = struct.unpack(">II", (folder / PLOT).read_bytes()[16:24])
    assert width > 900 and height > 400


@pytest.mark.parametrize("shape", [(1, 8, 8), (64,)])
def test_a_name_is_never_searched_for_placeholders(shape: tuple[int, ...]) -> None:
    """The usage of every format is the same for every name, whatever words the name holds."""
    network = quantized(Every) if len(shape) == 3 else quantized(lambda: Wide(4), shape)
    words = ["name", "upper", "input", "last", "scale", "zero", "samples", "result", "raw", "scores", "shape"]
    for wanted in EXPORTERS.names():
        plain = _usage(network, wanted, "qqq")
        assert "qqq" in plain and "{{" not in plain
        for name in (f"{word}_x" for word in words):
            assert _usage(network, wanted, name) == plain.replace("qqq", name).replace("QQQ", name.upper())


def test_a_format_without_a_usage_has_no_section_for_it() -> None:
    assert _usage(quantized(Every), "unheard_of", "qqq") == ""


def test_no_text_of_a_card_is_markup(tmp_path: Path) -> None:
    given = "a*b* `c` [d](e) <img src=x> | {{ name }}\nf"
    network = replace(quantized(lambda: Wide(4)), classes=tuple(f"{i} {given}" for i in range(10)))
    subject = Subject(network, given, subtitle=given, parameters={given: given}, note=given)
    deliver(subject, tmp_path, ["onnx"], target="stm32f446")
    shown = r"a\*b\* \`c\` \[d\](e) \<img src=x> \| {{ name }} f"
    card = (tmp_path / CARD).read_text()
    assert card.startswith(f"# {shown}\n\n{shown}\n") and f"| {shown} | {shown} |" in card
    assert card.count(shown) == 5 + 10 and card.count("<img") == card.count(r"\<img")
    parser = _Balanced()
    parser.feed((tmp_path / PAGE).read_text())
    assert parser.open == [] and parser.loads == []


def test_equal_networks_give_equal_cards(delivered: tuple[Path, Delivered]) -> None:
    arena = plan(quantized(Every))
    for kind in ("svg", "png"):
        assert memory_plot(arena, kind) == memory_plot(plan(quantized(Every)), kind)


def test_the_plot_matches_the_plan() -> None:
    arena = plan(quantized(Every))
    found = blocks(arena)
    for step, (_, alive) in enumerate(arena.timeline):
        here = [block for block in found if block.first <= step <= block.last]
        assert max(block.offset + block.size for block in here) <= arena.size
        for one in here:
            for other in here:
                apart = one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
                overlap = arena.plan.timeline[step].overlap
                overwritten = overlap is not None and overlap.name in (one.name, other.name)
                assert one is other or apart or overwritten, (one, other)
        shared = 0 if overlap is None else arena.layout.problem.sizes[overlap.name]
        assert sum(block.size for block in here) <= alive + shared


def test_a_network_on_its_devices() -> None:
    network = quantized(lambda: Wide(100))
    found = need(network, "cortex-m4")
    assert found.measured and found.flash > 100 * 74 and found.instructions and found.instructions > 7400
    good, bad = fits(network, [device("stm32f446"), TINY])
    assert good.fits and good.milliseconds == pytest.approx(found.instructions * 1.25 / 180e6 * 1000)
    check_fit(good)
    assert bad.over == {"flash": found.flash - 4096}
    with pytest.raises(DoesNotFit) as over:
        check_fit(bad)
    assert (over.value.region, over.value.over) == ("flash", found.flash - 4096)
    assert "A tiny chip (tiny): flash is exceeded by" in str(over.value)
    roomy = TINY.model_copy(update={"flash": 1 << 20, "ram": 16})
    with pytest.raises(DoesNotFit, match=f"RAM is exceeded by {found.ram - 16} bytes"):
        check_fit(fit(found, roomy))


def test_without_the_tools_the_bounds_are_called_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "no emulated device: qemu-system-arm missing; apt-get install qemu-system-arm"
    monkeypatch.setattr("sparsemod.emulator.available", lambda core: words)
    found = need(quantized(Every), "cortex-m4")
    assert not found.measured and found.instructions is None and words in found.method
    assert found.ram == plan(quantized(Every), "cortex-m4").size > plan(quantized(Every)).size


def test_a_format_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    done = deliver(Subject(quantized(lambda: Wide(100)), "w"), tmp_path, ["c", "onnx", "tflite"], target=TINY)
    assert [report.format for report in done.failed] == ["c", "tflite"]
    assert done.failed[0].detail == {
        "type": "DoesNotFit",
        "region": "flash",
        "over": done.fit["tiny"]["flash"],
    }
    assert not (tmp_path / "c").exists() and (tmp_path / "onnx" / "network.onnx").is_file()
    card = (tmp_path / CARD).read_text()
    assert "no: exceeds flash by" in card and "no: does not fit A tiny chip" in card
    assert "How to use it: onnx" in card and "How to use it: c\n" not in card
    assert not [path for path in contents(tmp_path) if path.startswith("tflite/")]


def test_a_library_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("sparsemod.export.onnx.exporter._session", broken)
    done = deliver(Subject(quantized(lambda: Wide(4)), "w"), tmp_path, ["onnx"], target="stm32f446")
    assert done.reports[0].failure == "RuntimeError: out of luck"


def test_unknown_names(tmp_path: Path) -> None:
    subject = Subject(quantized(lambda: Wide(4)), "w")
    with pytest.raises(UnknownName, match="hex"):
        deliver(subject, tmp_path, ["hex"], target="stm32f446")
    with pytest.raises(UnknownName, match="toaster"):
        deliver(subject, tmp_path, ["c"], target="toaster")


def test_data_that_are_not_here_are_not_pretended(tmp_path: Path) -> None:
    network = quantized(lambda: Wide(4)).to_bytes()
    spec = ExperimentSpec.parse({"dataset": {"name": "digits"}, "network": {"family": "mlp"}})
    assert Subject.of(spec, network, "t").data == "the 270 validation samples of digits"
    away = ExperimentSpec.parse(
        {"dataset": {"name": "mnist", "root": str(tmp_path)}, "network": {"family": "mlp"}}
    )
    subject = Subject.of(away, network, "t")
    assert subject.samples is None and "random inputs only" in subject.note
    done = deliver(subject, tmp_path / "out", ["onnx"], target="stm32f446")
    assert done.reports[0].verifications[0].data == "random inputs"
    assert done.reports[0].verifications[0].error is None
