"""The Kaggle layout: what is read, what is refused, what is remembered."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from sparsemark.errors import UserError
from tests.training.tiny import PATIENTS, write_set, write_slice
from training import cache, lgg
from training.data import DATA_VARIABLE, load_slices
from training.intensity import MIDDLE
from training.slices import SIZE, digest_of, to_input

REAL_SET = os.environ.get(DATA_VARIABLE)
PATIENT = "TCGA_CS_1_19990101"


def test_slices_are_in_anatomical_order(tmp_path):
    """Numbers are not zero-padded: 10 comes after 9, not after 1."""
    for number in range(1, 12):
        write_slice(tmp_path / PATIENT, number, tumour=False, grey=50 + number)
    slices = lgg.load_lgg(tmp_path)
    assert (np.diff(slices.images[:, 0, 0, 0].astype(int)) > 0).all()
    np.testing.assert_allclose(slices.positions, np.linspace(0, 1, 11))


def test_patients_go_by_their_id_without_the_date(tmp_path):
    for number in (1, 2):
        write_slice(tmp_path / PATIENT, number, tumour=False)
        write_slice(tmp_path / "TCGA_CS_1_20010101", number, tumour=True)
    assert lgg.load_lgg(tmp_path).patient_ids == ("TCGA_CS_1",)


def test_folder_or_its_parent_or_a_copy_give_the_same_data(tmp_path):
    inner = write_set(tmp_path / "a" / lgg.KAGGLE_FOLDER)
    copy = write_set(tmp_path / "b")
    digests = {lgg.load_lgg(folder).digest for folder in (inner, tmp_path / "a", copy)}
    assert len(digests) == 1


def test_compression_does_not_change_the_hash_but_a_pixel_does(tmp_path):
    path = write_slice(tmp_path / PATIENT, 1, tumour=True)
    digest = lgg.load_lgg(tmp_path).digest
    image = Image.open(path)
    image.load()
    image.save(path, compression="tiff_deflate")
    assert lgg.load_lgg(tmp_path).digest == digest
    image.putpixel((0, 0), (1, 2, 3))
    image.save(path, compression="tiff_deflate")
    assert lgg.load_lgg(tmp_path).digest != digest


def test_hash_covers_pixels_labels_and_ids():
    images, labels, ids = np.zeros((2, 4, 4, 3), np.uint8), np.array([True, False]), ("a", "b")
    other = images.copy()
    other[1, 3, 3, 2] = 1
    digests = {
        digest_of(images, labels, ids),
        digest_of(other, labels, ids),
        digest_of(images, ~labels, ids),
        digest_of(images, labels, ("a", "c")),
    }
    assert len(digests) == 4


@pytest.mark.parametrize("size", [32, 128, 256, 100])
def test_any_size_becomes_that_of_the_networks(tmp_path, size):
    write_slice(tmp_path / PATIENT, 1, tumour=True, size=size)
    slices = lgg.load_lgg(tmp_path)
    assert slices.images.shape == (1, SIZE, SIZE, 3)
    assert slices.masks.shape == (1, SIZE, SIZE)
    covered = slices.masks[0].mean()
    assert covered == pytest.approx((12 / size) ** 2, rel=0.15)


def test_one_pixel_of_tumour_is_a_tumour(tmp_path):
    """Halving a mask by majority would erase it."""
    path = write_slice(tmp_path / PATIENT, 1, tumour=False, size=256)
    mask = np.zeros((256, 256), np.uint8)
    mask[100, 101] = 255
    Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.tif"))
    slices = lgg.load_lgg(tmp_path)
    assert slices.labels.tolist() == [True]
    assert np.argwhere(slices.masks[0]).tolist() == [[50, 50]]


def test_grey_images_and_colour_masks_are_read(tmp_path):
    path = write_slice(tmp_path / PATIENT, 1, tumour=False)
    Image.fromarray(np.full((32, 32), 77, np.uint8)).save(path)
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[5, 5, 1] = 255
    Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.tif"))
    slices = lgg.load_lgg(tmp_path)
    assert (slices.images == MIDDLE).all()
    assert slices.labels.tolist() == [True]


def test_other_files_are_ignored_and_counted(tmp_path):
    write_set(tmp_path)
    (tmp_path / "data.csv").write_text("Patient\n")
    (tmp_path / "notes").mkdir()
    (tmp_path / PATIENTS[0] / "thumbs.db").write_text("")
    (tmp_path / PATIENTS[0] / "another_1.tif").write_text("not of this patient")
    slices = lgg.load_lgg(tmp_path)
    assert (len(slices), slices.ignored) == (32, 4)


def break_mask_away(path):
    path.with_name(f"{path.stem}_mask.tif").unlink()


def break_image_away(path):
    path.unlink()


def break_truncated(path):
    path.write_bytes(path.read_bytes()[:-500])


def break_empty(path):
    path.write_bytes(b"")


def break_text(path):
    path.write_text("not a picture")


def break_mask_size(path):
    Image.fromarray(np.zeros((16, 32), np.uint8)).save(path.with_name(f"{path.stem}_mask.tif"))


def break_nan(path):
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(path)


def break_nan_mask(path):
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(path.with_name(f"{path.stem}_mask.tif"))


def break_depth(path):
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_mask_away, "no mask; expected"),
        (break_image_away, "no image; expected"),
        (break_truncated, "unreadable or truncated; expected a whole TIFF"),
        (break_empty, "expected an 8-bit TIFF"),
        (break_text, "expected an 8-bit TIFF"),
        (break_mask_size, "32 x 16 pixels; expected 32 x 32"),
        (break_nan, "NaN or infinite pixels; expected"),
        (break_nan_mask, "NaN or infinite pixels; expected"),
        (break_depth, "expected 8-bit RGB"),
    ],
)
def test_bad_slice_is_named_in_one_line_and_nothing_is_cached(tmp_path, own_cache, damage, words):
    write_set(tmp_path)
    path = write_slice(tmp_path / PATIENTS[2], 7, tumour=True)
    damage(path)
    with pytest.raises(UserError, match=words) as caught:
        lgg.load_lgg(tmp_path)
    message = str(caught.value)
    assert path.stem in message
    assert "\n" not in message
    assert not own_cache.exists() or not list(own_cache.iterdir())


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / PATIENT).mkdir()
    (tmp_path / "data.csv").write_text("Patient\n")
    with pytest.raises(UserError, match="no images; expected TCGA_"):
        lgg.load_lgg(tmp_path)


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="absent: no such folder"):
        lgg.load_lgg(tmp_path / "absent")


def test_decoded_once(tmp_path, monkeypatch):
    first = lgg.load_lgg(write_set(tmp_path / "set"))
    monkeypatch.setattr(lgg, "_decode", lambda *_: pytest.fail("decoded again"))
    again = lgg.load_lgg(tmp_path / "set")
    assert isinstance(again.images, np.memmap)
    assert again.digest == first.digest
    assert again.patients == first.patients
    np.testing.assert_array_equal(again.labels, first.labels)


def test_changed_file_is_decoded_again(tmp_path):
    path = write_slice(tmp_path / PATIENT, 1, tumour=False, grey=10)
    before = lgg.load_lgg(tmp_path)
    stat = path.stat()
    write_slice(tmp_path / PATIENT, 1, tumour=False, grey=11)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    assert lgg.load_lgg(tmp_path).digest != before.digest


def test_two_processes_that_decode_at_once_agree(tmp_path, own_cache):
    """The other one is first: its copy is taken and ours leaves nothing behind."""
    slices = lgg.load_lgg(write_set(tmp_path / "set"))

    def decode_while_another_finishes():
        cache.load_cached("key", lambda: slices)
        return slices

    assert cache.load_cached("key", decode_while_another_finishes).digest == slices.digest
    assert not [entry for entry in own_cache.iterdir() if entry.name.startswith(".")]


def test_input_of_the_networks_is_the_image_over_255():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    tensor = to_input(images)
    assert tensor.shape == (2, 3, 4, 4)
    assert float(tensor[1, 2, 3, 0]) == pytest.approx(images[1, 3, 0, 2] / 255)


@pytest.mark.skipif(REAL_SET is None, reason=f"{DATA_VARIABLE} names no LGG set")
def test_real_set_has_the_published_share_of_tumours():
    slices = load_slices(REAL_SET)
    assert 0.25 < slices.labels.mean() < 0.45
    assert all(slices.labels[slices.of([patient])].any() for patient in slices.patient_ids)


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def garble(path):
    path.write_bytes(bytes(range(256)))


@pytest.mark.parametrize("damage", [empty, cut, garble, os.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["index.json", "images.npy", "masks.npy", "labels.npy"])
def test_damaged_cache_is_decoded_again(name, damage, tmp_path, own_cache, caplog):
    caplog.set_level("INFO", logger="training")
    slices = lgg.load_lgg(write_set(tmp_path / "set"))
    decoded = []

    def decode():
        decoded.append(1)
        return slices

    before = cache.load_cached("key", decode)
    whole = [np.array(getattr(before, array)) for array in ("images", "masks", "labels")]
    assert cache.load_cached("key", decode).digest == slices.digest
    assert len(decoded) == 1
    folder = max(own_cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    damage(folder / name)
    again = cache.load_cached("key", decode)
    assert len(decoded) == 2
    assert f"{folder}: damaged" in caplog.text
    for array, expected in zip(("images", "masks", "labels"), whole, strict=True):
        np.testing.assert_array_equal(getattr(again, array), expected)
