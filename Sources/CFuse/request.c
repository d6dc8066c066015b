#include "internal.h"

void waysfs_request_caller(waysfs_request request, uint32_t *uid, uint32_t *gid) {
  const struct fuse_ctx *caller = fuse_req_ctx(request);
  *uid = caller->uid;
  *gid = caller->gid;
}

int32_t waysfs_request_process(waysfs_request request) { return fuse_req_ctx(request)->pid; }

/* libfuse calls this with the lock of the request held: answering it from here would deadlock. */
static void interrupted(fuse_req_t request, void *token) {
  struct waysfs_session *session = fuse_req_userdata(request);
  session->callbacks.interrupted(session->context, token);
  atomic_store(&session->interrupts_noted, true);
}

void waysfs_request_watch(waysfs_request request, void *token) { fuse_req_interrupt_func(request, interrupted, token); }

void waysfs_request_unwatch(waysfs_request request) { fuse_req_interrupt_func(request, NULL, NULL); }

bool waysfs_request_interrupted(waysfs_request request) { return fuse_req_interrupted(request) != 0; }
