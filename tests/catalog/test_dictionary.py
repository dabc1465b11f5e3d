from distspec.catalog.dictionary import OUTPUT_PATH, TABLE_SCHEMAS, render_data_dictionary
from tests.helpers.published import tables


def test_the_committed_page_matches_the_schema():
    assert OUTPUT_PATH.read_text().rstrip("\n") == render_data_dictionary().rstrip("\n"), (
        "run `python -m distspec.catalog.dictionary`"
    )


def test_every_published_table_is_described():
    assert set(TABLE_SCHEMAS) == set(tables(30))
