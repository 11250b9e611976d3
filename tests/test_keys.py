"""Keys of jobs: parse, format, compare."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import BadParameter
from app.keys import LARGEST, JobKey, number

# A busy machine is no fault.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
numbers = st.integers(1, LARGEST)


@patient
@given(st.builds(JobKey, numbers, numbers, numbers))
def test_a_key_survives_the_wire(key: JobKey) -> None:
    assert JobKey.parse(str(key)) == key


@patient
@given(st.text().filter(lambda text: text.count("/") != 2))
def test_any_other_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadParameter, match="invalid value for job: "):
        JobKey.parse(text, "job")


NONE = [
    "", "1", "1/2", "1/2/3/4", "/1/2/3", "1/2/", "a/b/c", "1/2/x", "0/1/1", "1/-1/1", "1/1/1 ", "1/+1/1", "1/1.0/1",
    "1/1/2147483648", "1/1/99999999999999999999", "1/1/00000000000000000000199999999999", "1/1/²", "1/1/٣", "1/1_0/1",
]  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(BadParameter, match="invalid value for job: "):
        JobKey.parse(text)


def test_the_largest_number_is_the_last() -> None:
    assert number("2147483647", "project") == LARGEST
    with pytest.raises(BadParameter, match="invalid value for project: 2147483648"):
        number("2147483648", "project")


def test_keys_are_ordered_by_number() -> None:
    keys = [JobKey(1, 2, 10), JobKey(1, 2, 9), JobKey(1, 10, 1), JobKey(2, 1, 1)]
    assert [str(key) for key in sorted(keys)] == ["1/2/9", "1/2/10", "1/10/1", "2/1/1"]


def test_an_error_does_not_repeat_a_long_text() -> None:
    with pytest.raises(BadParameter) as error:
        JobKey.parse("x" * 5000)
    assert len(str(error.value)) < 300
