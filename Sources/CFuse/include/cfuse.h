/*
 * The edge to libfuse's low-level API.
 *
 * Everything libfuse does with bit fields, macros and versions stays behind this header: its users see plain
 * structures, numbers and functions. Requests of the kernel arrive through a table of callbacks; each carries a
 * `waysfs_request` that is answered exactly once, from any thread, with one of the waysfs_reply functions (or
 * waysfs_reply_none for a forget). Names, buffers and structures passed to a callback are valid until it returns.
 *
 * Life of a session: new, mount, handshake, start, wait, free. `stop` may be called from any thread in between.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#pragma clang assume_nonnull begin

/* A request of the kernel that waits for its reply. */
typedef struct fuse_req *waysfs_request;

struct waysfs_session;

/* What stat shows. Times are seconds since 1970 and nanoseconds. */
struct waysfs_attributes {
  uint64_t file_number;
  uint32_t mode;
  uint32_t links;
  uint32_t uid;
  uint32_t gid;
  uint64_t size;
  int64_t accessed;
  int64_t modified;
  int64_t changed;
  uint32_t accessed_nanoseconds;
  uint32_t modified_nanoseconds;
  uint32_t changed_nanoseconds;
};

/* The answer to a lookup; inode 0 says that the name is known not to exist. Lifetimes below 0 and NaN count as 0. */
struct waysfs_entry {
  uint64_t inode;
  uint64_t generation;
  double lifetime;
  struct waysfs_attributes attributes;
};

/* The answer to an open. */
struct waysfs_open {
  uint64_t handle;
  bool keep_cache;
  bool direct_io;
  /*
   * From waysfs_session_open_backing: the kernel reads that file and asks nobody, and `flush` is not called. For opens
   * that only read. 0: it asks as usual.
   */
  int32_t backing;
};

/* What `setattr` changes: a set of WAYSFS_SET_ bits and the values of those that are set. */
struct waysfs_changes {
  uint32_t set;
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  uint64_t size;
  int64_t accessed;
  int64_t modified;
  uint32_t accessed_nanoseconds;
  uint32_t modified_nanoseconds;
};

static const uint32_t WAYSFS_SET_MODE = 1 << 0;
static const uint32_t WAYSFS_SET_UID = 1 << 1;
static const uint32_t WAYSFS_SET_GID = 1 << 2;
static const uint32_t WAYSFS_SET_SIZE = 1 << 3;
static const uint32_t WAYSFS_SET_ACCESSED = 1 << 4;
static const uint32_t WAYSFS_SET_MODIFIED = 1 << 5;
static const uint32_t WAYSFS_SET_ACCESSED_NOW = 1 << 6;
static const uint32_t WAYSFS_SET_MODIFIED_NOW = 1 << 7;

/* What statfs shows. */
struct waysfs_statistics {
  uint64_t block_size;
  uint64_t blocks;
  uint64_t free_blocks;
  uint64_t files;
  uint64_t free_files;
};

/* One inode's share of a forget. Same layout as libfuse's fuse_forget_data. */
struct waysfs_forget {
  uint64_t inode;
  uint64_t count;
};

/*
 * Where requests go. Called from the workers, several at a time, with the session's context. `handle` is a pointer where the caller may have no
 * open file. Operations that are not here are answered ENOSYS once and handled by the kernel from then on (setting extended
 * attributes, locks, seek to data, fallocate, copy_file_range); hard links are refused with EPERM, and ioctl with ENOTTY
 * but for `waysfs_warm`.
 */
