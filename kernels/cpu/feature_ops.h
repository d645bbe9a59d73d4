/* Operations that make numbers of features, in one precision: included by template.h. */

/* y = (x - before) scale + after, each of them a number per column. */
static void A(column_affine)(long rows, long c, const void *constants, const void *x_, long ldx,
                             void *y_, long ldy)
{
    const R *before = constants, *scale = before + c, *after = scale + c;
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] = (x[j] - before[j]) * scale[j] + after[j]; }
    }
}

/* With s = max(sqrt(variance), least): (x - mean) / s, or x s + mean where it is inverted; without
 * `center` the mean counts as 0.  The moments have one number for all columns, or one for each. */
static void A(feature_norm)(long rows, long c, int one, int invert, int center, double least_,
                            const void *mean_, const void *variance_, const void *x_, long ldx, void *y_, long ldy)
{
    const R *mean = mean_, *variance = variance_, least = (R)least_;
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        INDEPENDENT for (long j = 0; j < c; j++)
        {
            const R root = M(sqrt)(variance[one ? 0 : j]), s = root > least ? root : least;
            const R m = center ? mean[one ? 0 : j] : 0;
            y[j] = invert ? x[j] * s + m : (x[j] - m) / s;
        }
    }
}

/* The number of boundaries that are not above x; all of them for NaN. */
static void A(digitize)(long rows, long c, long count, const void *boundaries_, const void *x_,
                        long ldx, void *y_, long ldy)
{
    const R *boundaries = boundaries_;
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        for (long j = 0; j < c; j++) {
            long low = 0, high = count;
            while (low < high) {
                const long middle = (low + high) / 2;
                if (x[j] < boundaries[middle]) {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            y[j] = (R)low;
        }
    }
}

/* Whole numbers as vectors of `depth`: one for each (kind 0), or one for each row that says what is
 * there (1) or how often (2).  What is out of range is nowhere. */
static void A(encode)(long rows, long c, long depth, int kind, const void *x_, long ldx, void *y_,
                      long ldy)
{
    memset(y_, 0, rows * ldy * sizeof(R));
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        for (long j = 0; j < c; j++) {
            if (x[j] >= 0 && x[j] < (R)depth) {
                R *place = y + (long)x[j] + (kind == 0 ? j * depth : 0);
                *place = kind == 2 ? *place + 1 : 1;
            }
        }
    }
}

#ifndef FM_FEATURES
#define FM_FEATURES(t)                                                                           \
    {                                                                                            \
        .column_affine = column_affine##t, .feature_norm = feature_norm##t,                      \
        .digitize = digitize##t, .encode = encode##t                                             \
    }
#endif
