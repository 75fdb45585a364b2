"""Sequences of different lengths: their sources, the splitter, normalization without padding, and votes."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_data import real_vowels
from torch.utils.data import TensorDataset

from sparsemod.data import Arrays, from_datasets, load
from sparsemod.data.normalization import fit
from sparsemod.data.padding import lengths_of_mask, padded
from sparsemod.data.windows import Splitter
from sparsemod.errors import DataMissing, InvalidInput
from sparsemod.spec.parts import DatasetSpec
from sparsemod.training.votes import voted

# -- the splitter ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("splitter", "length", "places"),
    [
        (Splitter(5, 5), 3, [(0, 3)]),
        (Splitter(5, 5), 5, [(0, 5)]),
        (Splitter(5, 5), 12, [(0, 5), (5, 5), (10, 2)]),
        (Splitter(5, 5, "drop"), 12, [(0, 5), (5, 5)]),
        (Splitter(5, 5, "overlap"), 12, [(0, 5), (5, 5), (7, 5)]),
        (Splitter(5, 2), 8, [(0, 5), (2, 5), (4, 4)]),
        (Splitter(5, 2, "overlap"), 8, [(0, 5), (2, 5), (3, 5)]),
        (Splitter(5, 3), 8, [(0, 5), (3, 5)]),
    ],
)
def test_places_of_windows(splitter: Splitter, length: int, places: list[tuple[int, int]]) -> None:
    assert splitter.places(length) == places


@given(
    length=st.integers(1, 60), max_len=st.integers(1, 20), stride=st.integers(1, 20), remainder=st.sampled_from(["pad", "overlap", "drop"]),
)  # fmt: skip
def test_windows_are_inside_and_cover_the_sequence(
    length: int, max_len: int, stride: int, remainder: Any
) -> None:
    stride = min(stride, max_len)
    places = Splitter(max_len, stride, remainder).places(length)
    assert places and all(
        start >= 0 and 1 <= count <= max_len and start + count <= length for start, count in places
    )
    covered = {step for start, count in places for step in range(start, start + count)}
    assert remainder == "drop" or covered == set(range(length))
    if remainder == "overlap" and length > max_len:
        assert {count for _, count in places} == {max_len}


@pytest.mark.parametrize("axis", [1, 2])
def test_windows_hold_the_steps_of_their_sequence(axis: int) -> None:
    steps = np.arange(1, 15, dtype=np.float32).reshape(2, 7)  # two sequences of one feature
    x = steps[:, :, None] if axis == 1 else steps[:, None, :]
    windows, lengths, sequence = Splitter(3, 3).cut(x, np.array([7, 2]), axis)
    assert lengths.tolist() == [3, 3, 1, 2] and sequence.tolist() == [0, 0, 0, 1]
    assert windows.reshape(4, 3).tolist() == [[1, 2, 3], [4, 5, 6], [7, 0, 0], [8, 9, 0]]
    assert windows.shape == ((4, 3, 1) if axis == 1 else (4, 1, 3))


# -- padding and normalization ---------------------------------------------------------------------------------------------------


def test_padding_does_not_count_in_the_normalization(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, 60)
    x = rng.normal(5.0, 2.0, (60, 8, 3))
    x[np.arange(8) >= lengths[:, None]] = 1e6
    own = np.concatenate([row[:length] for row, length in zip(x, lengths, strict=True)])
    constants = fit("standard", x, "time-features", lengths)
    assert constants.offset == pytest.approx(own.mean(axis=0)) and constants.scale == pytest.approx(
        own.std(axis=0)
    )
    first = fit("unit", x.transpose(0, 2, 1), "channels-length", lengths)
    assert first.offset == pytest.approx(own.min(axis=0))
    np.savez(tmp_path / "s.npz", x=x, y=np.arange(60) % 3, lengths=lengths)
    spec = DatasetSpec(name="npz", options={"path": str(tmp_path / "s.npz"), "layout": "time-features"})
    data = load(spec)
    assert data.info.sequences and data.info.shape == (8, 3)
    for split in (data.train, data.validation, data.test_split()):
        assert split.lengths is not None
        assert (split.x[np.arange(8) >= split.lengths[:, None]] == 0).all()
    windows = data.windowed(Splitter(4, 4))
    assert windows is data.windowed(Splitter(4, 4)) and windows.info.shape == (4, 3)
    # Windows of a sequence stay in its split, with its label.
    assert windows.train.sequences == len(data.train) and windows.train.sequence is not None
    assert (windows.train.y == data.train.y[windows.train.sequence]).all()
    assert windows.test_split().sequences == len(data.test_split())


def test_masks_are_lengths(tmp_path: Path) -> None:
    mask = np.arange(6) < np.arange(1, 7)[:, None]
    assert lengths_of_mask(mask, "mask").tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InvalidInput, match=r"mask\[0\] = .*valid steps first"):
        lengths_of_mask(np.array([[True, False, True]]), "mask")
    with pytest.raises(InvalidInput, match=r"mask = .*booleans"):
        lengths_of_mask(np.ones((2, 2, 2)), "mask")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"lengths": [0, 2]}, r"lengths = \[0, 2\]: 1 to 4, the steps of a sample"),
        ({"lengths": [1, 5]}, r"1 to 4"),
        ({"lengths": [1.5, 2.0]}, r"one integer for each of the 2 samples"),
        ({"lengths": [1, 2], "mask": [[1, 0, 0, 0]] * 2}, r"one of the two"),
        (
            {"lengths": [1, 2], "x_test": np.zeros((1, 3, 4)), "y_test": [0]},
            r"test_lengths = None: lengths for every split",
        ),
    ],
)
def test_mistakes_in_archives_are_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.zeros((2, 3, 4)), y=[0, 1], **arrays)
    options = {"path": str(tmp_path / "s.npz"), "layout": "channels-length"}
    with pytest.raises(InvalidInput, match=message):
        load(DatasetSpec(name="npz", options=options))


def test_lengths_are_for_sequences_only() -> None:
    with pytest.raises(InvalidInput, match=r"lengths = \(3, 4, 4\): only for sequences"):
        Arrays(np.zeros((2, 3, 4, 4)), np.array([0, 1]), lengths=np.array([1, 2]))
    data = load(DatasetSpec(name="digits"))
    with pytest.raises(InvalidInput, match=r"dataset\.splitter = \(1, 8, 8\): only for sequences"):
        data.windowed(Splitter(4, 4))


def test_padded_sequences_need_equal_features() -> None:
    x, lengths = padded([np.ones((2, 3)), np.ones((4, 3))], 0)
    assert x.shape == (2, 4, 3) and lengths.tolist() == [2, 4] and x[0, 2:].sum() == 0
    with pytest.raises(InvalidInput, match="the same features"):
        padded([np.ones((2, 3)), np.ones((4, 2))], 0)
    with pytest.raises(InvalidInput, match=r"x\[1\] = 0: at least one step"):
        padded([np.ones((2, 3)), np.ones((0, 3))], 0)


# -- votes -----------------------------------------------------------------------------------------------------------------------


def test_windows_vote_with_their_mean_probabilities() -> None:
    certain, other = [0.0, 8.0], [0.5, 0.0]
    outputs = np.array([certain, other, other, other], np.float32)
    answers, labels = voted(outputs, np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1]))
    assert labels.tolist() == [1, 0] and answers.argmax(axis=1).tolist() == [1, 0]
    softmax = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    assert np.exp(answers[0]) == pytest.approx(softmax[:3].mean(axis=0), rel=1e-5)
    same, own = voted(outputs, np.arange(4), None)
    assert same is outputs and own.tolist() == [0, 1, 2, 3]


# -- sources ---------------------------------------------------------------------------------------------------------------------


def write_sound(file: Path, values: np.ndarray, rate: int = 8000, width: int = 2) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(values.tobytes())


def of_folder(path: Path) -> DatasetSpec:
    return DatasetSpec(name="folder", options={"path": str(path)})


def test_a_folder_of_sounds(tmp_path: Path) -> None:
    for label, name in enumerate(("no", "yes")):
        for number in range(12):
            values = np.full(20 + number, (-1) ** label * 2**14, "<i2")
            write_sound(tmp_path / name / f"{number}.wav", values)
    data = load(DatasetSpec(name="folder", options={"path": str(tmp_path), "normalization": "unit"}))
    assert data.names == ("no", "yes") and data.info.shape == (1, 31) and data.info.sequences
    assert data.info.layout == "channels-length" and data.sizes == {"train": 16, "validation": 4, "test": 4}
    row = int(np.flatnonzero(data.train.y == 0)[0])
    assert data.train.lengths is not None and data.train.x[row, 0, 0] == 1.0
    assert data.train.x[row, 0, data.train.lengths[row] :].sum() == 0


def test_the_lists_of_speech_commands_are_the_splits(tmp_path: Path) -> None:
    for word in ("yes", "no", "up", "_background_noise_"):
        for number in range(4):
            write_sound(tmp_path / word / f"{number}.wav", np.full(8, 100 * number, "<i2"))
    (tmp_path / "validation_list.txt").write_text("yes/1.wav\nno/1.wav\nup/1.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/3.wav\nno/3.wav\nup/3.wav\n")
    options = {"path": str(tmp_path), "classes": "yes, no", "normalization": "none"}
    data = load(DatasetSpec(name="folder", options=options))
    assert data.names == ("no", "yes")
    found = [
        sorted(np.rint(part.x[:, 0, 0] * 2**15).tolist())
        for part in (data.train, data.validation, data.test_split())
    ]
    assert found == [[0, 0, 200, 200], [100, 100], [300, 300]]
    with pytest.raises(
        InvalidInput, match=r"dataset.options.classes = 'yes, down': at least two of no, up, yes"
    ):
        load(DatasetSpec(name="folder", options={**options, "classes": "yes, down"}))
    (tmp_path / "validation_list.txt").unlink()
    with pytest.raises(
        InvalidInput, match=r"'testing_list.txt': both validation_list.txt and testing_list.txt"
    ):
        load(DatasetSpec(name="folder", options=options))


def test_a_folder_of_tables_with_its_own_splits(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("test", 2)):
        for name in ("left", "right"):
            for number in range(count):
                file = tmp_path / split / name / f"{number}.csv"
                file.parent.mkdir(parents=True, exist_ok=True)
                lines = ["a,b", *(f"{step},{len(name)}" for step in range(3 + number % 2))]
                file.write_text("\n".join(lines) + "\n")
    data = load(of_folder(tmp_path))
    assert data.official_test and data.info.shape == (4, 2) and data.info.layout == "time-features"
    assert data.sizes["test"] == 4 and sorted(set(data.test_split().lengths.tolist())) == [3, 4]  # type: ignore[union-attr]


def test_a_folder_of_equally_long_sequences_has_no_lengths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(12):
            write_sound(tmp_path / name / f"{number}.wav", np.arange(10, dtype="<i2") * number)
    assert not load(of_folder(tmp_path)).info.sequences


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda at: write_sound(at / "a" / "x.wav", np.zeros(4, "<i2"), 16000), "one rate in all files"),
        (lambda at: (at / "a" / "x.wav").write_bytes(b"RIFF"), "a WAV file"),
        (lambda at: (at / "a" / "x.csv").write_text("1,2\n"), r"either \.csv or \.wav"),
        (lambda at: (at / "c").mkdir(), r"c.* = 0: at least one"),
        (lambda at: (at / "train").mkdir(), "beside train only"),
    ],
)
def test_mistakes_in_folders_are_named(prepare: Any, message: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(4):
            write_sound(tmp_path / name / f"{number}.wav", np.zeros(5 + number, "<i2"))
    prepare(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        load(of_folder(tmp_path))


def test_a_wrong_cell_names_its_file_and_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.csv").write_text("1,2\n3,4\n")
    (tmp_path / "b" / "2.csv").write_text("1,2\n3,four\n")
    with pytest.raises(InvalidInput, match=r"line = '3,four': 2 numbers.*2\.csv:2|2\.csv:2.*line = '3,four'"):
        load(of_folder(tmp_path))
    with pytest.raises(DataMissing, match="nothing"):
        load(of_folder(tmp_path / "nothing"))


def test_torch_datasets_keep_the_users_splits() -> None:
    def items(count: int) -> TensorDataset:
        return TensorDataset(torch.arange(count * 4.0).reshape(count, 4), torch.arange(count) % 2)

    arrays = from_datasets([items(6), items(4), items(2)])
    assert arrays.x.shape == (6, 4) and arrays.val_x is not None and len(arrays.val_x) == 4
    assert arrays.test_y is not None and arrays.test_y.tolist() == [0, 1] and arrays.lengths is None


def test_torch_datasets_of_sequences_are_padded_or_collated() -> None:
    class Words(torch.utils.data.Dataset[Any]):
        def __init__(self, lengths: list[int]) -> None:
            self.lengths = lengths

        def __len__(self) -> int:
            return len(self.lengths)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            return torch.ones(self.lengths[i], 3), i % 2

    arrays = from_datasets([Words([2, 5]), Words([7, 1])], layout="time-features")
    assert arrays.x.shape == (2, 7, 3) and arrays.lengths is not None and arrays.lengths.tolist() == [2, 5]
    assert arrays.test_lengths is not None and arrays.test_lengths.tolist() == [7, 1]

    def collate(batch: list[tuple[torch.Tensor, int]]) -> Any:
        x = torch.nn.utils.rnn.pad_sequence([x for x, _ in batch], batch_first=True)
        return x, torch.tensor([y for _, y in batch]), torch.tensor([len(x) for x, _ in batch])

    collated = from_datasets([Words([2, 5]), Words([7, 1])], layout="time-features", collate_fn=collate)
    assert (collated.x == arrays.x).all() and (collated.lengths == arrays.lengths).all()

    def pack(batch: list[tuple[torch.Tensor, int]]) -> Any:
        sequences, labels = zip(*batch, strict=True)
        return torch.nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False), torch.tensor(labels)

    packed = from_datasets([Words([2, 5]), Words([7, 1])], collate_fn=pack)
    assert (packed.x == arrays.x).all() and (packed.lengths == arrays.lengths).all()
    assert packed.test_lengths is not None and packed.test_lengths.tolist() == [7, 1]
    assert (packed.packed, packed.layout, arrays.packed) == (True, "time-features", False)
    with pytest.raises(InvalidInput, match=r"packed.*time-features"):
        from_datasets([Words([2, 5])], collate_fn=pack, layout="channels-length")
    with pytest.raises(InvalidInput, match="collate_fn = 'Tensor'"):
        from_datasets([Words([2])], collate_fn=lambda batch: torch.zeros(1), layout="time-features")
    with pytest.raises(InvalidInput, match=r"\[train, validation, test\]"):
        from_datasets([])


def test_the_japanese_vowels_have_their_published_counts() -> None:
    data = load(DatasetSpec(name="vowels", root=str(real_vowels())))
    assert data.info.shape == (29, 12) and data.info.classes == 9 and data.info.sequences
    assert data.sizes["test"] == 370 and data.sizes["train"] + data.sizes["validation"] == 270
    test = data.test_split()
    assert test.lengths is not None and (test.lengths.min(), test.lengths.max()) == (7, 29)
    assert np.bincount(test.y).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]


def test_missing_vowels_name_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"ae\.train"):
        load(DatasetSpec(name="vowels", root=str(tmp_path)))
