#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int clinux_datagram_socket(int size) {
  int made = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (made < 0)
    return -1;
  setsockopt(made, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  struct timeval patience = {.tv_sec = 1};
  setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  return made;
}

// The length of the address; 0 when the path does not fit.
static socklen_t make_address(const char *path, struct sockaddr_un *address) {
  size_t length = strlen(path);
  if (length == 0 || length >= sizeof(address->sun_path))
    return 0;
  memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, length);
  bool abstract = path[0] == '@';
  if (abstract)
    address->sun_path[0] = '\0';
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (abstract ? 0 : 1));
}

static int send_message(int socket, const char *path, struct msghdr *message, bool waits) {
  struct sockaddr_un address;
  message->msg_name = &address;
  message->msg_namelen = make_address(path, &address);
  if (message->msg_namelen == 0)
    return ENAMETOOLONG;
  while (sendmsg(socket, message, MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT)) < 0) {
    if (errno != EINTR)
      return errno;
  }
  return 0;
}

int clinux_send_datagram(int socket, const char *path, const void *bytes, size_t size, bool waits) {
  struct iovec piece = {.iov_base = (void *)bytes, .iov_len = size};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
  return send_message(socket, path, &message, waits);
}

int clinux_send_file(int socket, const char *path, int file, bool waits) {
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof(control));
  struct msghdr message = {.msg_control = &control, .msg_controllen = sizeof(control)};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(rights), &file, sizeof(int));
  return send_message(socket, path, &message, waits);
}

static int write_all(int file, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t count = write(file, bytes, size);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return count < 0 ? errno : EIO;
    bytes += count;
    size -= (size_t)count;
  }
  return 0;
}

int clinux_sealed_file(const void *bytes, size_t size, int *error) {
  int file = memfd_create("waysfs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) {
    *error = errno;
    return -1;
  }
  *error = write_all(file, bytes, size);
  if (*error == 0 && fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    *error = errno;
  if (*error != 0) {
    close(file);
    return -1;
  }
  return file;
}
