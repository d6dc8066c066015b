#include "cchecksum.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

/* --- Without an instruction: eight bytes at a time through tables ---------------------------------------------- */

static uint32_t tables[8][256];

static void make_tables(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t sum = byte;
    for (int bit = 0; bit < 8; bit++)
      sum = (sum >> 1) ^ (sum & 1 ? 0x82F63B78u : 0);
    tables[0][byte] = sum;
  }
  for (int table = 1; table < 8; table++) {
    for (int byte = 0; byte < 256; byte++) {
      uint32_t sum = tables[table - 1][byte];
      tables[table][byte] = (sum >> 8) ^ tables[0][sum & 0xFF];
    }
  }
}

uint32_t cchecksum_crc32c_portable(uint32_t before, const void *bytes, size_t length) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_tables);
  const unsigned char *next = bytes;
  uint32_t sum = ~before;
  for (; length >= 8; next += 8, length -= 8) {
    /* Byte by byte, so that it does not depend on the order of bytes in a word. */
    uint32_t low = sum ^ (next[0] | (uint32_t)next[1] << 8 | (uint32_t)next[2] << 16 | (uint32_t)next[3] << 24);
    sum = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^ tables[4][low >> 24] ^
        tables[3][next[4]] ^ tables[2][next[5]] ^ tables[1][next[6]] ^ tables[0][next[7]];
  }
  for (; length > 0; next++, length--)
    sum = (sum >> 8) ^ tables[0][(sum ^ *next) & 0xFF];
  return ~sum;
}

/* --- With one -------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define WITH_INSTRUCTION __attribute__((target("sse4.2")))
#define STEP8(sum, word) (uint32_t)__builtin_ia32_crc32di(sum, word)
#define STEP1(sum, byte) __builtin_ia32_crc32qi(sum, byte)
static bool has_instruction(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__)
#define WITH_INSTRUCTION __attribute__((target("crc")))
#define STEP8(sum, word) __crc32cd(sum, word)
#define STEP1(sum, byte) __crc32cb(sum, byte)
static bool has_instruction(void) { return getauxval(AT_HWCAP) & (1 << 7) /* HWCAP_CRC32 */; }
#endif

#ifdef WITH_INSTRUCTION

static inline uint64_t word_at(const unsigned char *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof(word));
  return word;
}

WITH_INSTRUCTION static uint32_t fast(uint32_t before, const unsigned char *next, size_t length) {
  uint32_t sum = ~before;
  for (; length >= 8; next += 8, length -= 8)
    sum = STEP8(sum, word_at(next));
  for (; length > 0; next++, length--)
    sum = STEP1(sum, *next);
  return ~sum;
}

/* The instruction takes three cycles but can be started in each: four pieces keep it busy. */
WITH_INSTRUCTION static void fast_four(const unsigned char *next, size_t piece, uint32_t *sums) {
  uint32_t a = ~sums[0], b = ~sums[1], c = ~sums[2], d = ~sums[3];
  for (size_t done = 0; done + 8 <= piece; done += 8) {
    a = STEP8(a, word_at(next + done));
    b = STEP8(b, word_at(next + piece + done));
    c = STEP8(c, word_at(next + 2 * piece + done));
    d = STEP8(d, word_at(next + 3 * piece + done));
  }
  size_t rest = piece % 8, done = piece - rest;
  sums[0] = fast(~a, next + done, rest);
  sums[1] = fast(~b, next + piece + done, rest);
  sums[2] = fast(~c, next + 2 * piece + done, rest);
  sums[3] = fast(~d, next + 3 * piece + done, rest);
}

#endif

uint32_t cchecksum_crc32c(uint32_t before, const void *bytes, size_t length) {
#ifdef WITH_INSTRUCTION
  if (has_instruction())
    return fast(before, bytes, length);
#endif
  return cchecksum_crc32c_portable(before, bytes, length);
}

void cchecksum_crc32c_pieces(const void *bytes, size_t length, size_t piece, uint32_t *sums) {
  const unsigned char *next = bytes;
#ifdef WITH_INSTRUCTION
  if (has_instruction()) {
    for (; length / 4 >= piece; next += 4 * piece, length -= 4 * piece, sums += 4)
      fast_four(next, piece, sums);
  }
#endif
  while (length > 0) {
    size_t count = length < piece ? length : piece;
    *sums = cchecksum_crc32c(*sums, next, count);
    next += count;
    length -= count;
    sums++;
  }
}
