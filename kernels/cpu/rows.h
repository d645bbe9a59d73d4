/* Reductions along a row, in one precision; their order is fixed by the number of LANES. */

#ifndef FM_ROWS_ONCE
#define FM_ROWS_ONCE
enum { BLOCK = 64, PART = 16, MAX_PARAMS = 4 };
/* More lanes than a vector has keep several sums in flight; their number fixes the order. */
enum { LANES = 32 };
/* Classes up to which losses work on groups of rows, and the rows of a group. */
enum { FEW = 32, GROUP = 16 };
#endif
#include "turn.h"

/* NaN wins: (a > b ? a : b) would drop a NaN in a. */
#define LARGER(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))

INLINE R A(fold)(const R *part, int larger)
{
    R one[LANES];
    memcpy(one, part, sizeof one);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int v = 0; v < width; v++) {
            one[v] = larger ? LARGER(one[v], one[v + width]) : one[v] + one[v + width];
        }
    }
    return one[0];
}

INLINE R A(row_max)(long c, const R *x)
{
    R part[LANES];
    long j = 0;
    for (int v = 0; v < LANES; v++) {
        part[v] = -C(INFINITY);
    }
    for (; j + LANES <= c; j += LANES) {
        INDEPENDENT for (int v = 0; v < LANES; v++) { part[v] = LARGER(x[j + v], part[v]); }
    }
    for (int v = 0; j + v < c; v++) {
        part[v] = LARGER(x[j + v], part[v]);
    }
    return A(fold)(part, 1);
}

/* sum_j expression(j) in the fixed order of LANES interleaved parts. */
#define ROW_SUM(result, c, expression)                                                           \
    do {                                                                                         \
        R part[LANES] = {0};                                                                     \
        long j0 = 0;                                                                             \
        for (; j0 + LANES <= (c); j0 += LANES) {                                                 \
            INDEPENDENT for (int v = 0; v < LANES; v++)                                          \
            {                                                                                    \
                const long j = j0 + v;                                                           \
                part[v] += (expression);                                                         \
            }                                                                                    \
        }                                                                                        \
        for (int v = 0; j0 + v < (c); v++) {                                                     \
            const long j = j0 + v;                                                               \
            part[v] += (expression);                                                             \
        }                                                                                        \
        (result) = A(fold)(part, 0);                                                             \
    } while (0)

/* First largest of a row; a NaN counts as the largest, as in numpy.argmax. */
INLINE long A(argmax)(long c, const R *x)
{
    const R largest = A(row_max)(c, x);
    long j = 0;
    while (j < c && !(x[j] == largest || x[j] != x[j])) {
        j++;
    }
    return j < c ? j : 0;
}
