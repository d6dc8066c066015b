"""How many requests reading names and attributes costs, counted by the server."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers import Bucket, Server
from support.responder import Responder


# What was learnt must not be asked for again only because the machine is slow.
LIFETIME = ("--metadata-ttl", "1h")


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A server that counts."""
    made = Responder(tmp_path_factory.mktemp("counting"))
    yield made
    made.stop()


@pytest.fixture
def store(counting):
    bucket = Bucket(Server("responder", counting.environment["WAYSFS_ENDPOINT"]), counting.client())
    yield bucket
    bucket.remove()


def requests(counting):
    lines = counting.control()
    return {name: int(text.split()[0]) for name, text in lines.items() if " received " in f" {text} "}


def spent(counting, work):
    """How many requests of each kind something takes."""
    before = requests(counting)
    work()
    after = requests(counting)
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}


def fill(store, keys, body=b"x"):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.put(key, body), keys))


def test_a_long_listing_costs_its_pages(counting, store, mount):
    fill(store, [f"d/{number:05}" for number in range(3500)])
    path = mount(store, *LIFETIME).path

    def work():
        listed = subprocess.run(["ls", "-lU", path / "d"], check=True, capture_output=True, text=True).stdout
        assert len(listed.splitlines()) == 3501

    cost = spent(counting, work)
    # Four pages, and what it takes to find the directory.
    assert cost.get("listObjectsV2", 0) <= 6 and cost.get("headObject", 0) <= 3, cost
    again = spent(counting, work)
    assert again.get("headObject", 0) == 0 and again.get("listObjectsV2", 0) == 0, again


def test_a_walk_costs_less_than_its_directories(counting, store, mount):
    keys = [f"t/{outer:02}/{inner}/{name}" for outer in range(30) for inner in range(4) for name in range(3)]
    fill(store, keys)
    path = mount(store, *LIFETIME).path

    def work():
        found = subprocess.run(["find", path / "t", "-type", "f"], check=True, capture_output=True, text=True).stdout
        assert sorted(found.split()) == sorted(f"{path}/{key}" for key in keys)

    cost = spent(counting, work)
    assert cost.get("headObject", 0) <= 3, cost
    # Of 151 directories a few are listed before the whole tree is known.
    assert cost.get("listObjectsV2", 0) <= 60, cost


def test_a_large_walk_costs_its_pages_and_shows_what_changes_meanwhile(counting, store, mount):
    keys = {f"t/{outer:02}/{inner}/{name:03}" for outer in range(40) for inner in range(2) for name in range(100)}
    fill(store, sorted(keys))
    path = mount(store).path

    def find():
        return subprocess.Popen(["find", path / "t", "-type", "f"], stdout=subprocess.PIPE, text=True)

    def found(process):
        lines = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 0 and len(set(lines)) == len(lines)
        return {os.path.relpath(line, path) for line in lines}

    def work():
        walk = find()
        # Far behind where it is.
        os.unlink(path / "t/39/1/007")
        os.rename(path / "t/38/0/001", path / "t/38/1/moved")
        (path / "t/37/1/new").write_bytes(b"new")
        os.mkdir(path / "t/36/2")
        (path / "t/36/2/new").write_bytes(b"new")
        # Whoever lists a directory while it changes may see the one or the other.
        changed = {"t/39/1/007", "t/38/0/001", "t/38/1/moved", "t/37/1/new", "t/36/2/new"}
        assert found(walk) ^ keys <= changed
        now = (keys - {"t/39/1/007", "t/38/0/001"}) | changed - {"t/39/1/007", "t/38/0/001"}
        assert found(find()) == now
        for key in changed:
            assert os.path.exists(path / key) == (key in now)

    cost = spent(counting, work)
    # Eight pages, twice where the making of a directory has spoilt a walk, and a few directories by themselves.
    assert cost.get("listObjectsV2", 0) <= 80, cost


def test_small_files_cost_one_request_each(counting, store, mount):
    fill(store, [f"d/{number:04}" for number in range(1000)], b"x" * 4096)
    path = mount(store, *LIFETIME).path

    def read(number):
        assert (path / "d" / f"{number:04}").read_bytes() == b"x" * 4096

    def work():
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(read, range(1000)))

    cost = spent(counting, work)
    assert cost["getObject"] == 1000, cost
    assert sum(cost.values()) < 1100, cost
    assert spent(counting, lambda: [os.stat(path / "d" / f"{number:04}") for number in range(1000)]).keys() <= {
        "listObjectsV2"
    }


def test_own_files_are_asked_for_their_attributes_once(counting, store, mount):
    path = mount(store, *LIFETIME).path
    (path / "d").mkdir()
    for number in range(50):
        (path / "d" / str(number)).write_bytes(b"x")
        os.chmod(path / "d" / str(number), 0o640)
    other = mount(store, *LIFETIME).path

    def work():
        modes = {entry.stat().st_mode for entry in os.scandir(other / "d")}
        assert modes == {0o100640}

    assert 50 <= spent(counting, work)["headObject"] <= 60
    assert spent(counting, work).get("headObject", 0) == 0
