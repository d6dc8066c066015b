#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "internal.h"

#define STACK_SIZE (1 << 20)

int waysfs_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument) {
  sigset_t all, before;
  sigfillset(&all);
  /* Faults are the thread's own: blocked, they would kill without the handler that prints where. */
  const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
  for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
    sigdelset(&all, faults[i]);
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_SIZE);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(thread, &attributes, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (error == 0) {
    pthread_setname_np(*thread, name);
  }
  return error;
}
