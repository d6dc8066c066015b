#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* libfuse has one log function for the process; the thread that makes or mounts a session hears its own messages. */
static _Thread_local char *capture;
static _Thread_local size_t capture_size;

static void take_message(enum fuse_log_level level, const char *format, va_list arguments) {
  (void)level;
  if (capture == NULL) {
    vfprintf(stderr, format, arguments);
    return;
  }
  size_t length = strlen(capture);
  if (length + 1 < capture_size) {
    vsnprintf(capture + length, capture_size - length, format, arguments);
  }
}

void waysfs_capture_begin(char *message, size_t size) {
  fuse_set_log_func(take_message);
  message[0] = '\0';
  capture = message;
  capture_size = size;
}

void waysfs_capture_end(void) {
  capture = NULL;
  capture_size = 0;
}
