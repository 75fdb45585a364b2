"""The binary version of CIFAR-10 and CIFAR-100 (Krizhevsky): colour images of 32 x 32.

A record is one or two label bytes, of which the last one counts, and 3,072 pixel bytes: red, green, blue, each 32 rows of 32.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.download import PARTIAL, RemoteFile, fetch
from sparsemod.data.places import data_root, find
from sparsemod.errors import DataMissing, InvalidInput
from sparsemod.files import NewFile

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class CifarFiles:
    """The files of a dataset: `train` and `test` by name, the folder inside the archive, label bytes, names of the classes."""

    name: str
    train: tuple[str, ...]
    test: str
    inside: str
    archive: RemoteFile
    labels: int
    classes: tuple[str, ...]

    def read(self, root: Path | None) -> Arrays:
        """Return the images and classes of the files.

        Looks in `root/NAME`, in the archive's folder below `root/NAME` and below `root`, and in `root`; downloads the archive if a
        file is missing. Raises DataMissing, DigestMismatch (downloads only), InvalidInput for files without such records.
        """
        base = data_root(root)
        paths = self._local(base)
        absent = [name for name, path in zip((*self.train, self.test), paths, strict=True) if path is None]
        if absent:
            try:
                self._download(base)
            except DataMissing as error:
                folder = next((path.parent for path in paths if path is not None), None)
                if folder is None:
                    raise
                hint = f"the other files are there; their archive {error.hint}"
                raise DataMissing(self.name, absent, str(folder), hint) from error
            paths = self._local(base)
        parts = [self.records(path) for path in paths if path is not None]
        train_x = np.concatenate([x for x, _ in parts[:-1]])
        train_y = np.concatenate([y for _, y in parts[:-1]])
        return Arrays(train_x, train_y, *parts[-1], classes=len(self.classes), names=self.classes)

    def records(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read images (N, 3, 32, 32) and labels (N,) from one file. Raises InvalidInput, which names the file."""
        content, size = np.fromfile(path, dtype=np.uint8), self.labels + _PIXELS
        if len(content) == 0 or len(content) % size:
            raise InvalidInput(
                str(path), len(content), f"its size must be a positive multiple of {size} bytes (one record)"
            )
        records = content.reshape(-1, size)
        labels = records[:, self.labels - 1]
        if int(labels.max()) >= len(self.classes):
            place = "first" if self.labels == 1 else "second"
            allowed = f"the {place} byte of each record is a label 0..{len(self.classes) - 1}"
            raise InvalidInput(str(path), int(labels.max()), allowed)
        return records[:, self.labels :].reshape(-1, 3, 32, 32), labels.astype(np.int64)

    def _local(self, base: Path) -> list[Path | None]:
        folders = (self.name, f"{self.name}/{self.inside}", self.inside)
        return [find(base, folders, [name]) for name in (*self.train, self.test)]

    def _download(self, base: Path) -> None:
        place = base / self.name
        (archive,) = fetch(self.name, [self.archive], place)
        wanted = {*self.train, self.test}
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if name in wanted else None
                if content is None:
                    continue
                with NewFile(place / name, suffix=PARTIAL) as out:
                    out.write(content.read())
                    out.place()
                wanted.discard(name)
        if wanted:
            raise InvalidInput(str(archive), sorted(wanted), "the archive must hold these files")
        archive.unlink()
