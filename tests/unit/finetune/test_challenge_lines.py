"""The strict reader of label, query and gold files."""

from pathlib import Path

import pytest

from finetune.datasets.challenge import Pedestrian, Vehicle, check_lines, kind_of_image, read_gold, read_labels, read_queries
from finetune.datasets.routing import kind_of_query, route
from pipeline.contracts.challenge import BITS_21, BRANDS, COLOURS, TYPES, VehicleTag, includes, parse_tag
from pipeline.contracts.errors import ContractError

BITS = "0,0,1,0,1,0,0,0,1,0,0,0,0,1,0,0,0,0,0,0,0"
MAN = "A walking man who is an adult person aged 18-60, with his body facing the camera. He is wearning glasses."
GOOD = [f"000003.jpg${BITS}${MAN}", "qhzrtmwapd.jpg$white Audi.$This is a white Audi."]


def test_a_pedestrian_line_and_a_vehicle_line_become_records():
    records, problems = check_lines(GOOD)
    assert problems == []
    assert records[0] == Pedestrian("000003.jpg", tuple(map(int, BITS.split(","))), MAN)
    assert records[1] == Vehicle("qhzrtmwapd.jpg", VehicleTag("white", "Audi"), "This is a white Audi.")
    assert records[0].kind == "pedestrian"
    assert records[0].identity == BITS
    assert records[1].kind == "vehicle"
    assert records[1].identity == "white Audi."


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("000004.jpg$" + BITS, "field_count"),
        (f"000004.jpg${BITS}${MAN}$more", "field_count"),
        ("", "field_count"),
        (f"${BITS}${MAN}", "empty_image_name"),
        (f"000003.jpg${BITS}${MAN}", "duplicate_image_name"),
        (f"000004.jpg${BITS},0${MAN}", "bit_count"),
        (f"000004.jpg${BITS[:-2]}${MAN}", "bit_count"),
        (f"000004.jpg$1${MAN}", "bit_count"),
        (f"000004.jpg${BITS[:-1]}2${MAN}", "bit_value"),
        (f"000004.jpg${BITS[:-1]} 1${MAN}", "bit_value"),
        (f"000004.jpg${BITS[:-1]}${MAN}", "bit_value"),
        (f"000004.jpg${BITS}$", "empty_text"),
        (f"000004.jpg${BITS}${MAN[:-1]}", "missing_final_stop"),
        ("a.jpg$white Audi$A white Audi.", "missing_final_stop"),
        ("a.jpg$$A white Audi.", "missing_final_stop"),
        ("a.jpg$white Audy.$A white Audy.", "unknown_tag"),
        ("a.jpg$turquoise Audi.$A turquoise Audi.", "unknown_tag"),
        ("a.jpg$white Audi Tank.$A white Audi Tank.", "unknown_tag"),
        ("a.jpg$.$A.", "unknown_tag"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_problem(line, problem):
    records, problems = check_lines([*GOOD, line])
    assert len(records) == 2
    assert [(p.line, p.name) for p in problems] == [(3, problem)]


def test_a_bad_file_is_refused_with_every_problem_counted(tmp_path: Path):
    path = tmp_path / "train_label.txt"
    path.write_text("\n".join([*GOOD, "x.jpg$0,1$A.", "y.jpg$red Audy.$A red Audy."]) + "\n")
    with pytest.raises(
        ContractError, match=r"train_label.txt: 2 bad lines[^$]*image\$21 bits(.|\n)*line 3: bit_count(.|\n)*line 4: unknown_tag"
    ):
        read_labels(path)


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "is empty"), (b"a\xff.jpg$red Audi.$A red Audi.", "not UTF-8"), (None, "does not exist")]
)
def test_unreadable_label_files_are_refused(tmp_path: Path, data, message):
    if data is not None:
        (tmp_path / "l.txt").write_bytes(data)
    with pytest.raises(ContractError, match=message):
        read_labels(tmp_path / "l.txt")


