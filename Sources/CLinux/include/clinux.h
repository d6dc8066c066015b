#pragma once

#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

// System calls of Linux that Swift cannot import by itself: prctl(2) is variadic, the others are extensions.
// Every function returns 0, or the errno of what failed, unless it says otherwise.

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

/// Gives an open file an extended attribute, in place of one of that name (fsetxattr(2)).
int clinux_set_attribute(int file, const char *name, const void *value, size_t size);

/// Reads an extended attribute of a file, no link, into `size` bytes (lgetxattr(2)); its length, or -1 when there is
/// none or it is longer.
long clinux_get_attribute(const char *path, const char *name, void *value, size_t size);

/// Takes an extended attribute from an open file, if it has it (fremovexattr(2)).
int clinux_remove_attribute(int file, const char *name);

/// Opens a file past the page cache (O_DIRECT, open(2)); -1 with the errno in `error` where that cannot be. Not
/// inherited across exec.
int clinux_open_direct(const char *path, int *error);

/// The effective user of whoever is at the other end of a connected Unix socket (SO_PEERCRED, unix(7)).
int clinux_peer_user(int socket, unsigned *user);

/// A socket to send datagrams from, not inherited across exec (unix(7)); -1 when there is none. `size` is asked for as
/// its buffer, of which the system grants no more than it wants to; a datagram that does not fit is too large. Sending
/// waits a second at most for a receiver that is behind.
int clinux_datagram_socket(int size);

/// Sends a datagram to the socket at a path, or to an abstract one when the path begins with `@`. EMSGSIZE or ENOBUFS say
/// that it is too large, EAGAIN that the receiver is behind: at once, or when a second is over and `waits`.
int clinux_send_datagram(int socket, const char *path, const void *bytes, size_t size, bool waits);

/// Sends an open file along with a datagram that is empty (SCM_RIGHTS).
int clinux_send_file(int socket, const char *path, int file, bool waits);

/// A file in memory with these bytes, which nobody can change any more (memfd_create(2), F_ADD_SEALS); -1 with the errno
/// in `error` when it cannot be made. Not inherited across exec.
int clinux_sealed_file(const void *bytes, size_t size, int *error);

/// Brings this process into the mount namespace that a file such as /proc/1/ns/mnt stands for (setns(2)). Before the
/// first thread starts.
int clinux_enter_mount_namespace(const char *file);

/// Gives a mount other flags, MS_REMOUNT aside (mount(2)).
int clinux_remount(const char *path, unsigned long flags);

/// Takes a signal of a semaphore, or waits for one as long as it says, by a clock that nobody sets (sem_clockwait(3));
/// ETIMEDOUT when the time is over.
int clinux_wait(sem_t *semaphore, long long nanoseconds);
