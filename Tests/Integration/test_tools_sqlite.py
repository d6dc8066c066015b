"""SQLite databases on a mount."""

import sqlite3

import pytest
from support.commands import run

SCRIPT = """
CREATE TABLE entries(id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER);
BEGIN;
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 2000)
  INSERT INTO entries(name, size) SELECT 'name ' || n, n * 7 % 1000 FROM number;
COMMIT;
UPDATE entries SET size = size + 1 WHERE id % 3 = 0;
BEGIN; DELETE FROM entries; ROLLBACK;
DELETE FROM entries WHERE id > 1900;
VACUUM;
"""
SUMMARY = "SELECT count(*), sum(size), min(name), max(name) FROM entries; PRAGMA integrity_check;"


def sqlite(database, script):
    return run("sqlite3", "-bail", database, input=script).stdout


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "memory"])
def test_a_database_gives_the_same_as_on_a_local_disk(journal, bucket, mount, local):
    mounted = mount(bucket)
    script = f"PRAGMA journal_mode={journal};\n{SCRIPT}"
    assert sqlite(mounted.path / "data.db", script) == sqlite(local / "data.db", script)
    expected = sqlite(local / "data.db", SUMMARY)
    assert expected.endswith("ok\n")
    assert sqlite(mounted.path / "data.db", SUMMARY) == expected
    mounted.restart()
    assert sqlite(mounted.path / "data.db", SUMMARY) == expected


def test_write_ahead_log(mounted, local):
    """The shared-memory file of this mode is mapped by the processes that use the database, here one."""
    script = f"PRAGMA journal_mode=wal;\n{SCRIPT}"
    assert sqlite(mounted / "data.db", script) == sqlite(local / "data.db", script)
    assert sqlite(mounted / "data.db", SUMMARY) == sqlite(local / "data.db", SUMMARY)


def test_two_connections_see_each_others_commits(mounted):
    database = str(mounted / "data.db")
    first, second = sqlite3.connect(database), sqlite3.connect(database)
    try:
        first.execute("CREATE TABLE t(n)")
        first.execute("INSERT INTO t VALUES (1)")
        first.commit()
        assert second.execute("SELECT n FROM t").fetchall() == [(1,)]
        second.execute("INSERT INTO t VALUES (2)")
        second.commit()
        assert first.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,)]
    finally:
        first.close()
        second.close()
