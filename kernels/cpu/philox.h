/* Philox 4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3" (SC 2011): ten rounds of two multiplications and a key schedule. */
#ifndef FM_PHILOX_H
#define FM_PHILOX_H

#include <stdint.h>

enum { PHILOX_BLOCKS = 16 };

/* Sixteen blocks with counters (c0 + i, c1, c2, c3), side by side so that the loops are vectors. */
static inline void fm_philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t key,
                             uint32_t word[4][PHILOX_BLOCKS])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int i = 0; i < PHILOX_BLOCKS; i++) {
        word[0][i] = c0 + (uint32_t)i;
        word[1][i] = c1;
        word[2][i] = c2;
        word[3][i] = c3;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < PHILOX_BLOCKS; i++) {
            const uint64_t a = (uint64_t)0xD2511F53u * word[0][i];
            const uint64_t b = (uint64_t)0xCD9E8D57u * word[2][i];
            const uint32_t w1 = word[1][i], w3 = word[3][i];
            word[0][i] = (uint32_t)(b >> 32) ^ w1 ^ k0;
            word[1][i] = (uint32_t)b;
            word[2][i] = (uint32_t)(a >> 32) ^ w3 ^ k1;
            word[3][i] = (uint32_t)a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

#endif
