#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

void waysfs_init_connection(struct waysfs_session *session, struct fuse_conn_info *connection) {
  connection->max_write = session->max_write;
  connection->max_background = session->max_background;
  connection->congestion_threshold = session->max_background / 4 * 3 + 1;
  connection->time_gran = 1;
  /*
   * Plain memory beats splice for both directions. The kernel keeps locks and POSIX ACLs to itself, NFS export would
   * need inode numbers that last, and without the writeback cache a write that returned has reached us.
   */
  connection->want &= ~(unsigned)(
      FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_EXPORT_SUPPORT |
      FUSE_CAP_POSIX_ACL | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_WRITEBACK_CACHE |
      FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT);
  /* Newer libfuse really sends these two; whether the second is wanted the configuration says, as with this libfuse. */
  connection->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
  connection->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV_V2;
#endif
  connection->want |= connection->capable &
                      (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS |
                       FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
}

void waysfs_note_init(struct waysfs_session *session, const void *request, size_t size) {
  struct fuse_in_header header;
  struct fuse_init_in init;
  memset(&init, 0, sizeof(init));
  if (size < sizeof(header)) {
    return;
  }
  memcpy(&header, request, sizeof(header));
  if (header.opcode != FUSE_INIT) {
    return;
  }
  size_t body = size - sizeof(header);
  memcpy(&init, (const char *)request + sizeof(header), body < sizeof(init) ? body : sizeof(init));
  session->init_pending = true;
  session->init_unique = header.unique;
  session->init_offered = init.flags;
  if (init.flags & FUSE_INIT_EXT) {
    session->init_offered |= (uint64_t)init.flags2 << 32;
  }
}

/*
 * How many filesystems may lie on one another below the files that reads are passed through to: with 1 they are on a
 * plain one, and an overlay may still be mounted on top of this mount. It stands behind flags2 since Linux 6.9.
 */
static void set_stack_depth(struct fuse_init_out *answer) {
  const uint32_t depth = 1;
  memcpy((char *)answer + offsetof(struct fuse_init_out, flags2) + sizeof(answer->flags2), &depth, sizeof(depth));
}

/* Adds the wanted bits that libfuse left out to its answer. */
static void add_init_flags(struct waysfs_session *session, struct iovec *vector, int count) {
  struct fuse_init_out *answer = vector[1].iov_base;
  if (count < 2 || vector[1].iov_len < offsetof(struct fuse_init_out, unused)) {
    return;
  }
  uint64_t wanted = session->init_flags & session->init_offered;
  answer->flags |= (uint32_t)wanted;
  session->init_agreed = answer->flags;
  if (answer->flags & FUSE_INIT_EXT) {
    answer->flags2 |= (uint32_t)(wanted >> 32);
    if (wanted & WAYSFS_INIT_PASSTHROUGH) {
      set_stack_depth(answer);
    }
    session->init_agreed |= (uint64_t)answer->flags2 << 32;
  }
}

uint64_t waysfs_session_init_flags(const struct waysfs_session *session) { return session->init_agreed; }

ssize_t waysfs_device_read(int device, void *buffer, size_t size, void *session) {
  (void)session;
  return read(device, buffer, size);
}

ssize_t waysfs_device_write(int device, struct iovec *vector, int count, void *userdata) {
  struct waysfs_session *session = userdata;
  if (!session->init_pending) {
    return writev(device, vector, count);
  }
  const struct fuse_out_header *header = vector[0].iov_base;
  bool answers_init = header->unique == session->init_unique && header->error == 0;
  if (answers_init) {
    add_init_flags(session, vector, count);
  }
  ssize_t written = writev(device, vector, count);
  if (answers_init && written >= 0) {
    session->init_answered = true;
  }
  return written;
}
