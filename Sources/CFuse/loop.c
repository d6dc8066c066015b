#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/*
 * Worker threads read requests from the device and process them. A few of them wait in read(2); when the last of these
 * takes a request, another is woken or started, so that somebody always listens while the others block in a callback.
 * Those that find enough others waiting park, and give their buffer back: the kernel hands requests to waiting threads
 * in turn, and every buffer in that turn is memory, and cache, in use.
 */

#define PAGE 4096
/* Enough for one busy client: more come when all are busy at once. */
#define FIRST_WORKERS 4
/* What precedes the data of a write. */
#define WRITE_HEADER (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

static size_t request_size(const struct waysfs_session *session) { return WRITE_HEADER + session->max_write; }

static size_t buffer_size(const struct waysfs_session *session) { return PAGE + session->max_write; }

/* The data of a write starts on a page boundary: whoever passes it on with a system call copies whole pages. */
static char *request_start(char *buffer) { return buffer + PAGE - WRITE_HEADER; }

static char *take_buffer(struct waysfs_session *session) {
  char *buffer = NULL;
  pthread_mutex_lock(&session->lock);
  if (session->spares > 0) {
    buffer = session->spare[--session->spares];
  }
  pthread_mutex_unlock(&session->lock);
  if (buffer == NULL) {
    buffer = mmap(NULL, buffer_size(session), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  return buffer == MAP_FAILED ? NULL : buffer;
}

static void give_back_buffer(struct waysfs_session *session, char *buffer) {
  if (buffer == NULL) {
    return;
  }
  pthread_mutex_lock(&session->lock);
  if (session->spares < SPARE_BUFFERS && !session->stopping) {
    session->spare[session->spares++] = buffer;
    buffer = NULL;
  }
  pthread_mutex_unlock(&session->lock);
  if (buffer != NULL) {
    munmap(buffer, buffer_size(session));
  }
}

/* Reads one request: its size, 0 when there is none after all, or a negative errno that ends the loop. */
static ssize_t receive(struct waysfs_session *session, char *buffer) {
  ssize_t size = read(fuse_session_fd(session->fuse), request_start(buffer), request_size(session));
  if (size >= (ssize_t)sizeof(struct fuse_in_header)) {
    return size;
  }
  if (size >= 0) {
    return -EIO;
  }
  /* ENOENT: the request was interrupted before it was read. */
  return errno == EINTR || errno == EAGAIN || errno == ENOENT ? 0 : -errno;
}

static void process(struct waysfs_session *session, char *buffer, size_t size) {
  struct fuse_buf request = {.mem = request_start(buffer), .size = size};
  fuse_session_process_buf(session->fuse, &request);
  if (atomic_load_explicit(&session->interrupts_noted, memory_order_relaxed) &&
      atomic_exchange(&session->interrupts_noted, false)) {
    session->callbacks.deliver_interrupts(session->context);
  }
}

int waysfs_session_handshake(struct waysfs_session *session) {
  char *buffer = take_buffer(session);
  if (buffer == NULL) {
    return -ENOMEM;
  }
  int result = 0;
  while (!session->init_answered && result == 0) {
    ssize_t size = receive(session, buffer);
    if (size < 0) {
      result = (int)size;
    } else if (size > 0) {
      waysfs_note_init(session, request_start(buffer), (size_t)size);
      process(session, buffer, (size_t)size);
      result = session->init_answered ? 0 : -EPROTO;
    }
  }
  session->init_pending = false;
  give_back_buffer(session, buffer);
  return result;
}

/* Ends the loop because of an error of the device; ENODEV is how the kernel says that it has unmounted. */
static void device_failed(struct waysfs_session *session, int error) {
  pthread_mutex_lock(&session->lock);
  if (error != -ENODEV && session->error == 0) {
    session->error = error;
  }
  pthread_mutex_unlock(&session->lock);
  waysfs_session_stop(session);
}

/* Waits until this worker is to read from the device; false when the loop ends. */
static bool become_idle(struct worker *worker) {
  struct waysfs_session *session = worker->session;
  if (atomic_fetch_add(&session->idle, 1) >= session->idle_workers) {
    atomic_fetch_sub(&session->idle, 1);
    give_back_buffer(session, worker->buffer);
    worker->buffer = NULL;
    pthread_mutex_lock(&session->lock);
    session->parked++;
    while (session->wakeups == 0 && !session->stopping && atomic_load(&session->idle) >= session->idle_workers) {
      pthread_cond_wait(&session->wakeup, &session->lock);
    }
    session->parked--;
    if (session->wakeups > 0) {
      session->wakeups--;
    }
    atomic_fetch_add(&session->idle, 1);
    pthread_mutex_unlock(&session->lock);
  }
  if (worker->buffer == NULL) {
    worker->buffer = take_buffer(session);
  }
  if (worker->buffer == NULL) {
    device_failed(session, -ENOMEM);
  }
  return worker->buffer != NULL && !session->stopping;
}

static void worker_ended(void *argument) {
  struct worker *worker = argument;
  struct waysfs_session *session = worker->session;
  give_back_buffer(session, worker->buffer);
  worker->buffer = NULL;
  pthread_mutex_lock(&session->lock);
  if (--session->alive == 0) {
    pthread_cond_signal(&session->ended);
  }
  pthread_mutex_unlock(&session->lock);
}

static void add_worker(struct waysfs_session *session);

static void serve(struct worker *worker) {
  struct waysfs_session *session = worker->session;
  while (become_idle(worker)) {
    /* Cancelled only here, where libfuse and the callbacks are not on the stack. */
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    ssize_t size = receive(session, worker->buffer);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    unsigned others = atomic_fetch_sub(&session->idle, 1) - 1;
    if (size < 0) {
      device_failed(session, (int)size);
    } else if (size > 0) {
      if (others == 0) {
        add_worker(session);
      }
      /* Nobody else writes to it. */
      atomic_store_explicit(
          &worker->taken, atomic_load_explicit(&worker->taken, memory_order_relaxed) + 1, memory_order_relaxed);
      process(session, worker->buffer, (size_t)size);
    }
  }
}

static void *worker_main(void *argument) {
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
  pthread_cleanup_push(worker_ended, argument);
  serve(argument);
  pthread_cleanup_pop(1);
  return NULL;
}

/* Wakes a parked worker, or starts one more while there may be more. */
static void add_worker(struct waysfs_session *session) {
  pthread_mutex_lock(&session->lock);
  if (session->parked > session->wakeups) {
    session->wakeups++;
    pthread_cond_signal(&session->wakeup);
  } else if (session->started < session->max_workers && !session->stopping) {
    struct worker *worker = &session->workers[session->started];
    worker->session = session;
    if (waysfs_thread_start(&worker->thread, "waysfs-fuse", worker_main, worker) == 0) {
      session->started++;
      session->alive++;
    }
  }
  pthread_mutex_unlock(&session->lock);
}

int waysfs_session_start(struct waysfs_session *session) {
  for (uint32_t i = 0; i < FIRST_WORKERS && i < session->max_workers; i++) {
    add_worker(session);
  }
  if (session->stopping) {
    return -ECANCELED;
  }
  return waysfs_session_workers(session) > 0 ? 0 : -EAGAIN;
}

int waysfs_session_wait(struct waysfs_session *session) {
  pthread_mutex_lock(&session->lock);
  while (session->alive > 0) {
    pthread_cond_wait(&session->ended, &session->lock);
  }
  session->finished = true;
  int result = session->error;
  pthread_mutex_unlock(&session->lock);
  for (uint32_t i = 0; i < session->started; i++) {
    pthread_join(session->workers[i].thread, NULL);
  }
  return result;
}

void waysfs_session_disconnect(struct waysfs_session *session) {
  /* The descriptor's number stays taken, so that a late reply goes nowhere and not into another file. */
  int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nowhere >= 0) {
    dup3(nowhere, fuse_session_fd(session->fuse), O_CLOEXEC);
    close(nowhere);
  }
}

void waysfs_free_spares(struct waysfs_session *session) {
  while (session->spares > 0) {
    munmap(session->spare[--session->spares], buffer_size(session));
  }
}

void waysfs_session_stop(struct waysfs_session *session) {
  fuse_session_exit(session->fuse);
  pthread_mutex_lock(&session->lock);
  session->stopping = true;
  for (uint32_t i = 0; i < session->started && !session->finished; i++) {
    pthread_cancel(session->workers[i].thread);
  }
  pthread_cond_broadcast(&session->wakeup);
  pthread_mutex_unlock(&session->lock);
}

uint32_t waysfs_session_workers(struct waysfs_session *session) {
  pthread_mutex_lock(&session->lock);
  uint32_t started = session->started;
  pthread_mutex_unlock(&session->lock);
  return started;
}

struct waysfs_load waysfs_session_load(struct waysfs_session *session) {
  struct waysfs_load load = {0};
  pthread_mutex_lock(&session->lock);
  for (uint32_t i = 0; i < session->started; i++) {
    load.taken += atomic_load_explicit(&session->workers[i].taken, memory_order_relaxed);
  }
  load.saturated = session->parked == 0 && atomic_load(&session->idle) == 0;
  pthread_mutex_unlock(&session->lock);
  return load;
}
