#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

static struct fuse_session *new_fuse_session(struct waysfs_session *session, const struct waysfs_config *config) {
  struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
  int failed = fuse_opt_add_arg(&arguments, "waysfs");
  for (int i = 0; i < config->argument_count && !failed; i++) {
    failed = fuse_opt_add_arg(&arguments, config->arguments[i]);
  }
  struct fuse_session *fuse =
      failed ? NULL : fuse_session_new(&arguments, &waysfs_operations, sizeof(waysfs_operations), session);
  fuse_opt_free_args(&arguments);
  return fuse;
}

struct waysfs_session *waysfs_session_new(
    const struct waysfs_config *config, const struct waysfs_callbacks *callbacks, char *message, size_t message_size) {
  struct waysfs_session *session = calloc(1, sizeof(*session));
  if (session == NULL) {
    return NULL;
  }
  session->callbacks = *callbacks;
  session->max_write = config->max_write;
  session->max_background = config->max_background;
  session->init_flags = config->init_flags;
  session->max_workers = config->max_workers;
  session->idle_workers = config->idle_workers;
  session->workers = calloc(config->max_workers, sizeof(*session->workers));
  if (session->workers == NULL) {
    free(session);
    return NULL;
  }
  pthread_mutex_init(&session->lock, NULL);
  pthread_cond_init(&session->wakeup, NULL);
  pthread_cond_init(&session->ended, NULL);

  waysfs_capture_begin(message, message_size);
  session->fuse = new_fuse_session(session, config);
  waysfs_capture_end();
  if (session->fuse == NULL) {
    waysfs_session_free(session);
    return NULL;
  }
  return session;
}

void waysfs_session_set_context(struct waysfs_session *session, void *context) { session->context = context; }

int waysfs_session_mount(struct waysfs_session *session, const char *path, char *message, size_t message_size) {
  waysfs_capture_begin(message, message_size);
  int result = fuse_session_mount(session->fuse, path);
  if (result == 0) {
    const struct fuse_custom_io io = {.read = waysfs_device_read, .writev = waysfs_device_write};
    /* The same descriptor that is there already: only the two functions are new. */
    result = fuse_session_custom_io(session->fuse, &io, fuse_session_fd(session->fuse)) == 0 ? 0 : -1;
    if (result != 0) {
      fuse_session_unmount(session->fuse);
    }
  }
  waysfs_capture_end();
  return result;
}

int waysfs_follow_no_links(const char *path) {
  /* struct mount_attr, which glibc has since 2.36 only. */
  const struct {
    uint64_t set, clear, propagation, user_namespace;
  } attributes = {.set = 0x00200000 /* MOUNT_ATTR_NOSYMFOLLOW */};
  long result = syscall(SYS_mount_setattr, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &attributes, sizeof(attributes));
  return result == 0 ? 0 : -errno;
}

void waysfs_session_free(struct waysfs_session *session) {
  if (session->fuse != NULL) {
    /* Not fuse_session_unmount: it would unmount by path, and by now something else may be mounted there. */
    fuse_session_destroy(session->fuse);
  }
  waysfs_free_spares(session);
  pthread_cond_destroy(&session->ended);
  pthread_cond_destroy(&session->wakeup);
  pthread_mutex_destroy(&session->lock);
  free(session->workers);
  free(session);
}
