import struct
from pathlib import Path

import numpy as np
import pytest

from models.backbone import Subwords, TextPreprocess
from models.errors import Conflict, InvalidInput, TooLarge
from models.modalities.subwords import expand, fnv, ngrams
from models.runtime import Backbone
from training.backbones.vectors import add, read
from training.backbones.vectors.graph import A

WORDS = {"the": [1.0, 0.0], "horse": [0.0, 2.0], "eats": [-1.0, 4.0]}
TEXT = "the 1 0\nhorse 0 2\neats -1 4\n"
HARMONIC = 1 + 1 / 2 + 1 / 3


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def word2vec_bin(newlines: bool) -> bytes:
    rows = (word.encode() + b" " + struct.pack("<2f", *row) for word, row in WORDS.items())
    return b"3 2\n" + b"".join(row + b"\n" * newlines for row in rows)


FT_WORDS = [("</s>", 10), ("the", 60), ("horse", 30)]
BUCKETS = 5
FT_MATRIX = np.arange((len(FT_WORDS) + BUCKETS) * 2, dtype="<f4").reshape(-1, 2) ** 2


def fasttext_bin(
    version: int = 12, quantised: bool = False, pruned: int = -1, longest: int = 4, buckets: int = BUCKETS
) -> bytes:
    """dim 2, skip-gram, n-grams of 3 to `longest`; a label after the words."""
    head = struct.pack("<2i", 793712314, version)
    head += struct.pack("<12id", 2, 5, 5, 1, 5, 1, 2, 2, buckets, 3, longest, 100, 1e-4)
    head += struct.pack("<3i2q", len(FT_WORDS) + 1, len(FT_WORDS), 1, 100, pruned)
    for word, count in FT_WORDS:
        head += word.encode() + b"\0" + struct.pack("<qb", count, 0)
    head += b"__label__x\0" + struct.pack("<qb", 7, 1)
    return head + struct.pack("<?2q", quantised, *FT_MATRIX.shape) + FT_MATRIX.tobytes()


def backbone(root: Path, file: Path, name: str = "mine", **options) -> Backbone:
    card = add(name, weights=file, root=root, emit=lambda line: None, **options)
    return Backbone(root / card.id)


def embed(found: Backbone, *texts: str) -> dict[str, np.ndarray]:
    return found.embed([text.encode() for text in texts], ["mean", "mean_stat", "sif"])


def sif(probability: float) -> float:
    return A / (A + probability)


