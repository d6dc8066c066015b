#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

int clinux_forbid_dumps(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : errno; }

int clinux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno; }

int clinux_close_from(int first) {
  if (close_range((unsigned)first, UINT_MAX, 0) == 0)
    return 0;
  // Kernels before 5.9.
  long limit = sysconf(_SC_OPEN_MAX);
  for (int descriptor = first; descriptor < limit; descriptor++)
    close(descriptor);
  return 0;
}

int clinux_clone_file(int from, int to) { return ioctl(to, FICLONE, from) == 0 ? 0 : errno; }

int clinux_copy_range(int from, int to, long long offset, long long length) {
  off_t in = offset, out = offset;
  while (length > 0) {
    size_t piece = length < (1 << 30) ? (size_t)length : 1 << 30;
    ssize_t count = copy_file_range(from, &in, to, &out, piece, 0);
    if (count == 0)
      return 0;
    if (count > 0)
      length -= count;
    else if (errno != EINTR)
      return errno;
  }
  return 0;
}

int clinux_next_data(int file, long long offset, long long *start, long long *end) {
  *start = lseek(file, offset, SEEK_DATA);
  if (*start < 0)
    return errno;
  *end = lseek(file, *start, SEEK_HOLE);
  return *end < 0 ? errno : 0;
}

int clinux_set_attribute(int file, const char *name, const void *value, size_t size) {
  return fsetxattr(file, name, value, size, 0) == 0 ? 0 : errno;
}

long clinux_get_attribute(const char *path, const char *name, void *value, size_t size) {
  return lgetxattr(path, name, value, size);
}

int clinux_remove_attribute(int file, const char *name) {
  if (fremovexattr(file, name) == 0)
    return 0;
  // Nor can one be on a filesystem that has none.
  return errno == ENODATA || errno == EOPNOTSUPP ? 0 : errno;
}

int clinux_open_direct(const char *path, int *error) {
  int file = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
  *error = file < 0 ? errno : 0;
  return file;
}

int clinux_peer_user(int socket, unsigned *user) {
  struct ucred peer;
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return errno;
  *user = peer.uid;
  return 0;
}

int clinux_enter_mount_namespace(const char *file) {
  int namespace = open(file, O_RDONLY | O_CLOEXEC);
  if (namespace < 0)
    return errno;
  int error = setns(namespace, CLONE_NEWNS) == 0 ? 0 : errno;
  close(namespace);
  return error;
}

int clinux_remount(const char *path, unsigned long flags) {
  return mount(NULL, path, NULL, MS_REMOUNT | flags, NULL) == 0 ? 0 : errno;
}

int clinux_wait(sem_t *semaphore, long long nanoseconds) {
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  nanoseconds += end.tv_nsec;
  end.tv_sec += nanoseconds / 1000000000;
  end.tv_nsec = nanoseconds % 1000000000;
  while (sem_clockwait(semaphore, CLOCK_MONOTONIC, &end) != 0)
    if (errno != EINTR)
      return errno;
  return 0;
}
