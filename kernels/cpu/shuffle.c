/* The order of an epoch: what numpy.random.Generator(Philox).permutation gives, sooner; and what
 * numpy.random.RandomState.shuffle does, which draws from any source of words in the same way.
 *
 * Philox 4x64-10 (Salmon et al., SC'11), whose blocks are computed several at a time, each giving
 * eight words of 32 bits, low halves first; as many bits of a word as the largest index has, until
 * they are none above it; Fisher and Yates's swaps from the last element down.
 */
#include "native.h"

#include <stdint.h>

enum { ROUNDS = 10, ABREAST = 4, WORDS = 8 * ABREAST };

typedef struct {
    uint64_t key[2], stream, block; /* counter: block, 0, 0, stream */
    uint32_t word[WORDS];
} source;

static void refill(source *q)
{
    uint64_t c[4][ABREAST], k0 = q->key[0], k1 = q->key[1];
    for (int v = 0; v < ABREAST; v++) {
        c[0][v] = ++q->block;
        c[1][v] = c[2][v] = 0;
        c[3][v] = q->stream;
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int v = 0; v < ABREAST; v++) {
            const unsigned __int128 a = (unsigned __int128)0xD2E7470EE14C6C93u * c[0][v];
            const unsigned __int128 b = (unsigned __int128)0xCA5A826395121157u * c[2][v];
            const uint64_t c1 = c[1][v], c3 = c[3][v];
            c[0][v] = (uint64_t)(b >> 64) ^ c1 ^ k0;
            c[1][v] = (uint64_t)b;
            c[2][v] = (uint64_t)(a >> 64) ^ c3 ^ k1;
            c[3][v] = (uint64_t)a;
        }
        k0 += 0x9E3779B97F4A7C15u;
        k1 += 0xBB67AE8584CAA73Bu;
    }
    for (int v = 0; v < ABREAST; v++) {
        for (int i = 0; i < 4; i++) {
            q->word[8 * v + 2 * i] = (uint32_t)c[i][v];
            q->word[8 * v + 2 * i + 1] = (uint32_t)(c[i][v] >> 32);
        }
    }
}

/* out: 0 to n - 1 */
static void count(int64_t n, int64_t *out)
{
    for (int64_t k = 0; k < n; k++) {
        out[k] = k;
    }
}

/* All ones up to the highest bit of i. */
static int64_t ones(int64_t i)
{
    int64_t mask = i > 0;
    while (mask < i) {
        mask = 2 * mask + 1;
    }
    return mask;
}

/* One word's try to say who swaps with element *i.  The fate of a word is a coin toss, which a branch
 * could not foresee: one that is too large swaps the element with itself. */
static inline void draw(int64_t *out, int64_t *i, int64_t *mask, uint32_t drawn)
{
    const int64_t word = drawn & *mask, fits = word <= *i;
    const int64_t j = fits ? word : *i, moved = out[*i];
    out[*i] = out[j];
    out[j] = moved;
    *i -= fits;
    *mask >>= *i <= *mask >> 1;
}

/* out: 0 to n - 1 in the order of (seed, epoch); n at most 2**32. */
void fm_shuffle(int64_t n, uint64_t seed, uint64_t epoch, uint64_t stream, int64_t *out)
{
    source q = {.key = {seed, epoch}, .stream = stream};
    int64_t i = n - 1, mask = ones(i);
    count(n, out);
    while (i > 0) {
        refill(&q);
        for (int k = 0; k < WORDS && i > 0; k++) {
            draw(out, &i, &mask, q.word[k]);
        }
    }
}

/* The same with words from elsewhere. */
void fm_shuffle_by(int64_t n, uint32_t (*word)(void *), void *state, int64_t *out)
{
    int64_t i = n - 1, mask = ones(i);
    count(n, out);
    while (i > 0) {
        draw(out, &i, &mask, word(state));
    }
}
