/* A few rows and columns transposed.  Included by rows.h, per precision. */

#ifndef FM_TURN_ONCE
#define FM_TURN_ONCE
/* Elements of two vectors of four, numbered from 0 to 7. */
#if defined(__clang__)
#define SHUFFLE_FOUR(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE_FOUR(a, b, i, j, k, l) __builtin_shuffle(a, b, (A(indices)){i, j, k, l})
typedef int32_t indices_f32 __attribute__((vector_size(16)));
typedef int64_t indices_f64 __attribute__((vector_size(32)));
#endif
#endif

/* Four by four elements transposed, from rows of distance ldx to rows of distance ldy. */
typedef R A(four) __attribute__((vector_size(4 * sizeof(R)), aligned(sizeof(R)), may_alias));
INLINE void A(turn_four)(const R *x, long ldx, R *y, long ldy)
{
    const A(four) a = *(const A(four) *)x, b = *(const A(four) *)(x + ldx);
    const A(four) c = *(const A(four) *)(x + 2 * ldx), d = *(const A(four) *)(x + 3 * ldx);
    const A(four) ac = SHUFFLE_FOUR(a, c, 0, 4, 1, 5), bd = SHUFFLE_FOUR(b, d, 0, 4, 1, 5);
    const A(four) ca = SHUFFLE_FOUR(a, c, 2, 6, 3, 7), db = SHUFFLE_FOUR(b, d, 2, 6, 3, 7);
    *(A(four) *)y = SHUFFLE_FOUR(ac, bd, 0, 4, 1, 5);
    *(A(four) *)(y + ldy) = SHUFFLE_FOUR(ac, bd, 2, 6, 3, 7);
    *(A(four) *)(y + 2 * ldy) = SHUFFLE_FOUR(ca, db, 0, 4, 1, 5);
    *(A(four) *)(y + 3 * ldy) = SHUFFLE_FOUR(ca, db, 2, 6, 3, 7);
}

/* y (c, n) = x (n, c) transposed, for a few rows and columns.  Not inlined: dozens of losses call
 * it. */
static __attribute__((noinline, unused)) void A(turn)(long n, long c, const R *x, long ldx, R *y,
                                                      long ldy)
{
    long i = 0;
    for (; i + 4 <= n; i += 4) {
        long j = 0;
        for (; j + 4 <= c; j += 4) {
            A(turn_four)(x + i * ldx + j, ldx, y + j * ldy + i, ldy);
        }
        for (; j < c; j++) {
            for (int k = 0; k < 4; k++) {
                y[j * ldy + i + k] = x[(i + k) * ldx + j];
            }
        }
    }
    for (; i < n; i++) {
        for (long j = 0; j < c; j++) {
            y[j * ldy + i] = x[i * ldx + j];
        }
    }
}
