"""Whatever is in a file, reading it succeeds or is refused by an `InputError`, in limited time and memory."""

from contextlib import suppress

import pytest
from hypothesis import given

from multidiff.errors import InputError
from tests import formats
from tests.mutations import limited, repeatable


@pytest.mark.parametrize(
    ("kind", "examples"),
    [
        (formats.images, 25),
        (formats.sounds, 25),
        (formats.documents, 30),
        (formats.data, 25),
        pytest.param(formats.tables, 12, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_file_is_read_or_refused(tmp_path, kind, examples):
    for known in kind(tmp_path):
        known.read(known.path)
        only_input_errors(known, examples)
        known.path.write_bytes(known.content)


def only_input_errors(known, examples):
    @repeatable(examples)
    @given(known.variants)
    def check(content):
        known.path.write_bytes(content)
        with limited(), suppress(InputError):
            known.read(known.path)

    check()