struct waysfs_callbacks {
  void (*lookup)(void *context, waysfs_request request, uint64_t parent, const char *name);
  void (*forget)(void *context, waysfs_request request, const struct waysfs_forget *forgets, size_t count);
  void (*get_attributes)(void *context, waysfs_request request, uint64_t inode, const uint64_t *_Nullable handle);
  void (*set_attributes)(
      void *context, waysfs_request request, uint64_t inode, const struct waysfs_changes *changes,
      const uint64_t *_Nullable handle);
  void (*read_link)(void *context, waysfs_request request, uint64_t inode);
  void (*make_node)(void *context, waysfs_request request, uint64_t parent, const char *name, uint32_t mode);
  void (*make_directory)(void *context, waysfs_request request, uint64_t parent, const char *name, uint32_t mode);
  void (*make_link)(void *context, waysfs_request request, uint64_t parent, const char *name, const char *target);
  void (*unlink)(void *context, waysfs_request request, uint64_t parent, const char *name);
  void (*remove_directory)(void *context, waysfs_request request, uint64_t parent, const char *name);
  void (*rename)(
      void *context, waysfs_request request, uint64_t parent, const char *name, uint64_t new_parent,
      const char *new_name, uint32_t flags);
  void (*open)(void *context, waysfs_request request, uint64_t inode, int32_t flags);
  void (*create)(
      void *context, waysfs_request request, uint64_t parent, const char *name, uint32_t mode, int32_t flags);
  void (*read)(void *context, waysfs_request request, uint64_t handle, uint64_t offset, size_t count);
  /* `writeback`: the kernel writes pages of a mapping back; no program writes. */
  void (*write)(
      void *context, waysfs_request request, uint64_t handle, uint64_t offset, const void *bytes, size_t count,
      bool writeback);
  void (*flush)(void *context, waysfs_request request, uint64_t handle);
  void (*sync)(void *context, waysfs_request request, uint64_t handle);
  void (*release)(void *context, waysfs_request request, uint64_t handle);
  void (*open_directory)(void *context, waysfs_request request, uint64_t inode);
  void (*read_directory)(
      void *context, waysfs_request request, uint64_t handle, uint64_t offset, size_t room, bool plus);
  void (*sync_directory)(void *context, waysfs_request request, uint64_t handle);
  void (*release_directory)(void *context, waysfs_request request, uint64_t handle);
  void (*statistics)(void *context, waysfs_request request, uint64_t inode);
  /* Only names that begin with WAYSFS_ATTRIBUTE_PREFIX; room 0 asks for the length. */
  void (*get_attribute)(void *context, waysfs_request request, uint64_t inode, const char *name, size_t room);
  /* The names of all, each with a NUL behind it; room 0 asks for the length. */
  void (*list_attributes)(void *context, waysfs_request request, uint64_t inode, size_t room);
  void (*access)(void *context, waysfs_request request, uint64_t inode, uint32_t mask);
  void (*warm)(void *context, waysfs_request request, uint64_t handle, uint64_t offset, uint64_t length);
  /* A watched request was interrupted. Called with locks of libfuse held: it may only take note of `token`. */
  void (*interrupted)(void *context, void *token);
  /* Called after `interrupted`, on the same thread, with no lock held, when its request has been processed. */
  void (*deliver_interrupts)(void *context);
};

/* How the names of the extended attributes begin that can be read. Any other is answered with EOPNOTSUPP. */
#define WAYSFS_ATTRIBUTE_PREFIX "user.waysfs."

/* FUSE_INIT bits that libfuse 3.14 has no way to send; each takes effect where the kernel offers it. */
static const uint64_t WAYSFS_INIT_PARALLEL_DIROPS = 1ull << 18;
/* Clearing set-user-ID bits is the callbacks' work then. Without it no extended attribute can be read. */
static const uint64_t WAYSFS_INIT_HANDLE_KILLPRIV_V2 = 1ull << 28;
static const uint64_t WAYSFS_INIT_DIRECT_IO_ALLOW_MMAP = 1ull << 36;
static const uint64_t WAYSFS_INIT_PASSTHROUGH = 1ull << 37;

/* How a session is made. Nothing in it is kept. */
struct waysfs_config {
  /* Argument vector for libfuse, without the program's name: "-o", "fsname=x", ... */
  const char *_Nonnull const *_Nonnull arguments;
  int argument_count;
  /* Largest write in bytes: a multiple of the page size, at most 1 MiB. */
  uint32_t max_write;
  /* Read-ahead and asynchronous requests the kernel keeps under way: 1 to 65535. */
  uint32_t max_background;
  /* WAYSFS_INIT_ bits to ask for. */
  uint64_t init_flags;
  /* Most threads that process requests, and how many of them wait for one at the same time. Both at least 1. */
  uint32_t max_workers;
  uint32_t idle_workers;
};

/* --- session.c ------------------------------------------------------------------------------------------------- */

/*
 * Makes a session. Returns NULL on failure, with what libfuse said about it in `message`; a cut-off message still
 * ends with NUL. `callbacks` is copied.
 */
struct waysfs_session *_Nullable waysfs_session_new(
    const struct waysfs_config *config, const struct waysfs_callbacks *callbacks, char *message, size_t message_size);

/* What the callbacks get as `context`; it must live until `wait` has returned. Set it before the handshake. */
void waysfs_session_set_context(struct waysfs_session *session, void *context);

/* Mounts at an absolute path. Returns 0, or -1 with what libfuse said about it in `message`. */
int waysfs_session_mount(struct waysfs_session *session, const char *path, char *message, size_t message_size);

