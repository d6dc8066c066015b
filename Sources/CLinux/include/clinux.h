#pragma once

// System calls of Linux that Swift cannot import by itself: prctl(2) is variadic, the others are GNU extensions.
// Every function returns 0, or the errno of what failed.

/// Nobody but root may read this process's memory, environment or core (PR_SET_DUMPABLE, prctl(2)).
int clinux_forbid_dumps(void);

/// A pipe whose ends are not inherited across exec (pipe2(2)): ends[0] reads, ends[1] writes.
int clinux_pipe(int ends[2]);

/// Closes every descriptor from `first` on (close_range(2)).
int clinux_close_from(int first);

/// Makes `to` share the blocks of `from`, on a filesystem that can (FICLONE, ioctl_ficlone(2)).
int clinux_clone_file(int from, int to);

/// Copies `length` bytes at `offset` to the same place in another file inside the kernel (copy_file_range(2)); stops at
/// the end of `from`.
int clinux_copy_range(int from, int to, long long offset, long long length);

/// The next run of data at or after `offset` in a sparse file (SEEK_DATA and SEEK_HOLE, lseek(2)); ENXIO when only a
/// hole follows. Moves the file's own position.
int clinux_next_data(int file, long long offset, long long *start, long long *end);

/// Opens a file past the page cache (O_DIRECT, open(2)); -1 with the errno in `error` where that cannot be. Not
/// inherited across exec.
int clinux_open_direct(const char *path, int *error);
