"""What every key provider must do: `KeyProviderContract` is subclassed by the tests of each."""

import pytest

from domain.key_providers import KeyMissing, KeyProvider, SealBroken

SECRET = b"a data key of 32 bytes, or nearly"
PLACE = b"data_key|note|1"


class KeyProviderContract:
    """Give `provider` as a fixture: an empty one for each test."""

    def test_opens_what_it_wrapped(self, provider: KeyProvider) -> None:
        provider.create("a")
        wrapped = provider.wrap("a", SECRET, PLACE)
        assert provider.unwrap("a", wrapped, PLACE) == SECRET
        assert SECRET not in wrapped

    def test_wraps_differently_each_time(self, provider: KeyProvider) -> None:
        provider.create("a")
        assert provider.wrap("a", SECRET, PLACE) != provider.wrap("a", SECRET, PLACE)

    def test_a_name_opens_nothing_of_another(self, provider: KeyProvider) -> None:
        provider.create("a")
        provider.create("b")
        with pytest.raises(SealBroken):
            provider.unwrap("b", provider.wrap("a", SECRET, PLACE), PLACE)

    def test_the_place_is_bound(self, provider: KeyProvider) -> None:
        provider.create("a")
        with pytest.raises(SealBroken):
            provider.unwrap("a", provider.wrap("a", SECRET, PLACE), b"data_key|note|2")

    @pytest.mark.parametrize("at", [0, 4, 9, 20, -1])
    def test_an_altered_value_does_not_open(self, provider: KeyProvider, at: int) -> None:
        provider.create("a")
        wrapped = bytearray(provider.wrap("a", SECRET, PLACE))
        wrapped[at] ^= 1
        with pytest.raises(SealBroken):
            provider.unwrap("a", bytes(wrapped), PLACE)

    @pytest.mark.parametrize("value", [b"", b"\x01", bytes(40)])
    def test_what_it_never_wrote_does_not_open(self, provider: KeyProvider, value: bytes) -> None:
        provider.create("a")
        with pytest.raises(SealBroken):
            provider.unwrap("a", value, PLACE)

    def test_creating_twice_keeps_the_key(self, provider: KeyProvider) -> None:
        provider.create("a")
        wrapped = provider.wrap("a", SECRET, PLACE)
        provider.create("a")
        assert provider.unwrap("a", wrapped, PLACE) == SECRET

    def test_an_unknown_name_is_said_to_be_missing(self, provider: KeyProvider) -> None:
        with pytest.raises(KeyMissing):
            provider.wrap("nobody", SECRET, PLACE)
        with pytest.raises(KeyMissing):
            provider.rotate("nobody")
        with pytest.raises(KeyMissing):
            provider.retire("nobody")

    def test_rotation_keeps_the_old_until_it_is_retired(self, provider: KeyProvider) -> None:
        provider.create("a")
        before = provider.wrap("a", SECRET, PLACE)
        provider.rotate("a")
        after = provider.wrap("a", SECRET, PLACE)
        assert provider.unwrap("a", before, PLACE) == SECRET
        provider.retire("a")
        assert provider.unwrap("a", after, PLACE) == SECRET
        with pytest.raises(SealBroken):
            provider.unwrap("a", before, PLACE)

    def test_a_destroyed_key_never_comes_back(self, provider: KeyProvider) -> None:
        provider.create("a")
        wrapped = provider.wrap("a", SECRET, PLACE)
        provider.destroy("a")
        provider.destroy("a")
        with pytest.raises(KeyMissing):
            provider.unwrap("a", wrapped, PLACE)
        with pytest.raises(KeyMissing):
            provider.create("a")
