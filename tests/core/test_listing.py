import re

from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.listing import RowCounts

REASONS = ("grade", "z", "no redshift", "duplicate", "bad_row", "ambiguous")


@settings(max_examples=30)
@given(
    st.integers(0, 10**7),
    st.lists(st.tuples(st.booleans(), st.sampled_from(REASONS), st.integers(0, 10**4)), max_size=8),
)
def test_the_numbers_in_the_text_add_up(n_rows, changes):
    counts = RowCounts(n_rows)
    for is_deselected, reason, n in changes:
        change = counts.deselect if is_deselected else counts.quarantine
        counts = change(reason, min(n, counts.selected))
    assert counts.read == n_rows
    text = str(counts).replace(",", "")
    read = int(re.match(r"(\d+) rows read: ", text)[1])
    parts = [int(number) for number in re.findall(r"(\d+) (?:selected|deselected|quarantined)", text)]
    assert read == n_rows == sum(parts)
    by_reason = re.findall(r"\d+", " ".join(re.findall(r"\(.*?\)", text)))
    assert sum(map(int, by_reason)) == n_rows - counts.selected


def test_the_text_names_every_reason():
    counts = RowCounts(60).deselect("no redshift", 35).quarantine("bad_row", 1)
    assert str(counts) == (
        "60 rows read: 24 selected, 35 deselected (no redshift 35), 1 quarantined (bad_row 1)"
    )
