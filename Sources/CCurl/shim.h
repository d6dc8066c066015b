#pragma once

// libcurl as Swift can call it: curl_easy_setopt, curl_easy_getinfo and curl_multi_setopt are variadic, which Swift
// does not import. Each function here fixes the type of the third argument; the caller picks the one that belongs to
// the option (see the option's manual page), because nothing checks it.

// The checking macros of curl/typecheck-gcc.h only understand options that are literals at the call.
#define CURL_DISABLE_TYPECHECK 1

#include <curl/curl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

// CURLOPT_PREREQFUNCTION is from 7.80, CURLOPT_PROTOCOLS_STR from 7.85, CURLOPT_QUICK_EXIT from 7.87.
#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or later is needed"
#endif

static const long ccurl_global_default = CURL_GLOBAL_DEFAULT;
static const long ccurl_http_version_1_1 = CURL_HTTP_VERSION_1_1;
static const long ccurl_tls_1_2_or_later = CURL_SSLVERSION_TLSv1_2;
// CURLE_TOO_LARGE, which headers before 8.6 do not name.
static const CURLcode ccurl_too_large = (CURLcode)100;
static const size_t ccurl_error_size = CURL_ERROR_SIZE;
static const size_t ccurl_read_abort = CURL_READFUNC_ABORT;
static const int ccurl_prereq_ok = CURL_PREREQFUNC_OK;
static const int ccurl_prereq_abort = CURL_PREREQFUNC_ABORT;

// The write, header and read callbacks of libcurl. `data` holds `size * count` bytes.
typedef size_t (*ccurl_transfer_function)(char *data, size_t size, size_t count, void *context);
typedef int (*ccurl_prereq_function)(void *context, char *primary_ip, char *local_ip, int primary_port, int local_port);

static inline CURLcode ccurl_set_long(CURL *easy, CURLoption option, long value) {
  return curl_easy_setopt(easy, option, value);
}

static inline CURLcode ccurl_set_offset(CURL *easy, CURLoption option, int64_t value) {
  return curl_easy_setopt(easy, option, (curl_off_t)value);
}

// libcurl copies the string, except for CURLOPT_POSTFIELDS. NULL unsets the option.
static inline CURLcode ccurl_set_string(CURL *easy, CURLoption option, const char *value) {
  return curl_easy_setopt(easy, option, value);
}

// The memory behind `value` must outlive its use by the handle, except for CURLOPT_COPYPOSTFIELDS.
static inline CURLcode ccurl_set_pointer(CURL *easy, CURLoption option, const void *value) {
  return curl_easy_setopt(easy, option, value);
}

// The list must outlive its use by the handle.
static inline CURLcode ccurl_set_list(CURL *easy, CURLoption option, struct curl_slist *value) {
  return curl_easy_setopt(easy, option, value);
}

static inline CURLcode ccurl_set_function(CURL *easy, CURLoption option, ccurl_transfer_function function) {
  return curl_easy_setopt(easy, option, function);
}

static inline CURLcode ccurl_set_prereq(CURL *easy, ccurl_prereq_function function, void *context) {
  CURLcode code = curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, function);
  return code ? code : curl_easy_setopt(easy, CURLOPT_PREREQDATA, context);
}

static inline CURLcode ccurl_get_offset(CURL *easy, CURLINFO info, int64_t *value) {
  curl_off_t offset = 0;
  CURLcode code = curl_easy_getinfo(easy, info, &offset);
  *value = (int64_t)offset;
  return code;
}

static inline CURLcode ccurl_get_long(CURL *easy, CURLINFO info, long *value) {
  return curl_easy_getinfo(easy, info, value);
}

// NULL when the handle has none.
static inline void *ccurl_private(CURL *easy) {
  char *value = NULL;
  return curl_easy_getinfo(easy, CURLINFO_PRIVATE, &value) ? NULL : value;
}

// For CURLOPT_SOCKOPTFUNCTION: keeps the bytes that wait in the kernel of a new socket, not yet sent, below `context`
// bytes (an integer in the pointer). What libcurl counts as sent then is nearly what has left.
static inline int ccurl_bound_unsent(void *context, curl_socket_t socket, curlsocktype purpose) {
  int bytes = (int)(intptr_t)context;
  // A kernel without the option only makes the count less exact.
  if (purpose == CURLSOCKTYPE_IPCXN) setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
  return CURL_SOCKOPT_OK;
}

static inline CURLcode ccurl_set_unsent_bound(CURL *easy, int bytes) {
  CURLcode code = curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, ccurl_bound_unsent);
  return code ? code : curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, (void *)(intptr_t)bytes);
}

static inline CURLMcode ccurl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
  return curl_multi_setopt(multi, option, value);
}

// The next finished transfer and its result; NULL when there is none.
static inline CURL *ccurl_next_finished(CURLM *multi, CURLcode *result) {
  int left = 0;
  CURLMsg *message;
  while ((message = curl_multi_info_read(multi, &left))) {
    if (message->msg == CURLMSG_DONE) {
      *result = message->data.result;
      return message->easy_handle;
    }
  }
  return NULL;
}

// Gives freed memory back to the system. glibc keeps what large buffers leave behind in its heap (measured: 23 MB after
// 64 parallel transfers).
static inline void ccurl_release_freed_memory(void) { malloc_trim(0); }