/*
 * Has the kernel follow no symbolic links on a mount (MOUNT_ATTR_NOSYMFOLLOW), which libfuse 3.14 cannot ask for. Only
 * for root. Returns 0 or a negative errno: -ENOSYS or -EINVAL before Linux 5.14.
 */
int waysfs_follow_no_links(const char *path);

/*
 * Frees a session and closes its device, which ends the connection to the kernel. Unmounts nothing. Only after `wait`
 * returned (or `start` was never called) and every request was answered.
 */
void waysfs_session_free(struct waysfs_session *session);

/* --- loop.c ---------------------------------------------------------------------------------------------------- */

/*
 * Answers the kernel's INIT on the calling thread. Returns 0 when the mount works, -ENODEV when it was unmounted
 * before that, another negative errno when the kernel and libfuse do not understand each other.
 */
int waysfs_session_handshake(struct waysfs_session *session);

/*
 * Starts the first workers. Returns 0 when at least one could be started, -ECANCELED when the session was stopped
 * before, another negative errno when none could. In each case `wait` is next.
 */
int waysfs_session_start(struct waysfs_session *session);

/*
 * Blocks until the kernel has unmounted, or `stop` was called, and all workers have ended. Returns 0, or the negative
 * errno of the device that ended the loop. Call it once, after `start`.
 */
int waysfs_session_wait(struct waysfs_session *session);

/*
 * Ends the loop: idle workers end at once, the others when their callback returns. From any thread, any number of
 * times, before waysfs_session_free.
 */
void waysfs_session_stop(struct waysfs_session *session);

/*
 * Ends the connection to the kernel: callers that still wait, or come later through files they have open, get an error
 * and do not hang; late replies go nowhere. When no worker runs; any number of times.
 */
void waysfs_session_disconnect(struct waysfs_session *session);

/* How many workers have been started, for tests and metrics. */
uint32_t waysfs_session_workers(struct waysfs_session *session);

/* How busy the workers are: whether all of them are in callbacks, and how many requests were ever taken. */
struct waysfs_load {
  bool saturated;
  uint64_t taken;
};
struct waysfs_load waysfs_session_load(struct waysfs_session *session);

/* --- thread.c -------------------------------------------------------------------------------------------------- */

/*
 * Starts a joinable thread, named `name` (at most 15 bytes), with a small stack, that takes no signals: they belong to
 * the thread that waits for them. Returns 0 or a positive errno.
 */
int waysfs_thread_start(
    pthread_t *thread, const char *name, void *_Nullable (*_Nonnull run)(void *_Nullable), void *_Nullable argument);

/* --- init.c ---------------------------------------------------------------------------------------------------- */

/* The FUSE_INIT bits that were agreed on with the kernel, after the handshake. */
uint64_t waysfs_session_init_flags(const struct waysfs_session *session);

/* --- backing.c ------------------------------------------------------------------------------------------------- */

/*
 * Makes an open regular file known to the kernel as one that an inode's reads may go to (waysfs_open.backing). The
 * descriptor may be closed afterwards. Returns a number above 0, or a negative errno: -EOPNOTSUPP when
 * WAYSFS_INIT_PASSTHROUGH was not agreed on, -EPERM without CAP_SYS_ADMIN, -ELOOP for a file on an overlay.
 *
 * The kernel's rules for one inode (fs/fuse/iomode.c; breaking them makes open(2) fail with EIO): while it is open
 * with a backing, each further open needs the same one; while it is open without, none may have one.
 */
int32_t waysfs_session_open_backing(struct waysfs_session *session, int descriptor);

/* Takes such a number back; what is open with it stays open. Returns 0 or a negative errno. */
int waysfs_session_close_backing(struct waysfs_session *session, int32_t backing);

/* --- request.c ------------------------------------------------------------------------------------------------- */

/* User and group of the caller. */
void waysfs_request_caller(waysfs_request request, uint32_t *uid, uint32_t *gid);

/* The thread that calls, which in a process with one thread is the process; 0 when it is not in this namespace. */
int32_t waysfs_request_process(waysfs_request request);

/*
 * Hands `token` to callbacks.interrupted when the kernel interrupts the request, at once if it already has. The token
 * must stay valid until waysfs_request_unwatch returned, which must come before the reply.
 */
void waysfs_request_watch(waysfs_request request, void *token);

/* Ends a watch; waits for a callback that is under way. */
void waysfs_request_unwatch(waysfs_request request);

/* Whether the request was interrupted. */
bool waysfs_request_interrupted(waysfs_request request);

/* --- reply.c --------------------------------------------------------------------------------------------------- */

