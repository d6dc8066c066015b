#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

/* What the path leads through is asked nothing: it might hang. Where it would have to be, nothing is asked. */
static void ask(const char *path) {
  struct statvfs answer;
  struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_CACHED};
  int root = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
  if (root >= 0) {
    (void)fstatvfs(root, &answer);
    close(root);
  } else if (errno == ENOSYS || errno == EINVAL || errno == EPERM) {
    /* Linux before 5.12, or a filter of system calls that does not know it. */
    (void)statvfs(path, &answer);
  }
}

static ssize_t transfer(ssize_t (*call)(int, void *, size_t), int file, char *byte) {
  ssize_t count;
  do {
    count = call(file, byte, 1);
  } while (count < 0 && errno == EINTR);
  return count;
}

static ssize_t put(int file, void *byte, size_t size) { return write(file, byte, size); }

/* Between fork and _exit only what is safe in a signal handler: other threads may have held any lock. */
static void serve(const char *path, int questions, int answers) {
  prctl(PR_SET_NAME, "waysfs-check");
  /* Whoever ends the mount is not to end this before it: it ends by itself behind it. */
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  /* It is here that the device would be kept open. */
  if (dup2(questions, 0) < 0 || dup2(answers, 1) < 0 || syscall(SYS_close_range, 2, ~0U, 0) != 0) {
    return;
  }
  char byte = 0;
  while (transfer(read, 0, &byte) == 1) {
    ask(path);
    if (transfer(put, 1, &byte) != 1) {
      return;
    }
  }
}

int waysfs_asker_start(struct waysfs_asker *asker, const char *path) {
  int questions[2], answers[2];
  if (pipe2(questions, O_CLOEXEC) != 0) {
    return -errno;
  }
  if (pipe2(answers, O_CLOEXEC) != 0) {
    int error = errno;
    close(questions[0]);
    close(questions[1]);
    return -error;
  }
  pid_t process = fork();
  int error = errno;
  if (process == 0) {
    serve(path, questions[0], answers[1]);
    _exit(0);
  }
  close(questions[0]);
  close(answers[1]);
  if (process < 0) {
    close(questions[1]);
    close(answers[0]);
    return -error;
  }
  *asker = (struct waysfs_asker){.process = process, .questions = questions[1], .answers = answers[0]};
  return 0;
}

bool waysfs_asker_ask(const struct waysfs_asker *asker) {
  char byte = 0;
  return transfer(put, asker->questions, &byte) == 1 && transfer(read, asker->answers, &byte) == 1;
}

void waysfs_asker_end(const struct waysfs_asker *asker) {
  close(asker->questions);
  close(asker->answers);
  kill(asker->process, SIGKILL);
  /* One that waits for an answer ends with the mount; init takes it then. */
  waitpid(asker->process, NULL, WNOHANG);
}
