/* What a step that is observed counts, in one precision: included by template.h. */

enum { A(SEEN) = FM_LINE / sizeof(R), A(SEEN_ROWS) = 8 };
typedef R A(seen) __attribute__((vector_size(FM_LINE)));
typedef I A(seen_counts) __attribute__((vector_size(FM_LINE), may_alias));
typedef R A(summed) __attribute__((vector_size(8 * sizeof(R))));
typedef double A(sums_of) __attribute__((vector_size(8 * sizeof(double)), may_alias));

/* At least the first `columns` of a row, and what lies behind them in memory that ends at `end`. */
#define SEE(found, row, columns, end)                                                            \
    do {                                                                                         \
        if ((row) + sizeof(found) / sizeof(R) <= (end)) {                                        \
            memcpy(&found, row, sizeof(found));                                                  \
        } else {                                                                                 \
            memset(&found, 0, sizeof(found));                                                    \
            memcpy(&found, row, (columns) * sizeof(R));                                          \
        }                                                                                        \
    } while (0)

/* Sums of the squares of at most eight columns. */
static void A(see_squares)(long rows, long columns, const R *y, long ldy, const R *end,
                           double *squares)
{
    double each[8] __attribute__((aligned(FM_LINE)));
    A(sums_of) sums = {0};
    for (long i = 0; i < rows; i++) {
        A(summed) found;
        SEE(found, y + i * ldy, columns, end);
        const A(sums_of) wide = __builtin_convertvector(found, A(sums_of));
        sums += wide * wide;
    }
    *(A(sums_of) *)each = sums; /* not sums[j], which would keep it in memory all the time */
    memcpy(squares, each, columns * sizeof(double));
}

/* How often slopes of at most a line of columns are more than `below` away from 0. */
static void A(see_slopes)(long rows, long columns, const R *saved, long lds, const R *end,
                          fm_map_grad derivative, const void *params, R below, double *active)
{
    A(seen) ones[A(SEEN_ROWS)], given[A(SEEN_ROWS)], slopes[A(SEEN_ROWS)];
    A(seen_counts) counts = {0};
    I each[A(SEEN)] __attribute__((aligned(FM_LINE)));
    for (long i = 0; i < A(SEEN_ROWS); i++) {
        ones[i] = (A(seen)){0} + 1;
    }
    for (long i0 = 0; i0 < rows; i0 += A(SEEN_ROWS)) {
        /* several rows as if they were one: most layers are narrow */
        const long some = rows - i0 < A(SEEN_ROWS) ? rows - i0 : A(SEEN_ROWS);
        for (long i = 0; i < some; i++) {
            SEE(given[i], saved + (i0 + i) * lds, columns, end);
        }
        derivative(some * A(SEEN), ones, given, slopes, params);
        for (long i = 0; i < some; i++) {
            counts -= (slopes[i] > below) | (slopes[i] < -below);
        }
    }
    *(A(seen_counts) *)each = counts;
    for (long j = 0; j < columns; j++) {
        active[j] = (double)each[j];
    }
}

/* Of the columns start..stop of y the sums of squares, and in `active` how often the slope of an
 * activation is more than `below` away from 0 (its derivative is computed from `saved`; NULL for no
 * activation).  Rows are added up in their order; start is a multiple of FM_STRIP. */
static void A(observe)(long rows, long start, long stop, const void *y_, long ldy,
                       const void *saved_, long lds, fm_map_grad derivative, const void *params,
                       double below, double *squares, double *active)
{
    const R *y = y_, *saved = saved_;
    for (long j = start; j < stop; j += 8) {
        A(see_squares)(rows, stop - j < 8 ? stop - j : 8, y + j, ldy, y + (rows - 1) * ldy + stop,
                       squares + j);
    }
    for (long j = start; derivative && j < stop; j += A(SEEN)) {
        A(see_slopes)(rows, stop - j < A(SEEN) ? stop - j : A(SEEN), saved + j, lds,
                      saved + (rows - 1) * lds + stop, derivative, params, (R)below, active + j);
    }
}
#undef SEE
