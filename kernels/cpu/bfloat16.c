/* The matrix product of bfloat16 numbers with float32 sums, for processors with AVX512_BF16.
 *
 * It is the product of product.h with other meanings: an "element" of a and of b is a pair of
 * bfloat16 that are neighbours along k, in the 32 bits of a float, the lower half first; one
 * instruction multiplies both and adds them to a float32 sum.  k counts pairs.
 */
#include "native.h"

#include <immintrin.h>
#include <string.h>

#include "compiler.h"

#define VECTOR 64
#define TILE_ROWS 12
#define R float
#define I int32_t
#define A(name) FM_PASTE(name, _bf16)
#define C(x) ((float)(x))
#define VFMA(x, b, sum)                                                                          \
    ((vec_bf16)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(x), (__m512bh)(b)))
#define VSET(x) ((vec_bf16)_mm512_set1_ps(x))
#define VZERO ((vec_bf16){0})
#define VRELU(y) ((vec_bf16)((mask_bf16)(y) & ~((y) <= VZERO)))
#define VSTEP(y) ((vec_bf16)((mask_bf16)VSET(1.0f) & ((y) > VZERO)))
#include "product.h"

/* The nearest bfloat16, ties to even; a NaN stays one. */
INLINE uint32_t nearest(uint32_t bits)
{
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    return ((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded) >> 16;
}

static void pair_columns(long rows, long c, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const uint32_t *x = (const uint32_t *)x_ + i * ldx;
        uint32_t *y = (uint32_t *)y_ + i * ldy;
        INDEPENDENT for (long j = 0; j < c / 2; j++)
        {
            y[j] = nearest(x[2 * j]) | nearest(x[2 * j + 1]) << 16;
        }
        if (c % 2) {
            y[c / 2] = nearest(x[c - 1]);
        }
    }
}

static void pair_rows(long rows, long c, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i += 2) {
        const uint32_t *x = (const uint32_t *)x_ + i * ldx;
        uint32_t *y = (uint32_t *)y_ + i / 2 * ldy;
        if (i + 1 < rows) {
            INDEPENDENT for (long j = 0; j < c; j++)
            {
                y[j] = nearest(x[j]) | nearest(x[ldx + j]) << 16;
            }
        } else {
            INDEPENDENT for (long j = 0; j < c; j++) { y[j] = nearest(x[j]); }
        }
    }
}

const fm_bfloat16 fm_bfloat16_kernels = {gemm_bf16, pair_columns, pair_rows};
