#include <errno.h>
#include <string.h>

#include "internal.h"

/* The table libfuse calls: each entry turns libfuse's arguments into those of cfuse.h and passes them on. */

static struct waysfs_session *session_of(fuse_req_t request) { return fuse_req_userdata(request); }

/* Calls one of the callbacks with the context, the request and what else it takes. */
#define CALL(request, name, ...) \
  session_of(request)->callbacks.name(session_of(request)->context, request, ##__VA_ARGS__)

static void on_init(void *userdata, struct fuse_conn_info *connection) {
  waysfs_init_connection(userdata, connection);
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  CALL(request, lookup, parent, name);
}

static void on_forget(fuse_req_t request, fuse_ino_t inode, uint64_t count) {
  const struct waysfs_forget forget = {.inode = inode, .count = count};
  CALL(request, forget, &forget, 1);
}

static void on_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets) {
  _Static_assert(sizeof(struct fuse_forget_data) == sizeof(struct waysfs_forget), "same layout");
  _Static_assert(
      offsetof(struct fuse_forget_data, nlookup) == offsetof(struct waysfs_forget, count), "same layout");
  CALL(request, forget, (const struct waysfs_forget *)forgets, count);
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  CALL(request, get_attributes, inode, file == NULL ? NULL : &file->fh);
}

static void on_setattr(
    fuse_req_t request, fuse_ino_t inode, struct stat *values, int set, struct fuse_file_info *file) {
  const struct {
    int fuse;
    uint32_t ours;
  } bits[] = {
      {FUSE_SET_ATTR_MODE, WAYSFS_SET_MODE},
      {FUSE_SET_ATTR_UID, WAYSFS_SET_UID},
      {FUSE_SET_ATTR_GID, WAYSFS_SET_GID},
      {FUSE_SET_ATTR_SIZE, WAYSFS_SET_SIZE},
      {FUSE_SET_ATTR_ATIME, WAYSFS_SET_ACCESSED},
      {FUSE_SET_ATTR_MTIME, WAYSFS_SET_MODIFIED},
      {FUSE_SET_ATTR_ATIME_NOW, WAYSFS_SET_ACCESSED_NOW},
      {FUSE_SET_ATTR_MTIME_NOW, WAYSFS_SET_MODIFIED_NOW},
  };
  struct waysfs_changes changes = {
      .mode = values->st_mode,
      .uid = values->st_uid,
      .gid = values->st_gid,
      .size = (uint64_t)values->st_size,
      .accessed = values->st_atim.tv_sec,
      .modified = values->st_mtim.tv_sec,
      .accessed_nanoseconds = (uint32_t)values->st_atim.tv_nsec,
      .modified_nanoseconds = (uint32_t)values->st_mtim.tv_nsec,
  };
  for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
    changes.set |= set & bits[i].fuse ? bits[i].ours : 0;
  }
  CALL(request, set_attributes, inode, &changes, file == NULL ? NULL : &file->fh);
}

static void on_readlink(fuse_req_t request, fuse_ino_t inode) { CALL(request, read_link, inode); }

static void on_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device) {
  (void)device;
  CALL(request, make_node, parent, name, mode);
}

static void on_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode) {
  CALL(request, make_directory, parent, name, mode);
}

static void on_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name) {
  CALL(request, make_link, parent, name, target);
}

static void on_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
  CALL(request, unlink, parent, name);
}

static void on_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name) {
  CALL(request, remove_directory, parent, name);
}

static void on_rename(
    fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
    unsigned flags) {
  CALL(request, rename, parent, name, new_parent, new_name, flags);
}

static void on_link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t parent, const char *name) {
  (void)inode;
  (void)parent;
  (void)name;
  /* What link(2) says of a file system without hard links. */
  fuse_reply_err(request, EPERM);
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  CALL(request, open, inode, file->flags);
}

static void on_create(
    fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *file) {
  CALL(request, create, parent, name, mode, file->flags);
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)inode;
  CALL(request, read, file->fh, (uint64_t)offset, size);
}

static void on_write(
    fuse_req_t request, fuse_ino_t inode, const char *bytes, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)inode;
  CALL(request, write, file->fh, (uint64_t)offset, bytes, size, file->writepage != 0);
}

static void on_flush(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  (void)inode;
  CALL(request, flush, file->fh);
}

static void on_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *file) {
  (void)inode;
  (void)data_only;
  CALL(request, sync, file->fh);
}

static void on_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  (void)inode;
  CALL(request, release, file->fh);
}

static void on_opendir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  (void)file;
  CALL(request, open_directory, inode);
}

static void on_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)inode;
  CALL(request, read_directory, file->fh, (uint64_t)offset, size, false);
}

static void on_readdirplus(
    fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)inode;
  CALL(request, read_directory, file->fh, (uint64_t)offset, size, true);
}

static void on_fsyncdir(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *file) {
  (void)inode;
  (void)data_only;
  CALL(request, sync_directory, file->fh);
}

static void on_releasedir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  (void)inode;
  CALL(request, release_directory, file->fh);
}

static void on_statfs(fuse_req_t request, fuse_ino_t inode) { CALL(request, statistics, inode); }

static void on_listxattr(fuse_req_t request, fuse_ino_t inode, size_t room) {
  CALL(request, list_attributes, inode, room);
}

static void on_getxattr(fuse_req_t request, fuse_ino_t inode, const char *name, size_t room) {
  struct waysfs_session *session = session_of(request);
  if (!(session->init_agreed & WAYSFS_INIT_HANDLE_KILLPRIV_V2)) {
    /* The kernel would ask before every write; it never asks again. */
    fuse_reply_err(request, ENOSYS);
  } else if (strncmp(name, WAYSFS_ATTRIBUTE_PREFIX, sizeof(WAYSFS_ATTRIBUTE_PREFIX) - 1) != 0) {
    /* Not ENODATA: `ls` asks for two attributes of every file until it hears that there are none. */
    fuse_reply_err(request, EOPNOTSUPP);
  } else {
    CALL(request, get_attribute, inode, name, room);
  }
}

static void on_access(fuse_req_t request, fuse_ino_t inode, int mask) {
  CALL(request, access, inode, (uint32_t)mask);
}

const struct fuse_lowlevel_ops waysfs_operations = {
    .init = on_init,
    .lookup = on_lookup,
    .forget = on_forget,
    .forget_multi = on_forget_multi,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .readlink = on_readlink,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .symlink = on_symlink,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .rename = on_rename,
    .link = on_link,
    .open = on_open,
    .create = on_create,
    .read = on_read,
    .write = on_write,
    .flush = on_flush,
    .fsync = on_fsync,
    .release = on_release,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .readdirplus = on_readdirplus,
    .fsyncdir = on_fsyncdir,
    .releasedir = on_releasedir,
    .statfs = on_statfs,
    .getxattr = on_getxattr,
    .listxattr = on_listxattr,
    .access = on_access,
    .ioctl = waysfs_on_ioctl,
};
