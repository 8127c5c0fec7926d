"""Downloads one file from a server that makes every mistake that servers make."""

import hashlib
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from alexnet.errors import AlexNetError, DataError, ResourceError, UsageError
from alexnet.storage import download
from alexnet.storage.download import Patience, check_address, fetch, fetch_small, is_address
from harness.faulty_server import LASTING, PASSING, serving

pytest.importorskip("aiohttp")

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def patience(pauses) -> Patience:
    """Gives up quickly, and records its pauses instead of waiting."""
    return Patience(silence=0.3, bytes_per_second=1e6, sleep=pauses.append)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "server/a.npy").write_bytes(CONTENT)
    return tmp_path / "server"


def get(server, to, patience, size=10240):
    fetch(f"{server.address}/a.npy", to / "a.npy", SHA256, patience, size)
    return (to / "a.npy").read_bytes()


@pytest.mark.parametrize("size", [len(CONTENT), None], ids=["size known", "unknown"])
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_waited_for_and_the_file_is_right(shard, tmp_path, patience, pauses, fault, size):
    with serving(shard, {"a.npy": [fault]}) as server:
        assert get(server, tmp_path, patience, size) == CONTENT
    assert server.requests["a.npy"] == 2
    assert server.planted == {fault: 1}
    assert len(pauses) == (fault != "reset at once")  # then aiohttp asks a second time by itself
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "server"]


@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_is_said_at_once(shard, tmp_path, patience, pauses, fault):
    with serving(shard, {"a.npy": [fault]}) as server, pytest.raises(DataError) as told:
        get(server, tmp_path, patience)
    assert told.value.code == ("E354" if fault == "404" else "E355")
    assert f"{server.address}/a.npy" in told.value.what
    assert (server.requests["a.npy"], pauses) == (1, [])
    assert not (tmp_path / "a.npy").exists()


@pytest.mark.parametrize("fault", ["500", "silent", "reset in the middle", "cut short", "trickle"])
def test_there_is_a_limit_and_then_the_last_reason_is_told(shard, tmp_path, patience, pauses, fault):
    with serving(shard, {"a.npy": [fault] * 99}) as server, pytest.raises(ResourceError) as told:
        get(server, tmp_path, replace(patience, attempts=3))
    assert told.value.code == "E505"
    assert "in 3 attempts" in told.value.what
    reason = {"500": "HTTP 500", "silent": "imeout", "trickle": "slower than 1000 kB"}
    assert reason.get(fault, "") in told.value.what
    assert (server.requests["a.npy"], len(pauses)) == (3, 2)


def test_bytes_that_stay_wrong_are_told_with_both_sums(shard, tmp_path, patience):
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 4])
    with serving(shard, {"a.npy": ["one bit"] * 99}) as server, pytest.raises(DataError) as told:
        get(server, tmp_path, patience)
    assert told.value.code == "E356"
    assert all(part in told.value.what for part in ("a.npy", SHA256, hashlib.sha256(wrong).hexdigest()))
    assert server.requests["a.npy"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


def test_pauses_double_up_to_the_longest_and_are_spread(shard, tmp_path, patience, pauses):
    patient = replace(patience, attempts=9, first_pause=1.0, longest_pause=20.0)
    with serving(shard, {"a.npy": ["500"] * 8}) as server:
        get(server, tmp_path, patient)
    bounds = [1, 2, 4, 8, 16, 20, 20, 20]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, bounds, strict=True))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(said, seconds):
    assert download._retry_after_seconds(said) == seconds


def test_retry_after_as_a_date_to_come():
    found = download._retry_after_seconds(format_datetime(datetime.now(UTC) + timedelta(days=1)))
    assert found is not None
    assert 86000 < found <= 86400


def test_the_server_may_name_the_pause_but_not_a_longer_one_than_ours(shard, tmp_path, patience, pauses, monkeypatch):
    for asked, expected in ((40.0, 40.0), (4000.0, 60.0)):
        monkeypatch.setattr(download, "_retry_after_seconds", lambda text, asked=asked: asked)
        with serving(shard, {"a.npy": ["503"]}) as server:
            get(server, tmp_path, patience)
        assert pauses.pop() == expected


