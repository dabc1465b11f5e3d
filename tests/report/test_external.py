import numpy as np
import pyarrow as pa
import pytest

from distspec.core.errors import CatalogError, ConfigError
from distspec.report.config import ReportConfig
from distspec.report.external import read_map_columns

OBJECTS = pa.table({"object_id": ["a", "b", "c"], "source_id": ["J1", "J1", "J2"]})


def write(path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_table_is_joined_by_identifier(tmp_path):
    url = write(tmp_path / "t.csv", "object_id,mass,program\nc,9.5,GTO\nx,1,ERS\na,,\n")
    mass, program = read_map_columns(ReportConfig(url), OBJECTS)
    np.testing.assert_array_equal(mass.values, [np.nan, np.nan, 9.5])
    assert program.values.tolist() == ["", "", "GTO"]
    assert mass.n_matched == 2
    (only,) = read_map_columns(ReportConfig(url, ("program",)), OBJECTS)
    assert only.name == "program"


def test_sources_join_all_their_spectra(tmp_path):
    url = write(tmp_path / "t.csv", "source_id,mass\nJ1,9\n")
    np.testing.assert_array_equal(read_map_columns(ReportConfig(url), OBJECTS)[0].values, [9, 9, np.nan])


@pytest.mark.parametrize(
    ("text", "columns", "match"),
    [
        ("name,mass\na,1\n", (), "neither object_id nor source_id"),
        ("object_id,mass\nz,1\n", (), "none of the 3 spectra"),
        ("object_id,mass\na,1\na,2\n", (), "more than once, such as 'a'"),
        ("object_id,mass\na,1\n", ("age",), "no column age: choose from object_id, mass"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, text, columns, match):
    with pytest.raises(CatalogError, match=match):
        read_map_columns(ReportConfig(write(tmp_path / "t.csv", text), columns), OBJECTS)


def test_columns_need_a_table():
    assert read_map_columns(ReportConfig(), OBJECTS) == []
    with pytest.raises(ConfigError, match=r"--report\.table"):
        ReportConfig(columns=("mass",))
