#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "internal.h"

/* What travels with the one ioctl that a mount understands, in and out. Its layout is for ever. */
struct warm {
  uint64_t offset;
  uint64_t length;
  uint64_t cached;
};
#define WARM _IOWR('w', 0x57, struct warm)

int waysfs_warm(int file, uint64_t offset, uint64_t length, uint64_t *cached) {
  struct warm warm = {.offset = offset, .length = length};
  if (ioctl(file, WARM, &warm) != 0) {
    return -errno;
  }
  *cached = warm.cached;
  return 0;
}

void waysfs_on_ioctl(
    fuse_req_t request, fuse_ino_t inode, unsigned command, void *argument, struct fuse_file_info *file,
    unsigned flags, const void *in, size_t in_size, size_t out_size) {
  (void)inode;
  (void)argument;
  struct warm warm;
  if (command != WARM || flags & FUSE_IOCTL_DIR || in_size < sizeof(warm) || out_size < sizeof(warm)) {
    fuse_reply_err(request, ENOTTY);
    return;
  }
  memcpy(&warm, in, sizeof(warm));
  struct waysfs_session *session = fuse_req_userdata(request);
  session->callbacks.warm(session->context, request, file->fh, warm.offset, warm.length);
}

int waysfs_reply_warm(waysfs_request request, uint64_t cached) {
  const struct warm warm = {.cached = cached};
  return fuse_reply_ioctl(request, 0, &warm, sizeof(warm));
}
