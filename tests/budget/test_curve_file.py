"""Curves read from files in both layouts; what cannot be read is named with its line."""

from __future__ import annotations

import pytest

from common.budget.curve_file import read_curves
from common.errors import DataError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_long_file_is_one_curve_sorted_by_size_without_the_untuned_model(tmp_path):
    (curve,) = read_curves(write(tmp_path / "mine.csv", "examples,dev_loss\n400,2.0\n0,4.0\n100,2.5\n\n200,2.2\n"))
    assert curve.name == "mine"
    assert curve.sizes == (100, 200, 400)
    assert curve.losses == (2.5, 2.2, 2.0)


def test_a_model_column_makes_several_curves(tmp_path):
    curves = read_curves(write(tmp_path / "c.csv", "model,size,loss\na,1,3\nb,1,4\na,2,2\n"))
    assert [(curve.name, curve.sizes) for curve in curves] == [("a", (1, 2)), ("b", (1,))]


def test_a_wide_file_has_a_row_for_each_curve_and_may_have_gaps(tmp_path):
    text = "config name,0,200,400,size\nx,9,3.0,2.5,1000\ny,9,,2.4,1000\n"
    curves = read_curves(write(tmp_path / "w.csv", text))
    assert [(curve.name, curve.sizes, curve.losses) for curve in curves] == [
        ("x", (200, 400), (3.0, 2.5)),
        ("y", (400,), (2.4,)),
    ]


def test_a_run_directory_holds_its_own_curve(tmp_path):
    write(tmp_path / "learning_curve.csv", "examples,loss\n10,3\n20,2\n")
    assert read_curves(tmp_path)[0].losses == (3, 2)


def test_every_bad_row_is_named_with_its_line(tmp_path):
    with pytest.raises(DataError) as caught:
        read_curves(write(tmp_path / "bad.csv", "size,loss\n10,3\nmany,2\n40,low\n"))
    assert "line 3: size 'many'" in str(caught.value)
    assert "line 4" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "it needs one of examples"), ("size,loss\n", "no rows"), ("", "no rows")],
)
def test_a_file_without_a_curve_says_what_one_looks_like(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_curves(write(tmp_path / "f.csv", text))


def test_a_missing_file_is_named_and_a_run_without_a_curve_told_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        read_curves(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="train --learning-curve"):
        read_curves(tmp_path)


def test_a_file_without_a_header_is_not_taken_for_a_wide_one(tmp_path):
    with pytest.raises(DataError, match=r"begins with numbers \(100, 3.0\) that are no training sizes"):
        read_curves(write(tmp_path / "c.csv", "100,3.0\n200,2.7\n400,2.5\n800,2.35\n"))
