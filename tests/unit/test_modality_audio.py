import struct

import numpy as np
import pytest

from models.backbone import AudioPreprocess
from models.errors import DurianError, TooLarge, UnsupportedMedia
from models.manifest import InputSpec
from models.modalities import modality, preprocessor
from tests.media import card, clip, png, tone

SPEC = InputSpec(modality="audio")
ALLOWED = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAVEX", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
]


def canonical(value: object) -> bytes:
    return modality("audio").canonical(value, SPEC, "row 5")


def error(value: object) -> DurianError:
    with pytest.raises(DurianError, match=r"^row 5: ") as caught:
        canonical(value)
    return caught.value


def prepare(data: bytes, **how: object) -> np.ndarray:
    return preprocessor(card("audio", AudioPreprocess(**how)), {}).prepare(data)


@pytest.mark.parametrize(("container", "subtype"), ALLOWED)
def test_allowed_codecs_stay_as_uploaded(container, subtype):
    data = clip(tone(), container=container, subtype=subtype)
    assert canonical(data) == data
    np.testing.assert_allclose(prepare(data, sample_rate=8000, seconds=0.1), tone(), atol=0.05)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "ULAW"), ("WAV", "GSM610"), ("AIFF", "PCM_16")],
)
def test_other_codecs_are_unsupported(container, subtype):
    assert isinstance(error(clip(tone(), container=container, subtype=subtype)), UnsupportedMedia)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"ID3\x04", png()])
def test_what_is_no_audio_is_unsupported(data):
    assert error(data).code == "unsupported_media"


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_truncated_clips_are_undecodable(container, subtype):
    data = clip(tone(1), container=container, subtype=subtype)
    for end in (20, len(data) // 3, len(data) - 1):
        assert error(data[:end]).code == "undecodable"


def wav(fmt: bytes, data_size: int, samples: bytes) -> bytes:
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", data_size)
    return b"RIFF" + struct.pack("<I", len(body) + len(samples)) + body + samples


def fmt(tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16) -> bytes:
    align = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits)


def test_a_hand_made_wav_is_read():
    assert canonical(wav(fmt(), 4, bytes(4)))


@pytest.mark.parametrize(
    "data",
    [
        wav(fmt(), 0xFFFFFFFF, bytes(64)),
        wav(fmt(), 0x7FFFFFFE, bytes(64)),
        wav(fmt(), 66, bytes(64)),
        wav(fmt(), 0, b""),
        wav(fmt(), 0, bytes(64)),
        wav(fmt(channels=0), 64, bytes(64)),
        wav(fmt(rate=0), 64, bytes(64)),
        wav(fmt()[:8], 64, bytes(64)),
        wav(fmt(bits=0), 64, bytes(64)),
        wav(fmt(channels=30_000), 2, bytes(2)),
        wav(fmt(), 1, b"\0"),
        b"RIFF\x04\0\0\0WAVE",
        b"RIFF\x10\0\0\0WAVEdata\x04\0\0\0\0\0\0\0",
    ],
    ids=[
        "all-ones",
        "2-gib",
        "two-more",
        "empty",
        "zero-frames",
        "no-channel",
        "no-rate",
        "fmt",
        "no-bits",
        "30000-channels",
        "half-a-sample",
        "bare",
        "no-fmt",
    ],
)
def test_headers_that_lie_are_undecodable(data):
    assert error(data).code == "undecodable"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_samples_are_refused(bad):
    wave = tone()
    wave[-1] = bad
    assert error(clip(wave, subtype="FLOAT")).code == "non_finite"


def test_ten_minutes_is_the_limit():
    assert canonical(clip(np.zeros(600_000), rate=1000, subtype="PCM_U8"))
    refused = error(clip(np.zeros(600_001), rate=1000, subtype="PCM_U8"))
    assert isinstance(refused, TooLarge)
    assert refused.code == "audio_too_long"


def test_odd_rates_and_many_channels_are_refused():
    assert error(clip(np.zeros(100), rate=500)).code == "audio_format"
    assert error(clip(np.zeros((100, 9)))).code == "audio_format"


def test_stereo_is_mixed_down():
    stereo = np.stack([tone(), -tone()], axis=1)
    assert abs(prepare(clip(stereo), sample_rate=8000, seconds=0.1)).max() < 1e-3


def test_resampling_keeps_the_tone():
    got = prepare(clip(tone(1.0, 44_100), 44_100), sample_rate=16_000, seconds=1.0)
    assert got.shape == (16_000,)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[500:-500], tone(1.0, 16_000)[500:-500], atol=2e-3)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_a_long_clip_is_cut_to_its_centre(container, subtype):
    ramp = np.linspace(-0.9, 0.9, 90_000)
    got = prepare(clip(ramp, container=container, subtype=subtype), sample_rate=8000, seconds=1)
    np.testing.assert_allclose(got, ramp[41_000:49_000], atol=0.02)


def test_a_short_clip_is_padded_with_silence():
    got = prepare(clip(tone(0.1)), sample_rate=8000, seconds=0.25)
    assert got.shape == (2000,)
    assert not got[:600].any()
    assert not got[1400:].any()
    assert got[:800].any()


def test_a_clip_of_one_sample_is_read():
    data = clip(np.array([0.5]), rate=44_100)
    assert canonical(data) == data
    assert prepare(data).shape == (16_000,)


def test_scale_and_clipping():
    loud = clip(np.array([0.25, 2.0, -2.0]), subtype="FLOAT")
    assert prepare(loud, sample_rate=8000, seconds=3 / 8000, scale=32768).tolist() == [8192, 32768, -32768]


def test_collate_stacks():
    processor = preprocessor(card("audio", AudioPreprocess(sample_rate=8000, seconds=0.1), "wave"), {})
    batch = [processor.prepare(clip(tone(seconds))) for seconds in (0.05, 0.3)]
    assert processor.collate(batch)["wave"].shape == (2, 800)
    assert processor.size(batch[0]) == 1