FORMATS = {
    "word2vec.txt": f"3 2\n{TEXT}",
    "glove.txt": TEXT,
    "fasttext.vec": f"3 2\n{TEXT}".replace("\n", " \n"),
    "word2vec.bin": word2vec_bin(newlines=False),
    "lines.bin": word2vec_bin(newlines=True),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_words(tmp_path, name):
    vectors = read(write(tmp_path, name, FORMATS[name]))
    assert vectors.words == tuple(WORDS)
    assert vectors.rows.tolist() == list(WORDS.values())
    assert vectors.total == 3


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_first_words_are_kept(tmp_path, name):
    vectors = read(write(tmp_path, name, FORMATS[name]), most=2)
    assert vectors.words == ("the", "horse")
    assert vectors.total == 3


def test_a_glove_word_may_hold_spaces(tmp_path):
    assert read(write(tmp_path, "glove.txt", "a 1 2\n. . . 3 4\n")).words == ("a", ". . .")


def test_mean_and_sif_by_hand(tmp_path):
    found = backbone(tmp_path, write(tmp_path, "v.txt", TEXT))
    got = embed(found, "the horse eats", "the the")
    assert got["mean"] == pytest.approx(np.array([[0, 2], [1, 0]]))
    spread = [np.std([1, 0, -1]), np.std([0, 2, 4])]
    assert got["mean_stat"] == pytest.approx(np.array([[0, 2, *spread], [1, 0, 0, 0]]), rel=1e-5)
    the, horse, eats = (sif(1 / (rank * HARMONIC)) for rank in (1, 2, 3))
    expected = [[(the - eats) / 3, (2 * horse + 4 * eats) / 3], [the, 0]]
    assert got["sif"] == pytest.approx(np.array(expected), rel=1e-5)
    assert found.card.default_tap == "sif"


def test_frequencies_replace_zipf(tmp_path):
    counts = write(tmp_path, "counts.txt", "the 75\nother 25\n")
    found = backbone(tmp_path, write(tmp_path, "v.txt", TEXT), frequencies=counts)
    got = embed(found, "the", "horse")["sif"]
    assert got == pytest.approx(np.array([[sif(0.75), 0], [0, 2]]), rel=1e-5)  # never counted: weight 1


def test_unknown_words_do_not_dilute(tmp_path):
    found = backbone(tmp_path, write(tmp_path, "v.txt", TEXT))
    for tap in ("mean", "mean_stat", "sif"):
        got = embed(found, "the horse", "the zebra, horse", "<unknown word>")[tap]
        assert got[1] == pytest.approx(got[0])
        assert not got[2].any()


@pytest.mark.parametrize(("content", "same"), [(TEXT, True), (TEXT + "Paris 5 5\n", False)])
def test_case_is_folded_where_the_vocabulary_has_none(tmp_path, content, same):
    found = backbone(tmp_path, write(tmp_path, "v.txt", content))
    assert (embed(found, "HORSE")["mean"].tolist() == [[0, 2]]) is same


def test_the_batch_does_not_matter(tmp_path):
    found = backbone(tmp_path, write(tmp_path, "ft.bin", fasttext_bin()))
    texts = ["the", "a horse, the horse and thehorse", "unseen"]
    together = embed(found, *texts)
    for index, text in enumerate(texts):
        for tap, rows in embed(found, text).items():
            assert rows[0] == pytest.approx(together[tap][index], rel=1e-5)


def test_fnv_has_the_published_values():
    assert fnv(b"") == 0x811C9DC5
    assert fnv(b"a") == 0xE40C292C
    assert fnv(b"foobar") == 0xBF9CF968


def test_fasttext_takes_high_bytes_as_signed():
    assert fnv(b"\xc3") == (((0x811C9DC5 ^ 0xFFFFFFC3) * 16777619) & 0xFFFFFFFF)


def test_ngrams_of_a_word():
    expected = ["<é", "<éa", "éa", "éa>", "a>"]
    assert ngrams("éa", 2, 3) == [fnv(gram.encode()) for gram in expected]
    assert ngrams("é", 1, 1) == [fnv("é".encode())]  # the brackets alone are no n-grams


def test_pieces_share_the_weight_of_a_word():
    how = Subwords(shortest=3, longest=3, first=4, buckets=5)
    pieces = [4 + fnv(gram) % 5 for gram in (b"<ab", b"ab>")]
    assert expand([(2, "the"), (0, "ab"), (3, "eats")], how, 9) == [2, *(p + 9 for p in pieces), 3]
    assert expand([(2, "the"), (0, "ab"), (3, "eats")], how, 2) == [2]
    assert expand([(0, "x" * 65), (0, "")], how, 9) == [0, 0]


def mean_of(word: str, *own: int) -> np.ndarray:
    rows = [*own, *(len(FT_WORDS) + value % BUCKETS for value in ngrams(word, 3, 4))]
    return FT_MATRIX[rows].mean(axis=0)


def test_fasttext_words_are_means_of_themselves_and_their_ngrams(tmp_path):
    vectors = read(write(tmp_path, "ft.bin", fasttext_bin()))
    assert vectors.words == ("</s>", "the", "horse")
    assert vectors.rows == pytest.approx(np.array([FT_MATRIX[0], mean_of("the", 1), mean_of("horse", 2)]))
    assert vectors.probabilities == pytest.approx([0.1, 0.6, 0.3])


def test_an_unseen_word_has_the_mean_of_its_ngrams(tmp_path):
    found = backbone(tmp_path, write(tmp_path, "ft.bin", fasttext_bin()))
    got = embed(found, "Horses", "the horses")
    assert got["mean"][0] == pytest.approx(mean_of("horses"), rel=1e-5)
    assert got["mean"][1] == pytest.approx((mean_of("the", 1) + mean_of("horses")) / 2, rel=1e-5)
    assert got["sif"][1] == pytest.approx((sif(0.6) * mean_of("the", 1) + mean_of("horses")) / 2, rel=1e-5)


def test_fasttext_without_ngrams_knows_no_unseen_word(tmp_path):
    found = backbone(tmp_path, write(tmp_path, "ft.bin", fasttext_bin(longest=0)))
    assert embed(found, "horse")["mean"].tolist() == [FT_MATRIX[2].tolist()]
    assert embed(found, "horses")["mean"].tolist() == [[0, 0]]


BAD = {
    "more than the header says": ("v.txt", f"2 2\n{TEXT}", "line 4: line 1 says 2"),
    "fewer than the header says": ("v.txt", f"4 2\n{TEXT}", "line 4: the file ends after 3"),
    "wrong dimension": ("v.txt", "a 1 2\nb 1\n", "line 2: there are 1 values, not 2"),
    "a value too many": ("v.txt", "a 1 2\nb 1 2 3\n", "line 2: there are 3 values, not 2"),
    "no number": ("v.txt", "a 1 2\nb 1 x\n", "line 2: a value is no number"),
    "NaN": ("v.txt", "a 1 2\nb nan 2\n", "line 2: a value is NaN"),
    "over float32": ("v.txt", "a 1 2\nb 1e39 2\n", "line 2: a value is NaN or infinite"),
    "twice": ("v.txt", "2 1\na 1\na 2\n", "line 3: the word stands in the file twice"),
    "not UTF-8": ("v.txt", b"\xff 1 2\n", "line 1: the word is not UTF-8"),
    "empty": ("v.txt", "", "line 1|no word vectors"),
    "no words": ("v.txt", "0 2\n", "line 1: the number of words"),
    "bin cut in a vector": ("v.bin", word2vec_bin(False)[:-1], "word 3 of 3: the file ends here"),
    "bin cut in a word": ("v.bin", word2vec_bin(False)[:-10], "word 3 of 3: there is no end"),
    "bin too long": ("v.bin", word2vec_bin(False) + b"more", "word 3 of 3: more follows"),
    "bin header": ("v.bin", b"three 2\n", "line 1"),
    "fastText version": ("v.bin", fasttext_bin(version=13), "version"),
    "fastText cut": ("v.bin", fasttext_bin()[:-1], "ends within the matrix"),
    "fastText cut early": ("v.bin", fasttext_bin()[:50], "ends too early"),
    "fastText quantised": ("v.ftz", fasttext_bin(quantised=True), "quantised"),
    "fastText pruned": ("v.bin", fasttext_bin(pruned=2), "pruned"),
    "fastText shape": ("v.bin", fasttext_bin(buckets=4), "another shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_and_leaves_nothing(tmp_path, case):
    name, content, message = BAD[case]
    file = write(tmp_path, name, content)
    with pytest.raises(InvalidInput, match=message) as caught:
        add("mine", weights=file, root=tmp_path / "root", emit=lambda line: None)
    assert (caught.value.code, caught.value.param) == ("vectors", "weights")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(("content", "line"), [("the\n", 1), ("the 1\nthe 2\n", 2), ("the -1\n", 1)])
def test_bad_frequencies_name_the_line(tmp_path, content, line):
    file, counts = write(tmp_path, "v.txt", TEXT), write(tmp_path, "counts", content)
    with pytest.raises(InvalidInput, match=f"^line {line}: "):
        add("mine", weights=file, root=tmp_path, emit=print, frequencies=counts)


@pytest.mark.parametrize(("name", "code"), [("../up", "backbone_id"), ("mine", "vectors")])
def test_a_bad_name_or_no_file_is_refused(tmp_path, name, code):
    with pytest.raises(InvalidInput) as caught:
        add(name, weights=None, root=tmp_path, emit=print)
    assert caught.value.code == code


def test_adding_again_is_no_error_but_another_file_is(tmp_path):
    first = backbone(tmp_path, write(tmp_path, "v.txt", TEXT)).card
    assert backbone(tmp_path, tmp_path / "v.txt").card == first
    with pytest.raises(Conflict):
        backbone(tmp_path, write(tmp_path, "w.txt", "other 1 2\n"))


def test_a_text_backbone_without_subwords_keeps_its_digest():
    assert "subwords" not in TextPreprocess().model_dump()


def test_a_large_table_is_kept_as_float16(tmp_path, monkeypatch):
    monkeypatch.setattr("training.backbones.vectors.draft.HALF_ABOVE", 8)
    found = backbone(tmp_path, write(tmp_path, "v.txt", "the 0.1 1\n"))
    assert embed(found, "the")["mean"].tolist() == [[float(np.float16(0.1)), 1]]
    with pytest.raises(InvalidInput, match="infinite"):
        backbone(tmp_path, write(tmp_path, "w.txt", "the 70000 1\n"), "other")


def test_a_table_beyond_one_onnx_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("training.backbones.vectors.draft.LARGEST", 8)
    with pytest.raises(TooLarge, match="keep fewer words"):
        backbone(tmp_path, write(tmp_path, "v.txt", TEXT))
    assert not (tmp_path / "vectors").exists()
