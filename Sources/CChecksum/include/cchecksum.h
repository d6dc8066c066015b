#pragma once

#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/* CRC-32C (Castagnoli), by the processor's own instruction where it has one. From any thread. */

/* The sum of `length` bytes, going on from the sum `before` of what precedes them (0 for nothing). */
uint32_t cchecksum_crc32c(uint32_t before, const void *bytes, size_t length);

/*
 * The sums of consecutive pieces of `piece` bytes, the last of which may be shorter; `sums` has one element for each
 * piece, which holds what to go on from and gets the sum. Several pieces at a time: three times as fast as one by one.
 */
void cchecksum_crc32c_pieces(const void *bytes, size_t length, size_t piece, uint32_t *sums);

/* The same without the processor's instruction, for tests. */
uint32_t cchecksum_crc32c_portable(uint32_t before, const void *bytes, size_t length);

#pragma clang assume_nonnull end
