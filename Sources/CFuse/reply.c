#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "internal.h"

/* What a lifetime is cut to: about 30 years, so that no sum of it overflows in the kernel. */
#define LIFETIME_LIMIT 1e9

static double bounded(double lifetime) {
  if (!(lifetime > 0)) {
    return 0;
  }
  return lifetime < LIFETIME_LIMIT ? lifetime : LIFETIME_LIMIT;
}

static struct stat stat_of(const struct waysfs_attributes *attributes) {
  struct stat result;
  memset(&result, 0, sizeof(result));
  result.st_ino = attributes->file_number;
  result.st_mode = attributes->mode;
  result.st_nlink = attributes->links;
  result.st_uid = attributes->uid;
  result.st_gid = attributes->gid;
  result.st_size = (off_t)attributes->size;
  result.st_blocks = (blkcnt_t)(attributes->size / 512 + (attributes->size % 512 != 0));
  /* Buffered I/O of C libraries reads in this unit: larger would make small random reads large ones. */
  result.st_blksize = 4096;
  result.st_atim.tv_sec = attributes->accessed;
  result.st_atim.tv_nsec = attributes->accessed_nanoseconds;
  result.st_mtim.tv_sec = attributes->modified;
  result.st_mtim.tv_nsec = attributes->modified_nanoseconds;
  result.st_ctim.tv_sec = attributes->changed;
  result.st_ctim.tv_nsec = attributes->changed_nanoseconds;
  return result;
}

static struct fuse_entry_param entry_of(const struct waysfs_entry *entry) {
  struct fuse_entry_param result;
  memset(&result, 0, sizeof(result));
  result.ino = entry->inode;
  result.generation = entry->generation;
  result.attr = stat_of(&entry->attributes);
  result.entry_timeout = bounded(entry->lifetime);
  result.attr_timeout = bounded(entry->lifetime);
  return result;
}

static struct fuse_file_info file_of(const struct waysfs_open *open) {
  struct fuse_file_info result;
  memset(&result, 0, sizeof(result));
  result.fh = open->handle;
  result.keep_cache = open->keep_cache;
  result.direct_io = open->direct_io;
  return result;
}

int waysfs_reply_error(waysfs_request request, int error) { return fuse_reply_err(request, error); }

void waysfs_reply_none(waysfs_request request) { fuse_reply_none(request); }

int waysfs_reply_entry(waysfs_request request, const struct waysfs_entry *entry) {
  const struct fuse_entry_param answer = entry_of(entry);
  return fuse_reply_entry(request, &answer);
}

int waysfs_reply_attributes(
    waysfs_request request, const struct waysfs_attributes *attributes, double lifetime) {
  const struct stat answer = stat_of(attributes);
  return fuse_reply_attr(request, &answer, bounded(lifetime));
}

/* As libfuse 3.14 and its headers do not know it: fuse_open_out, whose padding has become the backing's number. */
struct open_answer {
  uint64_t handle;
  uint32_t flags;
  int32_t backing;
};
#define OPEN_NOFLUSH (1u << 5)
#define OPEN_PASSTHROUGH (1u << 7)

int waysfs_reply_open(waysfs_request request, const struct waysfs_open *open) {
  if (open->backing > 0) {
    /* Only files that are just read have a backing: a close has nothing to tell. */
    const struct open_answer raw = {open->handle, OPEN_PASSTHROUGH | OPEN_NOFLUSH, open->backing};
    return fuse_reply_buf(request, (const char *)&raw, sizeof(raw));
  }
  const struct fuse_file_info answer = file_of(open);
  return fuse_reply_open(request, &answer);
}

int waysfs_reply_create(waysfs_request request, const struct waysfs_entry *entry, const struct waysfs_open *open) {
  const struct fuse_entry_param answer = entry_of(entry);
  const struct fuse_file_info file = file_of(open);
  return fuse_reply_create(request, &answer, &file);
}

int waysfs_reply_data(waysfs_request request, const void *bytes, size_t count) {
  return fuse_reply_buf(request, bytes, count);
}

int waysfs_reply_vector(waysfs_request request, const struct iovec *vector, int count) {
  return fuse_reply_iov(request, vector, count);
}

int waysfs_reply_write(waysfs_request request, size_t count) { return fuse_reply_write(request, count); }

int waysfs_reply_link(waysfs_request request, const char *target) { return fuse_reply_readlink(request, target); }

int waysfs_reply_attribute(waysfs_request request, const void *value, size_t size, size_t room) {
  if (room == 0) {
    return fuse_reply_xattr(request, size);
  }
  return room < size ? fuse_reply_err(request, ERANGE) : fuse_reply_buf(request, value, size);
}

int waysfs_reply_statistics(waysfs_request request, const struct waysfs_statistics *statistics) {
  struct statvfs answer;
  memset(&answer, 0, sizeof(answer));
  answer.f_bsize = statistics->block_size;
  answer.f_frsize = statistics->block_size;
  answer.f_blocks = statistics->blocks;
  answer.f_bfree = statistics->free_blocks;
  answer.f_bavail = statistics->free_blocks;
  answer.f_files = statistics->files;
  answer.f_ffree = statistics->free_files;
  answer.f_favail = statistics->free_files;
  answer.f_namemax = 255;
  return fuse_reply_statfs(request, &answer);
}

size_t waysfs_add_name(
    waysfs_request request, void *buffer, size_t room, const char *name, uint64_t file_number, uint32_t type,
    uint64_t next_offset) {
  struct stat shown;
  memset(&shown, 0, sizeof(shown));
  shown.st_ino = file_number;
  shown.st_mode = type;
  return fuse_add_direntry(request, buffer, room, name, &shown, (off_t)next_offset);
}

size_t waysfs_add_entry(
    waysfs_request request, void *buffer, size_t room, const char *name, const struct waysfs_entry *entry,
    uint64_t next_offset) {
  const struct fuse_entry_param shown = entry_of(entry);
  return fuse_add_direntry_plus(request, buffer, room, name, &shown, (off_t)next_offset);
}