def test_windows_line_ends_and_a_missing_last_newline_change_nothing(tmp_path: Path):
    (tmp_path / "l.txt").write_bytes("\r\n".join(GOOD).encode())
    assert read_labels(tmp_path / "l.txt") == check_lines(GOOD)[0]


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("white Audi.", ("white", "Audi", None)),
        ("orange Golden Dragon.", ("orange", "Golden Dragon", None)),
        ("Microbus.", (None, None, "Microbus")),
        ("Hongyan.", (None, "Hongyan", None)),
        ("Balong Heavy Truck.", (None, "Balong Heavy Truck", None)),
        ("red Balong Heavy Truck Truck.", ("red", "Balong Heavy Truck", "Truck")),
        ("red Mini Minivan.", ("red", "Mini", "Minivan")),
        ("black China-Moto Truck", ("black", "China-Moto", "Truck")),
        ("grey MORRIS-GARAGE SUV.", ("grey", "MORRIS-GARAGE", "SUV")),
    ],
)
def test_tags_with_several_words_hyphens_and_types_inside_brands_are_read(text, slots):
    tag = parse_tag(text)
    assert (tag.colour, tag.brand, tag.type) == slots
    assert str(tag) == text.removesuffix(".") + "."


def test_the_vocabulary_has_the_published_sizes():
    assert (len(BITS_21), len(COLOURS), len(BRANDS), len(TYPES)) == (21, 11, 65, 6)
    assert len(set(BRANDS)) == 65
    assert len(set(BITS_21.prompts)) == 42


def test_inclusion_needs_equal_gender_and_every_other_set_bit():
    query = [0, 0, 1] + [0] * 18
    assert includes(query, [0, 0, 1] + [1] * 18)
    assert not includes(query, [1, 0, 1] + [0] * 18)
    assert not includes(query, [0, 1, 0] + [0] * 18)


def test_every_real_line_parses_and_its_text_is_sound(shared: Path):
    records = read_labels(shared / "data" / "challenge" / "val_label_sample.txt")
    people = [r for r in records if isinstance(r, Pedestrian)]
    assert (len(records), len(people)) == (2250, 1500)
    for record in people:
        assert kind_of_query(record.text) == "pedestrian"
        assert all(said in (-1, bit) for said, bit in zip(record.mentioned, record.bits, strict=True)), record
        assert all(1 in record.mentioned[a:b] for a, b in ((1, 4), (4, 7))), record
    assert all(kind_of_query(r.text) == "vehicle" for r in records if isinstance(r, Vehicle))


def test_the_published_sample_is_read(shared: Path):
    records = read_labels(shared / "reference" / "challenge_sample" / "train" / "train_label.txt")
    assert [r.kind for r in records] == ["vehicle"] * 8 + ["pedestrian"] * 8
    assert includes(records[8].bits, records[9].bits)
    assert not includes(records[9].bits, records[8].bits)


def test_queries_and_gold_name_the_bad_line(tmp_path: Path):
    path = tmp_path / "t.txt"
    path.write_text("A red Audi SUV.\nA red Audi SUV.\n")
    assert read_queries(path) == ["A red Audi SUV."] * 2
    path.write_text("A red Audi SUV.\n\nA Bus.\n")
    with pytest.raises(ContractError, match="line 2 is empty"):
        read_queries(path)
    path.write_text("A red Audi SUV.$a.jpg$b.jpg\nA Bus.\n")
    with pytest.raises(ContractError, match=r"line 2 holds 'A Bus\.'"):
        read_gold(path)


def test_pictures_are_routed_by_name_and_unknown_names_are_searched_for_both():
    gallery = ["090001.jpg", "vehicle_0000012.jpg", "qhzrtmwapd.jpg", "IMG-7.jpg"]
    assert [kind_of_image(n) for n in gallery] == ["pedestrian", "vehicle", "vehicle", None]
    assert route(["A red Audi SUV.", MAN], gallery) == {"pedestrian": ([1], [0, 3]), "vehicle": ([0], [1, 2, 3])}
