#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

/*
 * Returns 0 or an errno. What the path leads through is asked nothing: it might hang. Where it would have to be, nothing is
 * asked, which is EAGAIN.
 */
static int ask(const char *path) {
  struct statvfs answer;
  struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_CACHED};
  int root = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
  if (root >= 0) {
    int error = fstatvfs(root, &answer) == 0 ? 0 : errno;
    close(root);
    return error;
  }
  if (errno == ENOSYS || errno == EINVAL || errno == EPERM) {
    /* Linux before 5.12, or a filter of system calls that does not know it. */
    return statvfs(path, &answer) == 0 ? 0 : errno;
  }
  return errno;
}

/* Linux before 5.9, and filters, do not know close_range. */
static void close_from(int first) {
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) {
    return;
  }
  long limit = sysconf(_SC_OPEN_MAX);
  for (int file = first; file < (limit < 0 || limit > 1 << 20 ? 1 << 20 : limit); file++) {
    close(file);
  }
}

static bool take(int socket, char *byte) {
  ssize_t count;
  do {
    count = recv(socket, byte, 1, 0);
  } while (count < 0 && errno == EINTR);
  return count == 1;
}

/* Without SIGPIPE when nobody is there any more. */
static bool give(int socket, char byte) {
  ssize_t count;
  do {
    count = send(socket, &byte, 1, MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  return count == 1;
}

/* Between fork and _exit only what is safe in a signal handler: other threads may have held any lock. */
static void serve(const char *path, int socket) {
  prctl(PR_SET_NAME, "waysfs-check");
  /* Whoever ends the mount is not to end this before it: it ends by itself behind it. */
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  /* It is here that the device would be kept open. */
  if (chdir("/") != 0 || dup2(socket, 0) < 0) {
    return;
  }
  close_from(1);
  char byte = 0;
  /* The errnos of Linux go up to 133. */
  while (take(0, &byte) && give(0, (char)ask(path))) {
  }
}

int waysfs_asker_start(struct waysfs_asker *asker, const char *path) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return -errno;
  }
  pid_t process = fork();
  int error = errno;
  if (process == 0) {
    serve(path, ends[1]);
    _exit(0);
  }
  close(ends[1]);
  if (process < 0) {
    close(ends[0]);
    return -error;
  }
  *asker = (struct waysfs_asker){.process = process, .socket = ends[0]};
  return 0;
}

int waysfs_asker_ask(const struct waysfs_asker *asker, int milliseconds) {
  char byte = 0;
  if (!give(asker->socket, 0)) {
    return -ESRCH;
  }
  struct pollfd answer = {.fd = asker->socket, .events = POLLIN};
  /* A signal makes it wait longer: no harm, since threads have all of them blocked. */
  if (milliseconds >= 0 && poll(&answer, 1, milliseconds) == 0) {
    return -ETIMEDOUT;
  }
  return take(asker->socket, &byte) ? (unsigned char)byte : -ESRCH;
}

void waysfs_asker_end(const struct waysfs_asker *asker, bool waits) {
  close(asker->socket);
  kill(asker->process, SIGKILL);
  /* One that waits for an answer ends when the mount does, and init takes it. */
  waitpid(asker->process, NULL, waits ? WNOHANG : 0);
}
