/* What a step that is observed counts, in one precision: included by template.h. */

/* Of the columns start..stop of y the sums of squares, and in `active` how often the slope of an
 * activation is more than `below` away from 0 (its derivative is computed from `saved`; NULL for no
 * activation).  Rows are added up in their order; start is a multiple of FM_STRIP. */
static void A(observe)(long rows, long start, long stop, const void *y_, long ldy,
                       const void *saved_, long lds, fm_map_grad derivative, const void *params,
                       double below_, double *squares, double *active)
{
    const R below = (R)below_;
    R ones[FM_STRIP] __attribute__((aligned(FM_LINE)));
    R slopes[FM_STRIP] __attribute__((aligned(FM_LINE)));
    for (long j = 0; j < FM_STRIP; j++) {
        ones[j] = 1;
    }
    for (long j0 = start; j0 < stop; j0 += FM_STRIP) {
        const long width = stop - j0 < FM_STRIP ? stop - j0 : FM_STRIP;
        double sums[FM_STRIP] = {0}, counts[FM_STRIP] = {0};
        for (long i = 0; i < rows; i++) {
            const R *y = (const R *)y_ + i * ldy + j0;
            for (long j = 0; j < width; j++) {
                sums[j] += (double)y[j] * y[j];
            }
            if (derivative) {
                derivative(width, ones, (const R *)saved_ + i * lds + j0, slopes, params);
                for (long j = 0; j < width; j++) {
                    counts[j] += slopes[j] > below || slopes[j] < -below;
                }
            }
        }
        memcpy(squares + j0, sums, width * sizeof(double));
        memcpy(active + j0, counts, width * sizeof(double));
    }
}
