import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.pipeline.machines import (
    GB,
    RAY_MEMORY_FRACTION,
    MachineGroup,
    count_concurrent_processes,
    n_gpus,
    n_machines,
    parse_machines,
)

GROUPS = st.builds(
    MachineGroup,
    st.integers(1, 100),
    st.integers(1, 128),
    st.integers(1, 1024).map(lambda m: m * GB),
    st.integers(0, 8),
)


def written(group):
    return f"{group.count}x{group.cpus}cpu{group.memory / GB:g}gb" + (
        f"{group.gpus}gpu" if group.gpus else ""
    )


@given(st.lists(GROUPS, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(groups):
    assert list(parse_machines("+".join(map(written, groups)))) == groups
    assert n_machines(groups) == sum(g.count for g in groups)
    assert n_gpus(groups) == sum(g.count * g.gpus for g in groups)


@pytest.mark.parametrize(
    "text", ["", "8cpu32gb", "2x8cpu", "0x8cpu32gb", "2x0cpu32gb", "2x8cpu0gb", "2x8cpu32gb+"]
)
def test_what_is_no_machine_is_refused_by_name(text):
    with pytest.raises(ValueError, match="COUNTxCPUScpuGBgb"):
        parse_machines(text)


@given(GROUPS, st.floats(1e7, 1e11))
def test_no_node_is_given_more_than_it_has(group, memory):
    if memory > group.memory * RAY_MEMORY_FRACTION:
        with pytest.raises(ValueError, match=f"{memory / GB:.2f} GB of memory"):
            count_concurrent_processes("it", memory, [group])
        return
    each = count_concurrent_processes("it", memory, [group]) / group.count
    assert 1 <= each <= group.cpus
    assert each * memory <= group.memory * RAY_MEMORY_FRACTION
