import io
import stat
import struct
import zipfile

import pytest

from models.dataset import Pack
from models.errors import DurianError, InvalidInput, TooLarge, UnsupportedMedia
from models.formats import archive, read_pack
from tests.media import clip, png, tone, zipped

CAT, DOG, OWL = (png(seed=seed) for seed in range(3))


def read(data: bytes, **more: str | None) -> Pack:
    return read_pack("train.zip", data, **{"modality": None, "task": None, **more})


def error(data: bytes, **more: str | None) -> DurianError:
    with pytest.raises(DurianError) as caught:
        read(data, **more)
    return caught.value


@pytest.mark.parametrize("prefix", ["", "pets/", "my/pets/"])
def test_folders_are_labels(prefix):
    pack = read(
        zipped({f"{prefix}cat/1.png": CAT, f"{prefix}dog/1.PNG": DOG, f"{prefix}unlabelled/1.png": OWL})
    )
    assert pack.input.modality == "image"
    assert pack.contents == (CAT, DOG, OWL)
    assert pack.labels == ("cat", "dog", None)


def test_a_single_folder_is_a_label():
    assert read(zipped({"cat/1.png": CAT, "cat/2.png": DOG})).labels == ("cat", "cat")


def test_folders_of_digits_are_classes_and_numbers_when_told():
    data = zipped({"0/1.png": CAT, "1.5/1.png": DOG})
    assert read(data).labels == ("0", "1.5")
    assert read(data, task="regression").labels == (0.0, 1.5)


def test_sounds_and_texts():
    assert read(zipped({"a/1.wav": clip(tone())})).input.modality == "audio"
    text = read(zipped({"a/1.txt": b"\xef\xbb\xbfhello", "b/2.txt": "bye"}))
    assert text.contents == (b"hello", b"bye")


def test_what_operating_systems_leave_is_ignored():
    junk = {"__MACOSX/cat/._1.png": b"x", "cat/.DS_Store": b"x", "cat/Thumbs.db": b"x", "cat/._1.png": b"x"}
    assert len(read(zipped({"cat/1.png": CAT, **junk}))) == 1


@pytest.mark.parametrize("prefix", ["", "set/"])
def test_a_labels_table(prefix):
    table = "file,label\nb.png,dog\nmore/a.png,cat\n"
    pack = read(
        zipped(
            {
                f"{prefix}labels.csv": table,
                f"{prefix}more/a.png": CAT,
                f"{prefix}b.png": DOG,
                f"{prefix}c.png": OWL,
            }
        )
    )
    assert pack.labels == ("cat", "dog", None)


def test_a_labels_table_of_numbers_and_of_lists():
    files = {"a.png": CAT, "b.png": DOG}
    numbers = zipped({"labels.csv": "file,label\na.png,1.5\nb.png,2\n", **files})
    assert read(numbers).labels == (1.5, 2.0)
    lists = zipped({"labels.csv": "file,label\na.png,furry|cat\nb.png,\n", **files})
    assert read(lists, task="multilabel").labels == (["cat", "furry"], None)


@pytest.mark.parametrize(
    ("table", "code", "param"),
    [
        ("name,label\na.png,x\n", "wrong_columns", "file"),
        ("", "wrong_columns", "file"),
        ("file,label\na.png,x\nz.png,x\n", "missing_file", "labels.csv line 3"),
        ("file,label\na.png,x\na.png,x\n", "repeated_file", "labels.csv line 3"),
        ("file,label\na.png,1\nb.png,nan\n", "bad_label", "b.png"),
        ("file,label\na.png\n", "bad_csv", "labels.csv line 2"),
    ],
)
def test_a_bad_labels_table(table, code, param):
    refused = error(zipped({"labels.csv": table, "a.png": CAT, "b.png": DOG}))
    assert (refused.code, refused.param) == (code, param)


@pytest.mark.parametrize("names", [["1.png"], ["a/b/1.png", "c/1.png"]])
def test_other_layouts_say_what_is_expected(names):
    refused = error(zipped({name: png(seed=i) for i, name in enumerate(names)}))
    assert refused.code == "archive_layout"
    assert "label/file.ext" in refused.message


