/* Rows of tables and elements of samples, moved about and added up: included by template.h.
 *
 * A parameter of `rows` rows lies in panels of `panel` columns, one behind the other; `pitch` are
 * its padded columns.
 */

/* Element (i, j) of a parameter. */
INLINE R *A(element)(const void *w, long rows, long pitch, long panel, long i, long j)
{
    const long first = j - j % panel, width = pitch - first < panel ? pitch - first : panel;
    return (R *)w + first * rows + i * width + (j - first);
}

/* The row of a table that x names, or -1 if there is none. */
INLINE long A(number)(R x, long rows) { return x > -1 && x < (R)rows ? (long)x : -1; }

/* y (rows, t e) = the rows of the table that x (rows, t) names, NaN where it names none. */
static void A(embedding)(long rows, long t, long e, const void *x_, long ldx, const void *table,
                         long count, long pitch, long panel, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        for (long k = 0; k < t; k++) {
            const long number = A(number)(x[k], count);
            R *y = (R *)y_ + i * ldy + k * e;
            for (long j = 0; j < e; j += panel) {
                const long width = e - j < panel ? e - j : panel;
                if (number >= 0) {
                    memcpy(y + j, A(element)(table, count, pitch, panel, number, j),
                           width * sizeof(R));
                } else {
                    for (long v = 0; v < width; v++) {
                        y[j + v] = (R)NAN;
                    }
                }
            }
        }
    }
}

/* Rows from..to of `width` columns of a table's gradient, those from `column` on, c of which are no
 * padding: each the sum of what its uses got, in the batch's order. */
static void A(embedding_grad)(long rows, long t, long e, long column, long c, const void *x_,
                              long ldx, const void *dy_, long lddy, void *table, long count,
                              long width, long from, long to)
{
    memset((R *)table + from * width, 0, (to - from) * width * sizeof(R));
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        for (long k = 0; k < t; k++) {
            const long number = A(number)(x[k], count);
            if (number < from || number >= to) {
                continue;
            }
            const R *dy = (const R *)dy_ + i * lddy + k * e + column;
            R *sum = (R *)table + number * width;
            INDEPENDENT for (long v = 0; v < c; v++) { sum[v] += dy[v]; }
        }
    }
}

/* Samples of ra rows of ca columns as samples of rb rows of cb columns, ra ca = rb cb. */
static void A(reshape)(long samples, long ra, long ca, const void *x_, long ldx, long rb, long cb,
                       void *y_, long ldy)
{
    for (long s = 0; s < samples; s++) {
        const R *x = (const R *)x_ + s * ra * ldx;
        R *y = (R *)y_ + s * rb * ldy;
        for (long at = 0; at < ra * ca;) {
            const long left = ca - at % ca, room = cb - at % cb, n = left < room ? left : room;
            memcpy(y + at / cb * ldy + at % cb, x + at / ca * ldx + at % ca, n * sizeof(R));
            at += n;
        }
    }
}

/* y[:, j] = x[:, index[j]] for m columns. */
static void A(take_columns)(long rows, long m, const int64_t *index, const void *x_, long ldx,
                            void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        for (long j = 0; j < m; j++) {
            y[j] = x[index[j]];
        }
    }
}

/* Its adjoint: dx (rows, c) is the sum of what each column was taken for, in order. */
static void A(put_columns)(long rows, long m, const int64_t *index, const void *dy_, long lddy,
                           void *dx_, long lddx, long c)
{
    for (long i = 0; i < rows; i++) {
        const R *dy = (const R *)dy_ + i * lddy;
        R *dx = (R *)dx_ + i * lddx;
        memset(dx, 0, c * sizeof(R));
        for (long j = 0; j < m; j++) {
            dx[index[j]] += dy[j];
        }
    }
}
