/* Operations that join or cut buffers, in one precision: included by template.h.
 *
 * Functions of `n` elements run over whole padded rows; those of `rows` and `c` keep to the columns,
 * because what they would make of the padding (0 / 0, log 0) must not get into gradients.
 */

static void A(subtract)(long n, const void *a_, const void *b_, void *y_)
{
    const R *a = a_, *b = b_;
    R *y = y_;
    INDEPENDENT for (long i = 0; i < n; i++) { y[i] = a[i] - b[i]; }
}

/* NaN where one of the two is. */
static void A(maximum)(long n, const void *a_, const void *b_, void *y_)
{
    const R *a = a_, *b = b_;
    R *y = y_;
    INDEPENDENT for (long i = 0; i < n; i++) { y[i] = a[i] > b[i] || a[i] != a[i] ? a[i] : b[i]; }
}

static void A(minimum)(long n, const void *a_, const void *b_, void *y_)
{
    const R *a = a_, *b = b_;
    R *y = y_;
    INDEPENDENT for (long i = 0; i < n; i++) { y[i] = a[i] < b[i] || a[i] != a[i] ? a[i] : b[i]; }
}

/* da = dy where a is the larger one (the smaller one), dy / 2 where both are equal, else 0 */
static void A(extreme_grad)(long n, int larger, const void *dy_, const void *a_, const void *b_,
                            void *da_)
{
    const R *dy = dy_, *a = larger ? a_ : b_, *b = larger ? b_ : a_;
    R *da = da_;
    INDEPENDENT for (long i = 0; i < n; i++)
    {
        da[i] = dy[i] * (a[i] > b[i] ? C(1) : a[i] == b[i] ? C(0.5) : C(0));
    }
}

static void A(affine)(long n, double factor_, double shift_, const void *x_, void *y_)
{
    const R *x = x_, factor = (R)factor_, shift = (R)shift_;
    R *y = y_;
    INDEPENDENT for (long i = 0; i < n; i++) { y[i] = factor * x[i] + shift; }
}

static void A(divide)(long rows, long c, const void *a_, long lda, const void *b_, long ldb, void *y_,
                      long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *a = (const R *)a_ + i * lda, *b = (const R *)b_ + i * ldb;
        R *y = (R *)y_ + i * ldy;
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] = a[j] / b[j]; }
    }
}

static void A(power)(long rows, long c, double exponent, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        if (exponent == 2) {
            INDEPENDENT for (long j = 0; j < c; j++) { y[j] = x[j] * x[j]; }
        } else if (exponent == -1) {
            INDEPENDENT for (long j = 0; j < c; j++) { y[j] = 1 / x[j]; }
        } else {
            for (long j = 0; j < c; j++) { y[j] = (R)pow(x[j], exponent); }
        }
    }
}

static void A(log)(long rows, long c, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy, block[BLOCK];
        for (long j0 = 0; j0 < c; j0 += BLOCK) {
            const long left = c - j0 < BLOCK ? c - j0 : BLOCK;
            for (int v = 0; v < BLOCK; v++) { block[v] = C(1); }
            memcpy(block, x + j0, left * sizeof(R));
            INDEPENDENT for (int v = 0; v < BLOCK; v++) { block[v] = M(log)(block[v]); }
            memcpy(y + j0, block, left * sizeof(R));
        }
    }
}

static void A(broadcast)(long rows, long c, double factor, const void *x_, long ldx, void *y_,
                         long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R value = (R)factor * ((const R *)x_)[i * ldx];
        R *y = (R *)y_ + i * ldy;
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] = value; }
    }
}

static void A(row_sum)(long rows, long c, double factor, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R sum;
        ROW_SUM(sum, c, x[j]);
        ((R *)y_)[i * ldy] = (R)factor * sum;
    }
}

static void A(row_dot)(long rows, long c, const void *a_, long lda, const void *b_, long ldb,
                       void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *a = (const R *)a_ + i * lda, *b = (const R *)b_ + i * ldb;
        R sum;
        ROW_SUM(sum, c, a[j] * b[j]);
        ((R *)y_)[i * ldy] = sum;
    }
}

static void A(scale_rows)(long rows, long c, const void *x_, long ldx, const void *s_, long lds,
                          void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx, s = ((const R *)s_)[i * lds];
        R *y = (R *)y_ + i * ldy;
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] = s * x[j]; }
    }
}

/* `width` elements of each of `groups` groups, which lie `stepx` and `stepy` apart in a row. */
static void A(copy_groups)(long rows, long groups, long width, const void *x_, long ldx, long stepx,
                           void *y_, long ldy, long stepy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        for (long g = 0; g < groups; g++) {
            memcpy(y + g * stepy, x + g * stepx, width * sizeof(R));
        }
    }
}

#ifndef FM_JOIN
#define FM_JOIN(t)                                                                               \
    {                                                                                            \
        .subtract = subtract##t, .maximum = maximum##t, .minimum = minimum##t,                   \
        .extreme_grad = extreme_grad##t, .affine = affine##t, .divide = divide##t,               \
        .power = power##t, .log = log##t, .broadcast = broadcast##t, .row_sum = row_sum##t,      \
        .row_dot = row_dot##t, .scale_rows = scale_rows##t, .copy_groups = copy_groups##t        \
    }
#endif
