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


def format_group(group):
    return f"{group.count}x{group.cpus}cpu{group.memory / GB:g}gb" + (
        f"{group.gpus}gpu" if group.gpus else ""
    )


@given(st.lists(GROUPS, min_size=1, max_size=4))
def test_machine_groups_are_parsed(groups):
    assert list(parse_machines("+".join(map(format_group, groups)))) == groups
    assert n_machines(groups) == sum(g.count for g in groups)
    assert n_gpus(groups) == sum(g.count * g.gpus for g in groups)


@pytest.mark.parametrize(
    "text", ["", "8cpu32gb", "2x8cpu", "0x8cpu32gb", "2x0cpu32gb", "2x8cpu0gb", "2x8cpu32gb+"]
)
def test_invalid_machines_are_refused_with_the_format(text):
    with pytest.raises(ValueError, match="COUNTxCPUScpuGBgb"):
        parse_machines(text)


@given(GROUPS, st.floats(1e7, 1e11))
def test_processes_do_not_exceed_cpus_and_memory(group, memory):
    if memory > group.memory * RAY_MEMORY_FRACTION:
        with pytest.raises(ValueError, match=f"{memory / GB:.2f} GB of memory"):
            count_concurrent_processes("stage", memory, [group])
        return
    per_node = count_concurrent_processes("stage", memory, [group]) / group.count
    assert 1 <= per_node <= group.cpus
    assert per_node * memory <= group.memory * RAY_MEMORY_FRACTION
