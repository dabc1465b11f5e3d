"""Descriptions of the columns of a table, in the headers that astropy and the Virtual Observatory read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io.votable.tree import Field, Resource, TableElement, VOTableFile
from astropy.table import Column as AstropyColumn
from astropy.table.meta import get_yaml_from_header
from astropy.units import Unit

from distspec.core.arrow import get_element_type, get_field_metadata

VOTABLE_TYPES = {
    pa.int8(): "short",  # VOTable has no signed byte
    pa.uint8(): "unsignedByte",
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.string(): "unicodeChar",
}


def build_astropy_header(schema: pa.Schema, meta: Mapping[str, Any] | None = None) -> str:
    """Return the description of columns in YAML, as astropy writes it into Parquet and FITS files.

    Parameters
    ----------
    schema : Schema
        The columns.
    meta : mapping, optional
        Metadata of the table.

    Returns
    -------
    str
    """
    columns = [
        AstropyColumn(
            name=field.name,
            dtype=_numpy_type(get_element_type(field)),
            unit=get_field_metadata(field, "unit") or None,
            description=get_field_metadata(field, "description"),
        )
        for field in schema
    ]
    header: dict[str, Any] = {"cols": columns}
    return "\n".join(get_yaml_from_header(header if meta is None else {**header, "meta": dict(meta)}))


def _numpy_type(arrow_type: pa.DataType) -> np.dtype[Any]:
    try:
        return np.dtype(arrow_type.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        return np.dtype(object)


def build_votable_header(schema: pa.Schema, widths: Mapping[str, int]) -> bytes:
    """Return the header of a Parquet file as VOParquet 1.0 defines it: a VOTable without rows.

    Parameters
    ----------
    schema : Schema
        The columns, of `VOTABLE_TYPES` or lists of them.
    widths : mapping of str to int
        Maximum length of each column of texts.

    Returns
    -------
    bytes
    """
    file, resource = VOTableFile(version="1.3"), Resource()
    table = TableElement(file)
    file.resources.append(resource)
    resource.tables.append(table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that are no XML identifiers
        table.fields.extend(build_votable_fields(file, schema, widths))
        header = io.BytesIO()
        file.to_xml(header)
    return header.getvalue().replace(b"</TABLE>", b'<PARQUET type="Parquet-local-XML"/></TABLE>')


def build_votable_fields(file: VOTableFile, schema: pa.Schema, widths: Mapping[str, int]) -> list[Field]:
    """Return the fields of a VOTable.

    Parameters
    ----------
    file : VOTableFile
        The VOTable.
    schema : Schema
        Its columns, of `VOTABLE_TYPES` or lists of them.
    widths : mapping of str to int
        Maximum length of each column of texts.

    Returns
    -------
    list of Field
    """
    fields: list[Field] = []
    for column in schema:
        text = f"{widths[column.name]}*" if pa.types.is_string(column.type) else None
        field = Field(
            file,
            name=column.name,
            datatype=VOTABLE_TYPES[get_element_type(column)],
            arraysize="*" if pa.types.is_list(column.type) else text,
            unit=format_votable_unit(get_field_metadata(column, "unit")) or None,
            ucd=get_field_metadata(column, "ucd") or None,
            xtype=get_field_metadata(column, "xtype") or None,
        )
        field.description = get_field_metadata(column, "description") or None
        fields.append(field)
    return fields


def format_votable_unit(unit: str) -> str:
    """Return a unit in the notation of VOTable 1.3, which is that of the CDS.

    Parameters
    ----------
    unit : str
        Unit in the notation of astropy, "" for none.

    Examples
    --------
    >>> format_votable_unit("erg s-1 cm-2 Angstrom-1"), format_votable_unit("dex"), format_votable_unit("")
    ('erg.Angstrom-1.s-1.cm-2', '[-]', '')
    """
    if unit in ("", "dex"):
        return "[-]" if unit else ""  # a logarithm of a dimensionless quantity
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about units that are not in every standard
        return Unit(unit).to_string("cds")
