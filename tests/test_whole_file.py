"""A file is there whole or not at all, and nothing else is left."""

import pytest

from portanet.runtime.whole_file import drafted


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("old")
    return path


def test_a_reader_sees_the_old_until_all_of_the_new_is_there(path):
    with drafted(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_the_old(path, error, private):
    with pytest.raises(error), drafted(path, private) as draft:
        draft.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_without_a_folder_the_error_tells_it(tmp_path):
    with pytest.raises(FileNotFoundError), drafted(tmp_path / "none" / "settings.json") as draft:
        draft.write_text("new")


def test_only_a_private_file_is_for_this_user_alone(tmp_path):
    usual, public, private = (tmp_path / name for name in ("usual", "public", "private"))
    usual.touch()
    for path in (public, private):
        with drafted(path, private=path is private) as draft:
            draft.write_text("new")
    assert public.stat().st_mode == usual.stat().st_mode
    assert private.stat().st_mode & 0o777 == 0o600
