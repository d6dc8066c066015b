#include <errno.h>

#include "internal.h"

/* The kernel answers ENOENT when it does not know the inode or the name: then there is nothing to forget. */
static int nothing_known_is_fine(int result) { return result == -ENOENT ? 0 : result; }

int waysfs_session_invalidate_inode(struct waysfs_session *session, uint64_t inode) {
  /* From offset 0, length 0: all pages, and the attributes. */
  return nothing_known_is_fine(fuse_lowlevel_notify_inval_inode(session->fuse, inode, 0, 0));
}

int waysfs_session_invalidate_attributes(struct waysfs_session *session, uint64_t inode) {
  /* A negative offset: no pages, and so no lock on any. */
  return nothing_known_is_fine(fuse_lowlevel_notify_inval_inode(session->fuse, inode, -1, 0));
}

int waysfs_session_invalidate_entry(
    struct waysfs_session *session, uint64_t parent, const char *name, size_t length) {
  return nothing_known_is_fine(fuse_lowlevel_notify_inval_entry(session->fuse, parent, name, length));
}
