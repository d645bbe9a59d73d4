/* Products with matrices in compressed rows, in one precision: included by template.h.
 *
 * Row i of a batch has the elements extents[2 i] to extents[2 i + 1] of `values` and `columns`.
 * Additions go in the order of these elements, and of the rows: the bits depend on nothing else.
 */

#define SPARSE_WIDTH (FM_PANEL / (long)sizeof(R))

/* y = bias + x w, for a matrix w (k, c) in panels. */
static void A(sparse_product)(long rows, long c, const int64_t *extents, const void *values_,
                              const int32_t *columns, fm_panels w, const void *bias_, void *y_,
                              long ldy)
{
    const R *values = values_, *bias = bias_;
    for (long from = 0; from < c; from += SPARSE_WIDTH) {
        const R *panel = (const R *)w.at + from / SPARSE_WIDTH * w.step;
        const long left = (c - from + FM_LINE / (long)sizeof(R) - 1) / (FM_LINE / (long)sizeof(R)) *
                          (FM_LINE / (long)sizeof(R));
        const long width = left < SPARSE_WIDTH ? left : SPARSE_WIDTH, ld = w.ld ? w.ld : width;
        for (long i = 0; i < rows; i++) {
            R sum[SPARSE_WIDTH], *y = (R *)y_ + i * ldy + from;
            for (long j = 0; j < SPARSE_WIDTH; j++) { sum[j] = bias && j < width ? bias[from + j] : 0; }
            const int64_t end = extents[2 * i + 1];
            if (width == SPARSE_WIDTH) {
                for (int64_t e = extents[2 * i]; e < end; e++) {
                    const R v = values[e], *row = panel + columns[e] * ld;
                    for (long j = 0; j < SPARSE_WIDTH; j++) { sum[j] += v * row[j]; }
                }
            } else {
                for (int64_t e = extents[2 * i]; e < end; e++) {
                    const R v = values[e], *row = panel + columns[e] * ld;
                    for (long j = 0; j < width; j++) { sum[j] += v * row[j]; }
                }
            }
            memcpy(y, sum, width * sizeof(R));
        }
    }
}

/* Rows first..end of dw = x' dz, of which `dw` is that part, c columns in panels from the first. */
static void A(sparse_dw)(long rows, long first, long end, long c, const int64_t *extents,
                         const void *values_, const int32_t *columns, const void *dz_, long lddz,
                         fm_panels dw)
{
    const R *values = values_;
    for (long from = 0; from < c; from += SPARSE_WIDTH) {
        R *panel = (R *)dw.at + from / SPARSE_WIDTH * dw.step;
        const long left = (c - from + FM_LINE / (long)sizeof(R) - 1) / (FM_LINE / (long)sizeof(R)) *
                          (FM_LINE / (long)sizeof(R));
        const long width = left < SPARSE_WIDTH ? left : SPARSE_WIDTH, ld = dw.ld ? dw.ld : width;
        for (long k = 0; k < end - first; k++) { memset(panel + k * ld, 0, width * sizeof(R)); }
        for (long i = 0; i < rows; i++) {
            const R *dz = (const R *)dz_ + i * lddz + from;
            for (int64_t e = extents[2 * i]; e < extents[2 * i + 1]; e++) {
                if (columns[e] >= first && columns[e] < end) {
                    const R v = values[e];
                    R *row = panel + (columns[e] - first) * ld;
                    INDEPENDENT for (long j = 0; j < width; j++) { row[j] += v * dz[j]; }
                }
            }
        }
    }
}

/* y = x with all its zeros, c columns. */
static void A(densify)(long rows, long c, const int64_t *extents, const void *values_,
                       const int32_t *columns, void *y_, long ldy)
{
    const R *values = values_;
    memset(y_, 0, rows * ldy * sizeof(R));
    for (long i = 0; i < rows; i++) {
        R *y = (R *)y_ + i * ldy;
        for (int64_t e = extents[2 * i]; e < extents[2 * i + 1]; e++) { y[columns[e]] += values[e]; }
    }
}

#undef SPARSE_WIDTH

#ifndef FM_SPARSE
#define FM_SPARSE(t)                                                                             \
    {                                                                                            \
        .product = sparse_product##t, .dw = sparse_dw##t, .densify = densify##t                  \
    }
#endif
