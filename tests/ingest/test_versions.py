from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.ingest.versions import normalize_version


@given(st.datetimes(datetime(2001, 1, 1), datetime(2060, 1, 1)), st.integers(-12, 12), st.booleans())
@settings(max_examples=30)
def test_an_instant_is_the_same_version_however_it_is_written(time, zone_hours, space):
    time = time.replace(microsecond=time.microsecond // 1000 * 1000, tzinfo=UTC)
    zoned = time.astimezone(timezone(timedelta(hours=zone_hours)))
    separator = " " if space else "T"
    spellings = [
        time.replace(tzinfo=None).isoformat(separator),
        time.replace(tzinfo=None).isoformat(separator, timespec="milliseconds"),
        time.isoformat(separator).replace("+00:00", "Z"),
        zoned.isoformat(separator),
        f"{time:%Y-%m-%d %H:%M:%S.%f UTC}",
        f"{zoned:%Y-%m-%d %H:%M:%S.%f %z}",
        repr(time.timestamp()),
        f"{time.timestamp():.6f}",
        f"{time.timestamp():.12e}",
    ]
    assert len({normalize_version(f"{text} 0.10 z=5.10000") for text in spellings}) == 1
    later = (time + timedelta(milliseconds=1)).isoformat()
    assert normalize_version(later) != normalize_version(spellings[0])


def test_versions_are_compared_by_value_and_other_words_as_text():
    same = [("0.10", "0.1"), ("7", "7.0"), ("2024-05-01", "1714521600"), ("", ""), ("-0.0", "0")]
    assert all(normalize_version(one) == normalize_version(other) for one, other in same)
    different = [
        ("0.10.1", "0.1.1"),
        ("z=5.10000", "z=5.1"),
        ("12345678901234567890", "12345678901234567890.0"),
        ("2024-13-01", "2024-12-01"),
        ("5f", "5"),
        ("20240501", "2024-05-01"),
    ]
    assert all(normalize_version(one) != normalize_version(other) for one, other in different)
