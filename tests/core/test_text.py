"""Tables as text."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.text import format_table

TEXTS = st.lists(
    st.text(st.characters(min_codepoint=33, max_codepoint=900), max_size=40), min_size=2, max_size=2
)


@given(st.lists(TEXTS, min_size=1, max_size=12), st.integers(34, 200))
def test_tables_fit_in_the_width_and_nothing_is_left_out_silently(columns, width):
    names = [f"name_{i}" for i in range(len(columns))]
    table = pa.table(dict(zip(names, columns, strict=True)))
    lines = format_table(table, width).splitlines()
    *rows, last = lines
    n_hidden = int(last.split()[2]) if last.startswith("  … and ") and "more columns" in last else 0
    assert max(map(len, rows)) <= width
    shown = lines[0].split()
    assert shown == names[: len(columns) - n_hidden]
    whole = format_table(table).splitlines()
    if max(map(len, whole)) <= width:
        assert lines == whole


def test_numbers_have_sensible_digits_and_are_aligned():
    ra = pa.field("ra", pa.float64(), metadata={"unit": "deg"})
    fields = [ra, pa.field("z", pa.float32()), pa.field("n", pa.int64())]
    table = pa.table([[150.123456789, None], [5.2695997, 11.0], [7, 1234]], schema=pa.schema(fields))
    assert format_table(table).splitlines() == [
        "         ra       z     n",
        "  150.12346  5.2696     7",
        "                 11  1234",
    ]
