from distspec.catalog.dictionary import FILE, TABLES, dictionary
from tests.helpers.published import tables


def test_the_data_dictionary_is_current():
    assert FILE.read_text().rstrip("\n") == dictionary().rstrip("\n"), (
        "run `python -m distspec.catalog.dictionary`"
    )


def test_every_table_is_in_it():
    assert set(TABLES) == set(tables(30))
