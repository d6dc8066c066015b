#pragma once

#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/*
 * MD5 (RFC 1321) of several messages at once. One sum is a chain in which each step waits for the one before; the
 * processor computes sixteen such chains, of as many messages, in about the time of one.
 */

enum { cchecksum_md5_lanes = 16, cchecksum_md5_block = 64 };

/* Sums under way, a word of the state after the other, each for all messages. */
typedef struct {
  uint32_t words[4][cchecksum_md5_lanes];
} cchecksum_md5_state;

/* Begins the sum of the message in one lane. */
void cchecksum_md5_begin(cchecksum_md5_state *state, size_t lane);

/*
 * Goes on with `blocks` blocks of 64 bytes in each lane; `messages[lane]` points to those of its message. What a lane
 * without a message has there is read as well. From any thread; one at a time for each state.
 */
void cchecksum_md5_update(
    cchecksum_md5_state *state, const void *const _Nonnull messages[_Nonnull cchecksum_md5_lanes], size_t blocks);

/*
 * Ends the sum of one lane with the last `rest` bytes of its message, whose length as a whole is `length`: both have the
 * same remainder by 64. The state stays as it is, for the other lanes.
 */
void cchecksum_md5_end(
    const cchecksum_md5_state *state, size_t lane, const void *bytes, size_t rest, uint64_t length,
    uint8_t sum[_Nonnull 16]);

#pragma clang assume_nonnull end