@pytest.mark.parametrize(
    "name",
    [
        "../cat/1.png",
        "cat/../../1.png",
        "/cat/1.png",
        "C:/cat/1.png",
        "C:cat.png",
        "cat\\1.png",
        "..",
        "a/..",
        "\\\\h\\1",
    ],
)
def test_paths_that_leave_the_archive(name):
    refused = error(zipped({"cat/0.png": CAT, name: DOG}))
    assert (refused.code, refused.param) == ("archive_path", "member 2")
    assert name not in refused.message


def test_names_with_nul():
    data = zipped({"cat/1.png": CAT, "dog/1?png": DOG}).replace(b"dog/1?png", b"dog/1\0png")
    assert error(data).code == "archive_path"


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(mode):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        entry = zipfile.ZipInfo("cat/1.png")
        entry.external_attr = (mode | 0o777) << 16
        bundle.writestr(entry, b"/etc/passwd")
    assert error(buffer.getvalue()).code == "archive_link"


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_rare_compressions(compression):
    assert error(zipped({"cat/1.png": CAT}, compression)).code == "archive_unsupported"


def test_encrypted_members():
    data = bytearray(zipped({"cat/1.png": CAT}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert error(bytes(data)).code == "archive_unsupported"


def test_two_members_of_one_name():
    data = zipped({"cat/1.png": CAT, "cat/2.png": DOG}).replace(b"cat/2.png", b"cat/1.png")
    assert error(data).code == "archive_unsupported"


def test_members_that_overlap():
    data = bytearray(zipped({"cat/1.png": CAT, "cat/2.png": DOG}))
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, second + 42, 0)
    assert error(bytes(data)).code == "archive_unsupported"


@pytest.mark.parametrize("inner", [zipped({"a": b"x"}), b"\x1f\x8b\x08", b"%PDF", b""])
def test_nested_archives_and_other_files(inner):
    assert error(zipped({"cat/1.zip": inner})).code == "archive_unsupported"
    assert isinstance(error(zipped({"cat/1.exe": inner})), UnsupportedMedia)
    assert isinstance(error(zipped({"cat/1.png": inner})), InvalidInput)


def test_a_bomb_is_refused_uninflated():
    refused = error(zipped({"cat/1.png": CAT, "cat/2.png": bytes(20_000_000)}))
    assert isinstance(refused, TooLarge)
    assert (refused.code, refused.param) == ("archive_too_large", "cat/2.png")


@pytest.mark.parametrize(("size", "code"), [(10, "undecodable"), (10**9, "archive_too_large")])
def test_a_size_that_lies(size, code):
    data = bytearray(zipped({"cat/1.png": CAT}))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, size)
    assert error(bytes(data)).code == code


def test_limits_of_members_and_of_bytes(monkeypatch):
    data = zipped({"cat/1.png": CAT, "cat/2.png": DOG, "cat/3.png": OWL})
    monkeypatch.setattr(archive, "MAX_BYTES", 2 * len(CAT))
    assert error(data).code == "archive_too_large"
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    assert error(data).code == "too_many_members"


@pytest.mark.parametrize("data", [zipped({}), zipped({"cat/": b""}), zipped({"__MACOSX/x": b"x"})])
def test_an_archive_without_files_is_empty(data):
    assert error(data).code == "empty_file"


def test_truncated_and_changed_archives_are_undecodable():
    data = zipped({"cat/1.png": CAT, "dog/2.png": DOG})
    assert error(data[:-20]).code == "undecodable"
    changed = bytearray(data)
    changed[60] ^= 0xFF
    assert error(bytes(changed)).code == "undecodable"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("dog/2.png", CAT[:60], "undecodable"),
        ("dog/2.png", b"", "unsupported_media"),
        ("dog/2.wav", clip(tone()), "unsupported_media"),
        ("dog/2.exe", b"MZ", "unsupported_media"),
    ],
)
def test_a_bad_member_is_named(name, content, code):
    refused = error(zipped({"cat/1.png": CAT, name: content}))
    assert (refused.code, refused.param) == (code, name)


def test_unprintable_names_are_numbered():
    assert error(zipped({"cat/1.png": CAT, "dog/\x1b[2J.png": b"x"})).param == "member 2"