def test_a_server_that_is_not_there(tmp_path, patience):
    with pytest.raises(ResourceError, match="Cannot connect"):
        fetch("http://127.0.0.1:9/a.npy", tmp_path / "a.npy", SHA256, patience)


def test_a_small_file_and_one_that_is_not_small(shard, patience):
    with serving(shard, {"a.npy": ["cut short", "500"]}) as server:
        assert fetch_small(f"{server.address}/a.npy", patience, len(CONTENT)) == CONTENT
        with pytest.raises(DataError) as told:
            fetch_small(f"{server.address}/a.npy", patience, len(CONTENT) - 1)
    assert told.value.code == "E357"


def test_other_file_systems(shard, tmp_path, patience, monkeypatch):
    fetch(f"file://{shard}/a.npy", tmp_path / "b.npy", SHA256, patience, len(CONTENT))
    assert (tmp_path / "b.npy").read_bytes() == CONTENT
    with pytest.raises(DataError, match="E354"):
        fetch(f"file://{shard}/none.npy", tmp_path / "c.npy", SHA256, patience)

    def refused(*arguments, **options):
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(download, "open_address", refused)
    with pytest.raises(DataError, match="E355 the server refuses s3://b/a: AccessDenied"):
        fetch("s3://b/a", tmp_path / "c.npy", SHA256, patience)


def test_memory_of_fsspec_as_an_object_store(tmp_path, patience):
    import fsspec

    fsspec.filesystem("memory").pipe("/bucket/a.npy", CONTENT)
    fetch("memory://bucket/a.npy", tmp_path / "a.npy", SHA256, patience, len(CONTENT))
    assert (tmp_path / "a.npy").read_bytes() == CONTENT


def test_credentials_come_from_netrc(shard, tmp_path, patience, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(shard) as server:
        server.needs = "Basic bWU6c2VjcmV0"  # me:secret in base64
        assert get(server, tmp_path, patience) == CONTENT


def test_schemes_and_packages(patience, monkeypatch):
    with pytest.raises(UsageError, match="E279"):
        fetch_small("gopher://a/b", patience, 1)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(UsageError, match=r"E277 http://.*\npip install 'alexnet\[remote\]'"):
        fetch_small("http://a/b", patience, 1)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"E277 s3://.*\npip install s3fs"):
        fetch_small("s3://a/b", patience, 1)


def test_addresses():
    assert [is_address(each) for each in ("https://a/b", "s3://a", "C:\\photos", "photos/", "digits")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert check_address("https://a.org:8080/b/c//") == "https://a.org:8080/b/c"
    assert check_address("abfs://container@account/b") == "abfs://container@account/b"
    for secret in ("https://me:secret@a.org/b", "https://a.org/b?sig=secret", "s3://a/b#secret"):
        with pytest.raises(UsageError, match="E278") as told:
            check_address(secret)
        assert "secret" not in str(told.value)


def test_a_disk_that_refuses_is_not_taken_for_the_network(shard, tmp_path, patience, pauses):
    (tmp_path / "a.npy").mkdir()  # cannot be replaced by a file
    with serving(shard) as server, pytest.raises(AlexNetError, match="E502"):
        get(server, tmp_path, patience)
    assert (server.requests["a.npy"], pauses) == (1, [])


def test_many_threads_fetch_at_once(shard, tmp_path, patience):
    results: list[bytes] = []
    with serving(shard, {"a.npy": ["500", "one bit", "cut short"]}) as server:
        for number in range(8):
            (tmp_path / str(number)).mkdir()
        work = [threading.Thread(target=lambda n=n: results.append(get(server, tmp_path / str(n), patience)))
                for n in range(8)]  # fmt: skip
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    assert results == [CONTENT] * 8
