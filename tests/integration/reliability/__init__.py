"""Faults on purpose: processes that are killed, and what is left of their work."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.conversation", f"{__name__}.lab")
