"""Where the files of a data set lie: in the folder given or configured, or in a subfolder named after the set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import DataFileError

Layout = Sequence[tuple[str, ...]]  # for each file of the set, the names it may have
ADVICE = "set PORTANET_DATA to the folder that holds the data, or pass the folder"


def data_folder(argument: str | os.PathLike[str] | None, looked_for: str) -> Path:
    """The folder to search: the argument, else the ``data_dir`` of the configuration.

    Parameters
    ----------
    argument : path-like or None
        As the user gave it.
    looked_for : str
        The data set's name, for the error message.

    Raises
    ------
    DataFileError
        When no folder is given or configured, or it does not exist.
    """
    from ..runtime import config

    folder = config.get("data_dir") if argument is None else Path(argument).expanduser()
    if folder is None:
        raise DataFileError(looked_for, f"no data folder is given or configured; {ADVICE}")
    if not folder.is_dir():
        raise DataFileError(folder, f"not a folder, so no {looked_for} in it; {ADVICE}")
    return folder


def locate(folder: Path, subfolders: Sequence[str], layouts: Mapping[str, Layout], looked_for: str
           ) -> tuple[str, list[Path]]:  # fmt: skip
    """The first complete set of files in a folder or its subfolders.

    Parameters
    ----------
    folder : Path
        Searched itself, then its `subfolders` in their order.
    layouts : dict of str to layout
        The ways in which the set is published: for each of its files the names that it may have.
    looked_for : str
        The data set's name, for the error message.

    Returns
    -------
    layout : str
        The key of the complete layout.
    paths : list of Path
        One for each file, in the layout's order.

    Raises
    ------
    DataFileError
        When no place has all files: it says which ones are missing from the fullest place, or lists the places.
    """
    places = [folder, *(folder / name for name in subfolders)]
    fullest, missing = folder, []
    most = 0
    for place in places:
        for layout, files in layouts.items():
            found = [_first(place, names) for names in files]
            paths = [path for path in found if path is not None]
            if len(paths) == len(files):
                return layout, paths
            if len(paths) > most:
                most, fullest = len(paths), place
                missing = [names[0] for names, path in zip(files, found, strict=True) if path is None]
    if missing:
        raise DataFileError(fullest, f"{looked_for} is incomplete: {', '.join(missing)} missing; {ADVICE}")
    wanted = " or ".join(", ".join(names[0] for names in files) for files in layouts.values())
    raise DataFileError(
        folder, f"no {looked_for} files; looked in {', '.join(map(str, places))} for {wanted}; {ADVICE}"
    )


def _first(place: Path, names: Sequence[str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_file()), None)
