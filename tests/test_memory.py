"""The folder of ``memory=``: every form of it, and every place where it cannot be."""

import os
import warnings
from pathlib import Path

import joblib
import pytest

from sklfusion._memory import is_there, memory_folder, require_folder, warn_about
from sklfusion.exceptions import CacheError, CacheWarning


@pytest.mark.parametrize("form", [str, Path, joblib.Memory, lambda p: joblib.Memory(str(p))])
def test_every_form_means_the_same_folder(form, tmp_path):
    """And nothing is made by looking."""
    folder = tmp_path / "store"
    assert memory_folder(form(folder)) == folder
    if form in (str, Path):
        assert not folder.exists()


def test_a_folder_is_absolute_and_home_is_found(tmp_path, monkeypatch):
    """So that a change of the working folder loses nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert memory_folder("kept") == tmp_path / "kept"
    assert memory_folder("~/kept") == tmp_path / "home" / "kept"


def test_nothing_is_kept_where_nothing_is_said():
    """None, and a joblib.Memory without a location."""
    assert memory_folder(None) is None
    assert memory_folder(joblib.Memory(None)) is None


@pytest.mark.parametrize("value", [3, True, ["a"], {"location": "a"}, b"folder"])
def test_what_is_no_place_is_refused(value):
    """The message names the type and what would do."""
    with pytest.raises(TypeError, match=rf"memory is {type(value).__name__}; .*joblib.Memory"):
        memory_folder(value)


@pytest.mark.parametrize("name", ["a\0b", "~nobody-of-this-name/x"])
def test_names_that_no_folder_has_are_refused(name):
    """Before the operating system says so in other words."""
    with pytest.raises(CacheError, match=r"[Pp]ass"):
        memory_folder(name)


def test_a_folder_is_there_or_not(tmp_path):
    """A file is something, and no folder."""
    file = tmp_path / "file"
    file.write_text("x")
    assert is_there(file)
    assert require_folder(tmp_path)
    assert not require_folder(tmp_path / "missing")
    with pytest.raises(CacheError, match="is a file"):
        require_folder(file)


def test_paths_that_lead_nowhere_are_told_apart(tmp_path):
    """A dangling link, a loop, a file above, a name too long."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, message in [
        (tmp_path / "dangling", "a link to .*gone, which does not exist"),
        (tmp_path / "loop", "Pass another"),
        (tmp_path / "file" / "below", "above which is a file"),
        (tmp_path / ("n" * 300), "Pass another"),
    ]:
        with pytest.raises(CacheError, match=message) as caught:
            is_there(path)
        assert len(str(caught.value)) < 700


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_who_else_may_write_is_told(tmp_path):
    """A folder of one's own says nothing; one that a group may write to says what to type."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about(folder, folder / "file", "paid answers")
    folder.chmod(0o770)
    with pytest.warns(CacheWarning, match=rf"Other users may write.*chmod 700 {folder}"):
        warn_about(folder, folder / "file", "paid answers")
