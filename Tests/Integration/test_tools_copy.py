"""cp, diff, tar and rsync do on a mount what they do on a local disk."""

import os

import pytest
from support.commands import run
from support.trees import assert_same_trees, make_tree


@pytest.fixture
def source(tmp_path):
    return make_tree(tmp_path / "source")


def test_cp_and_diff(source, bucket, mount, local):
    mounted = mount(bucket)
    for target in (mounted.path, local):
        run("cp", "-r", source, target / "copy")
    run("diff", "-r", "--no-dereference", source, mounted.path / "copy")
    assert_same_trees(mounted.path, local)
    mounted.restart()
    run("diff", "-r", "--no-dereference", source, mounted.path / "copy")
    assert_same_trees(mounted.path, local)
    # Back to a local disk.
    run("cp", "-r", mounted.path / "copy", local / "back")
    assert_same_trees(local / "back", source)


def test_cp_archive_keeps_attributes(source, bucket, mount):
    mounted = mount(bucket)
    run("cp", "-a", source, mounted.path / "copy")
    assert_same_trees(mounted.path / "copy", source, times=True, directory_times=True, owners=True)
    mounted.restart()
    assert_same_trees(mounted.path / "copy", source, times=True, directory_times=True, owners=True)


def test_tar_extracts_compares_and_packs(source, bucket, mount, tmp_path):
    mounted = mount(bucket)
    archive = tmp_path / "source.tar"
    run("tar", "--format=posix", "-C", tmp_path, "-cf", archive, "source")
    run("tar", "-C", mounted.path, "-xpf", archive)
    assert_same_trees(mounted.path / "source", source, times=True, directory_times=True, owners=True)
    mounted.restart()
    # tar looks at every byte and attribute that the archive has.
    run("tar", "-C", mounted.path, "--compare", "-f", archive)
    again = tmp_path / "again.tar"
    run("tar", "--format=posix", "-C", mounted.path, "-cf", again, "source")
    (tmp_path / "unpacked").mkdir()
    run("tar", "-C", tmp_path / "unpacked", "-xpf", again)
    assert_same_trees(tmp_path / "unpacked/source", source, times=True, directory_times=True, owners=True)


def test_tar_onto_the_mount(source, mounted, tmp_path):
    run("tar", "-C", source, "-czf", mounted / "archive.tar.gz", ".")
    run("tar", "-C", source, "--compare", "-zf", mounted / "archive.tar.gz")


def test_rsync_finds_nothing_to_do_the_second_time(source, bucket, mount):
    mounted = mount(bucket)
    arguments = ["rsync", "-a", "--itemize-changes", f"{source}/", f"{mounted.path}/copy/"]
    first = run(*arguments).stdout
    assert "run.sh" in first
    assert run(*arguments).stdout == ""
    assert_same_trees(mounted.path / "copy", source, times=True, directory_times=True, owners=True)
    mounted.restart()
    assert run(*arguments).stdout == ""
    assert run(*arguments, "--checksum").stdout == ""
    assert os.access(mounted.path / "copy" / "run.sh", os.X_OK)
    assert run(mounted.path / "copy" / "run.sh").stdout == "it runs\n"


def test_rsync_brings_a_change_over_and_deletes(source, bucket, mount):
    mounted = mount(bucket)
    arguments = ["rsync", "-a", "--delete", f"{source}/", f"{mounted.path}/copy/"]
    run(*arguments)
    (source / "run.sh").write_text("#!/bin/sh\necho changed\n")
    (source / "large.bin").unlink()
    (source / "new").write_text("new")
    run(*arguments)
    assert_same_trees(mounted.path / "copy", source, times=True)
    (source / "new").write_text("in place")
    run(*arguments, "--inplace", "--no-whole-file")
    assert_same_trees(mounted.path / "copy", source, times=True)


def test_dd_patches_in_place(mounted, local):
    for directory in (mounted, local):
        (directory / "file").write_bytes(bytes(range(256)) * 4096)
        (directory / "patch").write_bytes(b"\xff" * 5000)
        run(
            *("dd", f"if={directory}/patch", f"of={directory}/file", "bs=1000", "seek=77"),
            *("conv=notrunc,fsync", "status=none"),
        )
    assert_same_trees(mounted, local)


def test_cp_keeps_holes_readable(mounted, local):
    """A bucket knows no holes; the zeros must be there all the same."""
    with open(local / "sparse", "wb") as file:
        file.truncate(12 << 20)
        os.pwrite(file.fileno(), b"island", 7 << 20)
    run("cp", "--sparse=always", local / "sparse", mounted / "sparse")
    run("cp", "--sparse=always", mounted / "sparse", mounted / "again")
    run("cmp", local / "sparse", mounted / "sparse")
    run("cmp", local / "sparse", mounted / "again")


def test_mv_between_a_local_disk_and_the_mount(source, mounted, local):
    run("cp", "-a", source, local / "tree")
    run("mv", local / "tree", mounted / "tree")
    assert not (local / "tree").exists()
    assert_same_trees(mounted / "tree", source, times=True, owners=True)
    run("mv", mounted / "tree", local / "back")
    assert os.listdir(mounted) == []
    assert_same_trees(local / "back", source, times=True, owners=True)
