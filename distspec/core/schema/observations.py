"""Columns of the tables about observations: groups of spectra by origin, and leakage into the latents."""

from __future__ import annotations

import pyarrow as pa

from distspec.core.schema.columns import Column

_F32, _I32 = pa.float32(), pa.int32()
_PROPERTY = Column("property", pa.string(), "", "Name of the column of objects.")


def _build_share_columns(name: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(f"n_{name}", _I32, "", f"Number of sources with a spectrum {meaning}."),
        Column(f"{name}_share", _F32, "", f"n_{name} divided by n_sources."),
        Column(f"{name}_share_low", _F32, "", f"Lower end of the 95 % Wilson interval of {name}_share."),
        Column(f"{name}_share_high", _F32, "", f"Upper end of the 95 % Wilson interval of {name}_share."),
        Column(
            f"{name}_p_value",
            _F32,
            "",
            f"Probability that chance puts as many sources of n_{name} into any group of this property: of "
            "the hypergeometric distribution, corrected for the number of groups.",
        ),
    )


OBSERVATION_GROUPS_SCHEMA = (
    _PROPERTY,
    Column("value", pa.string(), "", "Value of the column that the spectra of the group share."),
    Column("n_spectra", _I32, "", "Number of spectra."),
    Column("n_sources", _I32, "", "Number of sources."),
    *_build_share_columns("anomalous", "among the first 3 % by anomaly rank"),
    *_build_share_columns("bad_pixels", "that is flagged for bad pixels"),
)
LEAKAGE_SCHEMA = (
    _PROPERTY,
    Column("metric", pa.string(), "", "accuracy for texts, R2 for numbers."),
    Column("n_spectra", _I32, "", "Number of spectra, one of each source."),
    Column("n_groups", _I32, "", "Number of different texts; null for numbers."),
    Column(
        "score",
        _F32,
        "",
        "Score of the prediction from the 10 nearest spectra of other sources in the latents.",
    ),
    Column("score_std", _F32, "", "Standard deviation of the score over 200 bootstrap samples."),
    Column("null_mean", _F32, "", "Mean score of permuted values."),
    Column("null_std", _F32, "", "Standard deviation of the scores of permuted values."),
    Column("p_value", _F32, "", "Probability of so high a score for permuted values, from 200 permutations."),
    Column(
        "skill", _F32, "", "(score - null_mean) / (1 - null_mean): 0 for no leakage, 1 for a perfect score."
    ),
    Column(
        "matched_null_mean",
        _F32,
        "",
        "Mean score of values permuted among spectra of like redshift and S/N; null for numbers.",
    ),
    Column("matched_null_std", _F32, "", "Standard deviation of these scores."),
    Column("matched_p_value", _F32, "", "Probability of so high a score for values permuted in this way."),
)
