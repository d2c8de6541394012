"""How many examples Hypothesis draws: all that a test names in CI, a share of them in `make test-fast`."""

from hypothesis import HealthCheck, settings

ALL = 100  # per cent; Hypothesis' own number of examples, which the profile `fast` of tests/conftest.py lowers


def examples(count: int, reuse_fixtures: bool = False) -> settings:
    """Return the settings of a property that is tried on `count` examples, or on the profile's share of them.

    reuse_fixtures: each example overwrites what the one before it left in a fixture of the test.
    """
    number = max(3, round(count * settings.default.max_examples / ALL))
    unchecked = [HealthCheck.function_scoped_fixture] if reuse_fixtures else []
    return settings(max_examples=number, deadline=None, suppress_health_check=unchecked)
