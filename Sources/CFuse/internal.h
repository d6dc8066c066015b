/* What the files of this target share. Not for others. */
#pragma once

/* Debian 12 has 3.14; newer versions keep its interface under this number. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 14)
#error "libfuse 3.14 or newer is needed (fuse_session_custom_io)"
#endif

#include <stdatomic.h>

#include "cfuse.h"

/* A thread that processes requests. Belongs to its session; `buffer` to the thread itself. */
struct worker {
  struct waysfs_session *session;
  pthread_t thread;
  char *buffer;
  /* Requests it has taken. */
  atomic_ulong taken;
};

/* Request buffers that are kept for the next worker that needs one. */
#define SPARE_BUFFERS 4

struct waysfs_session {
  struct fuse_session *fuse;
  struct waysfs_callbacks callbacks;
  void *context;
  uint32_t max_write;
  uint32_t max_background;
  uint64_t init_flags;
  uint32_t max_workers;
  uint32_t idle_workers;

  /* INIT: written by the handshake before there are workers, read-only after it. */
  bool init_pending;
  bool init_answered;
  uint64_t init_unique;
  uint64_t init_offered;
  uint64_t init_agreed;

  /* Workers that are in read(2) on the device or on the way to it. */
  atomic_uint idle;
  atomic_bool stopping;
  /* Set when callbacks.interrupted was called and deliver_interrupts is due. */
  atomic_bool interrupts_noted;

  /* `lock` guards what follows. Nothing else is locked, and no callback or I/O happens, while it is held. */
  pthread_mutex_t lock;
  pthread_cond_t wakeup;
  pthread_cond_t ended;
  uint32_t started;
  uint32_t alive;
  uint32_t parked;
  uint32_t wakeups;
  bool finished;
  int error;
  char *spare[SPARE_BUFFERS];
  uint32_t spares;
  struct worker *workers;
};

/* operations.c: the table libfuse calls. */
extern const struct fuse_lowlevel_ops waysfs_operations;

/* init.c */
void waysfs_init_connection(struct waysfs_session *session, struct fuse_conn_info *connection);
void waysfs_note_init(struct waysfs_session *session, const void *request, size_t size);
ssize_t waysfs_device_read(int device, void *buffer, size_t size, void *session);
ssize_t waysfs_device_write(int device, struct iovec *vector, int count, void *session);

/* loop.c */
void waysfs_free_spares(struct waysfs_session *session);

/* message.c: what libfuse has to say while the calling thread captures goes to `message`. */
void waysfs_capture_begin(char *message, size_t size);
void waysfs_capture_end(void);

/* control.c: ioctl(2) of an open file. */
void waysfs_on_ioctl(
    fuse_req_t request, fuse_ino_t inode, unsigned command, void *argument, struct fuse_file_info *file,
    unsigned flags, const void *in, size_t in_size, size_t out_size);