/*
 * Each answers `request` and makes it invalid. They return 0, or a negative errno when the answer did not reach the
 * caller; -ENOENT says that the request was interrupted. What the answer handed out (lookup count, handle) is then
 * still the file system's.
 */
int waysfs_reply_error(waysfs_request request, int error);
void waysfs_reply_none(waysfs_request request);
int waysfs_reply_entry(waysfs_request request, const struct waysfs_entry *entry);
int waysfs_reply_attributes(
    waysfs_request request, const struct waysfs_attributes *attributes, double lifetime);
int waysfs_reply_open(waysfs_request request, const struct waysfs_open *open);
int waysfs_reply_create(waysfs_request request, const struct waysfs_entry *entry, const struct waysfs_open *open);
int waysfs_reply_data(waysfs_request request, const void *_Nullable bytes, size_t count);
/* At most WAYSFS_REPLY_VECTOR_LIMIT elements. */
int waysfs_reply_vector(waysfs_request request, const struct iovec *vector, int count);
int waysfs_reply_write(waysfs_request request, size_t count);
int waysfs_reply_link(waysfs_request request, const char *target);
int waysfs_reply_warm(waysfs_request request, uint64_t cached);
/* The value of an extended attribute; its length where `room` is 0, ERANGE where it is too small. */
int waysfs_reply_attribute(waysfs_request request, const void *_Nullable value, size_t size, size_t room);
int waysfs_reply_statistics(waysfs_request request, const struct waysfs_statistics *statistics);

/* The kernel takes 1024 (UIO_MAXIOV), one of them for the header. */
static const int WAYSFS_REPLY_VECTOR_LIMIT = 1023;

/*
 * Append one name to the answer of a read_directory: at `buffer`, which has `room` bytes left. Return the bytes it
 * takes; more than `room` says that it did not fit and nothing was written.
 */
size_t waysfs_add_name(
    waysfs_request request, void *buffer, size_t room, const char *name, uint64_t file_number, uint32_t type,
    uint64_t next_offset);
/* With `plus`. Inode 0: only file number and type of `entry` are told. */
size_t waysfs_add_entry(
    waysfs_request request, void *buffer, size_t room, const char *name, const struct waysfs_entry *entry,
    uint64_t next_offset);

/* --- control.c ------------------------------------------------------------------------------------------------- */

/*
 * For any process: asks the mount that an open file is on to bring a range of it into its disk cache, and waits for it.
 * Returns 0, with the bytes of the range that are there now in `cached`, or a negative errno: -ENOTTY when the file is on
 * no such mount, -EOPNOTSUPP when that has no disk cache.
 */
int waysfs_warm(int file, uint64_t offset, uint64_t length, uint64_t *cached);

/* --- asker.c --------------------------------------------------------------------------------------------------- */

/* A process that asks a mount something, and what questions go out by and answers come in by. */
struct waysfs_asker {
  int32_t process;
  int socket;
};

/*
 * Starts such a process for the mount at an absolute path. It has nothing else open, ignores the signals that end a
 * mount, and ends when the socket is closed. Returns 0 or a negative errno.
 */
int waysfs_asker_start(struct waysfs_asker *asker, const char *path);

/*
 * Has it call statvfs(3), which leaves nothing in the page cache, and waits until that has returned; as long as it takes
 * with a negative number of milliseconds. What the path leads through is asked nothing, since it might hang: where it
 * would have to be (a mount point on NFS, for one), this returns EAGAIN at once. (Before Linux 5.12 it is asked all the
 * same.) Returns 0, the errno of the answer, -ETIMEDOUT, or -ESRCH when the process is gone. One caller at a time, and
 * none after a time-out.
 */
int waysfs_asker_ask(const struct waysfs_asker *asker, int milliseconds);

/* Ends it. `waits` says that it may still wait for an answer, which nobody can make it give up. */
void waysfs_asker_end(const struct waysfs_asker *asker, bool waits);

/* --- notify.c -------------------------------------------------------------------------------------------------- */

/*
 * Make the kernel forget the pages and attributes of an inode, or a name. Return 0 (also when it knew nothing of them)
 * or a negative errno. They may block on requests under way: never call them from a callback, but for the one that says
 * so.
 */
int waysfs_session_invalidate_inode(struct waysfs_session *session, uint64_t inode);
/* The attributes alone: that waits for nobody, and may be called from a callback. */
int waysfs_session_invalidate_attributes(struct waysfs_session *session, uint64_t inode);
int waysfs_session_invalidate_entry(
    struct waysfs_session *session, uint64_t parent, const char *name, size_t length);

#pragma clang assume_nonnull end
