#include <errno.h>
#include <sys/ioctl.h>

#include "internal.h"

/* From Linux 6.9; the headers of Debian 12 are older. */
struct backing_map {
  int32_t descriptor;
  uint32_t flags;
  uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

int32_t waysfs_session_open_backing(struct waysfs_session *session, int descriptor) {
  if (!(session->init_agreed & WAYSFS_INIT_PASSTHROUGH)) {
    return -EOPNOTSUPP;
  }
  const struct backing_map map = {.descriptor = descriptor};
  int result = ioctl(fuse_session_fd(session->fuse), BACKING_OPEN, &map);
  if (result < 0) {
    return -errno;
  }
  return result > 0 ? result : -EPROTO;
}

int waysfs_session_close_backing(struct waysfs_session *session, int32_t backing) {
  const uint32_t number = (uint32_t)backing;
  return ioctl(fuse_session_fd(session->fuse), BACKING_CLOSE, &number) == 0 ? 0 : -errno;
}
