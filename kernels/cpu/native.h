/* What the compiled modules share: the table of kernels of one instruction set, and the threads.
 *
 * `isa_kernels.c` is compiled once per instruction set and fills one `fm_tables` each time;
 * `native.pyx` picks one at import through cpuid.  Kernels know nothing of threads: a caller splits
 * outputs among threads by passing ranges.  Every output element is computed the same way wherever
 * a range begins, so results do not depend on how the work was split.
 *
 * Arrays are row-major; `ld` counts elements from row to row.  "Padded" arguments may be read and
 * written up to the next multiple of FM_LINE bytes behind each row.
 */
#ifndef FM_NATIVE_H
#define FM_NATIVE_H

#include "loss_kernels.h"

#include <stdint.h>

#define FM_LINE 64
#define FM_PANEL 128

typedef void (*fm_map)(long n, const void *x, void *y, const void *params);
typedef void (*fm_map_grad)(long n, const void *dy, const void *saved, void *dx,
                            const void *params);
typedef void (*fm_rows)(long rows, long c, const void *x, long ldx, void *y, long ldy);
typedef void (*fm_rows_grad)(long rows, long c, const void *dy, long lddy, const void *saved,
                             long lds, void *dx, long lddx);

/* Operations that join or cut buffers; see join.h. */
typedef struct {
    void (*subtract)(long n, const void *a, const void *b, void *y);
    void (*maximum)(long n, const void *a, const void *b, void *y);
    void (*minimum)(long n, const void *a, const void *b, void *y);
    void (*extreme_grad)(long n, int larger, const void *dy, const void *a, const void *b, void *da);
    void (*affine)(long n, double factor, double shift, const void *x, void *y);
    void (*divide)(long rows, long c, const void *a, long lda, const void *b, long ldb, void *y,
                   long ldy);
    void (*power)(long rows, long c, double exponent, const void *x, long ldx, void *y, long ldy);
    void (*log)(long rows, long c, const void *x, long ldx, void *y, long ldy);
    void (*broadcast)(long rows, long c, double factor, const void *x, long ldx, void *y, long ldy);
    void (*row_sum)(long rows, long c, double factor, const void *x, long ldx, void *y, long ldy);
    void (*row_dot)(long rows, long c, const void *a, long lda, const void *b, long ldb, void *y,
                    long ldy);
    void (*scale_rows)(long rows, long c, const void *x, long ldx, const void *s, long lds, void *y,
                       long ldy);
    void (*copy_groups)(long rows, long groups, long width, const void *x, long ldx, long stepx,
                        void *y, long ldy, long stepy);
} fm_join;

/* Masks of steps, what they keep, and pooling; see masks.h. */
typedef struct {
    void (*step_mask)(long n, long t, long c, double value, const void *x, long xi, long xk, void *m,
                      long mi, long mk);
    void (*keep_steps)(long n, long t, long c, const void *x, long xi, long xk, const void *m,
                       long mi, long mk, void *y, long yi, long yk);
    void (*pool)(long n, long t, long c, int largest, const void *x, long xi, long xk, const void *m,
                 long mi, long mk, void *y, long yi);
    void (*mean_pool_grad)(long n, long t, long c, const void *dy, long dyi, const void *m, long mi,
                           long mk, void *dx, long dxi, long dxk);
    void (*max_pool_grad)(long n, long t, long c, const void *dy, long dyi, const void *x, long xi,
                          long xk, const void *y, long yi, void *dx, long dxi, long dxk);
    void (*row_weights)(long n, long t, int over, const void *w, long per, const void *m, long mi,
                        long mk, const int64_t *classes, const int64_t *ignore, void *out);
} fm_masks;

/* A matrix whose columns lie in panels of FM_PANEL bytes, as kernels/layout.py has them: `step`
 * elements from one panel to the next, `ld` from row to row, 0 where the rows of a panel follow
 * each other without a gap.  A row-major matrix has the step FM_PANEL bytes. */
typedef struct {
    void *at;
    long ld, step;
} fm_panels;

typedef void (*fm_update)(long n, void *w, const void *g, char *const *slots, const double *c,
                          double decay);
typedef void (*fm_coefficients)(double rate, double t, const double *params, double tiny,
                                double *c);

/* A parameter: `pitch` padded columns in panels of `panel`, the rows of a panel one after another. */
typedef struct {
    long rows, columns, pitch, panel;
} fm_matrix;
/* Operations that make numbers of features; see feature_ops.h. */
typedef struct {
    void (*column_affine)(long rows, long c, const void *constants, const void *x, long ldx, void *y,
                          long ldy);
    void (*feature_norm)(long rows, long c, int one, int invert, int center, double least,
                         const void *mean, const void *variance, const void *x, long ldx, void *y,
                         long ldy);
    void (*digitize)(long rows, long c, long count, const void *boundaries, const void *x, long ldx,
                     void *y, long ldy);
    void (*encode)(long rows, long c, long depth, int kind, const void *x, long ldx, void *y,
                   long ldy);
} fm_features;

/* Products with matrices in compressed rows; see sparse.h. */
typedef struct {
    void (*product)(long rows, long c, const int64_t *extents, const void *values,
                    const int32_t *columns, fm_panels w, const void *bias, void *y, long ldy);
    void (*dw)(long rows, long first, long end, long c, const int64_t *extents, const void *values,
               const int32_t *columns, const void *dz, long lddz, fm_panels dw);
    void (*densify)(long rows, long c, const int64_t *extents, const void *values,
                    const int32_t *columns, void *y, long ldy);
} fm_sparse;

/* How a matrix product ends: what happens to a tile on its way to memory. */
enum { FM_STORE = 0, FM_RELU = 1, FM_RELU_GRAD = 2 };

/* What rows are normalized by: mean and variance, mean square, Euclidean norm. */
enum { FM_LAYER_NORM = 0, FM_RMS_NORM = 1, FM_UNIT_NORM = 2 };

/* Columns that statistics are made of at a time. */
enum { FM_STRIP = 32 };

typedef struct {
    /* c (m, n) = bias + a b; a is (m, k), or (k, m) read transposed; b (k, n); n padded.
     * `saved` (m, n), laid out as c, is read by FM_RELU_GRAD only. */
    void (*gemm)(int transposed, long m, long n, long k, const void *a, long lda, fm_panels b,
                 const void *bias, fm_panels c, int ending, const void *saved);
    /* c (m, n) = a' b for a (k, m) and b (k, n), and where `sums` is not NULL, the sums of b's
     * columns. */
    void (*kernel_grad)(long m, long n, long k, const void *a, long lda, const void *b, long ldb,
                        fm_panels c, void *sums);
    void (*column_sums)(long rows, long c, const void *x, long ldx, void *sums);
    /* y = x transposed, for rows from..to of x (rows, c) and rows first.. of y, whose columns are
     * the `rows` of x. */
    void (*transpose)(long from, long to, long rows, long c, const void *x, long ldx,
                      fm_panels y, long first);
    void (*gather)(long rows, long c, const void *x, long ldx, const int64_t *order, void *y,
                   long ldy);
    void (*multiply)(long n, const void *a, const void *b, void *c);
    void (*add)(long n, const void *a, const void *b, void *c);
    void (*sums)(long n, const void *values, const void *weight, double *sum, double *count);

    const fm_map *map;             /* by the row's number in spec.ELEMENTWISE */
    const fm_map_grad *map_grad;
    /* y = map(x), y written past the caches and apart from x; y aligned to its elements */
    void (*stream)(fm_map map, long n, const void *x, void *y, const void *params);
    fm_rows softmax, log_softmax, sparsemax, glu;
    fm_rows_grad softmax_grad, log_softmax_grad, sparsemax_grad, glu_grad;
    void (*maxout)(long rows, long c, long pieces, const void *x, long ldx, void *y, long ldy);
    void (*maxout_grad)(long rows, long c, long pieces, const void *dy, long lddy, const void *x,
                        long ldx, void *dx, long lddx);
    void (*prelu)(long rows, long c, const void *x, long ldx, const void *alpha, void *y,
                  long ldy);
    void (*prelu_grad)(long rows, long c, const void *dy, long lddy, const void *x, long ldx,
                       const void *alpha, void *dx, long lddx);
    /* dalpha of the columns from..to, over all rows in order */
    void (*prelu_slope_grad)(long rows, long from, long to, const void *dy, long lddy,
                             const void *x, long ldx, void *dalpha);

    /* labels: classes (int64) or, where classes is NULL, probabilities t. */
    void (*softmax_cross_entropy)(long rows, long c, const void *z, long ldz,
                                  const int64_t *classes, const void *t, long ldt,
                                  const void *weight, double smoothing, const int64_t *ignore,
                                  double scale, void *losses, void *d, long ldd, void *hits);
    const fm_losses *losses;

    /* optimizers (updates.h): by the row's number in spec.ELEMENTWISE_OPTIMIZERS; slots hold the
     * state at the first element, `decay` is the rate times the weight decay */
    const fm_update *update;
    const fm_coefficients *coefficients;
    double (*squares)(long n, const void *x);
    void (*clip)(long n, void *g, double factor, double limit);
    void (*collect)(long n, void *g, void *total, double divisor);
    void (*average)(long n, void *w, void *average, double keep, int overwrite);
    void (*lamb_moments)(long n, void *w, const void *g, void *m, void *v, const double *c,
                         double decay, double *sums);
    void (*lamb_apply)(long n, void *w, const void *m, const void *v, const double *c,
                       double rate);
    void (*adafactor_rows)(const fm_matrix *q, long from, long to, void *w, const void *g,
                           void *row, const double *c, double decay, double *squares);
    void (*adafactor_columns)(const fm_matrix *q, long from, long to, const void *g, void *column,
                              const double *c);
    void (*adafactor_apply)(const fm_matrix *q, long from, long to, void *w, const void *g,
                            const void *row, const void *column, double mean, double rate,
                            double *squares);
    double (*muon_trace)(const fm_matrix *q, long from, long to, const void *g, void *m,
                         double momentum, int nesterov, int across, void *x, long ld_x);
    void (*muon_apply)(const fm_matrix *q, long from, long to, void *w, const void *x, int across,
                       long ld_x, double rate, double decay);
    void (*combine)(long n, double a, const void *x, double b, void *y);
    /* mask of the rows from..to; row r of the array is row r of the counter */
    void (*dropout_mask)(long from, long to, long c, void *mask, long ld, double rate,
                         uint64_t seed, uint32_t stream, uint32_t step);
    /* columns start..stop of what a step that is observed counts (observing.h); start is a multiple
     * of FM_STRIP, derivative may be NULL */
    void (*observe)(long rows, long start, long stop, const void *y, long ldy, const void *saved,
                    long lds, fm_map_grad derivative, const void *params, double below,
                    double *squares, double *active);
    double (*distance)(long n, const void *a, const void *b);
    fm_join join;
    fm_masks masks;
    fm_features features;
    fm_sparse sparse;

    /* mean + stddev times normal numbers for the rows start..stop, as dropout_mask counts them */
    void (*normal)(long start, long stop, long c, void *out, long ld, double mean, double stddev,
                   uint64_t seed, uint32_t stream, uint32_t step);
    /* mask of 0 and others becomes 0 and a; y = x mask + (mask ? b : a low + b) */
    void (*alpha_dropout)(long n, const void *x, void *mask, void *y, double a, double low,
                          double b);
    /* l1 sum |w| + l2 sum w^2, and l1 sign(w) + slope w, added to g where `adds` */
    double (*penalty)(long n, const void *w, double l1, double l2);
    void (*penalty_grad)(long n, const void *w, void *g, double l1, double slope, int adds);
    /* penalties of rows, and scale times their derivative in d or not (NULL) */
    void (*activity_penalty)(long rows, long c, const void *y, long ldy, double linear, double l1,
                             double l2, double scale, void *values, void *d, long ldd);
    /* Parameters in panels (moving.h); scratch in doubles: count * size + count + size */
    double (*orthogonal_penalty)(long rows, long columns, long pitch, long panel, const void *w,
                                 int by_rows, double factor, void *g, int adds, double *scratch);
    void (*non_negative)(long n, void *w);
    /* limits: low, high, rate, epsilon; axis 2 is the whole */
    void (*constrain_norm)(long rows, long columns, long pitch, long panel, void *w, int axis,
                           long start, long stop, const double *limits);
    /* scratch in doubles: rows * columns + rows + columns */
    void (*spectral_norm)(long rows, long columns, long pitch, long panel, void *w, void *u,
                          int iterations, double epsilon, double *scratch);
    /* Columns start..stop, in strips: start a multiple of FM_STRIP */
    void (*batch_statistics)(long rows, long start, long stop, const void *x, long ldx,
                             const void *w, double momentum, double epsilon, void *moving_mean,
                             void *moving_variance, void *mean, void *inv);
    void (*batch_norm_sums)(long rows, long start, long stop, const void *dy, long lddy,
                            const void *x, long ldx, const void *mean, const void *inv,
                            void *dgamma, void *dbeta);
    /* gamma, beta, inv, mean may be NULL; n counts the rows of the whole batch */
    void (*standardize)(long rows, long c, const void *x, long ldx, const void *mean,
                        const void *inv, const void *gamma, const void *beta, void *y, long ldy);
    void (*batch_norm_dx)(long rows, long c, long n, const void *dy, long lddy, const void *x,
                          long ldx, const void *w, const void *mean, const void *inv,
                          const void *dgamma, const void *dbeta, const void *gamma, void *dx,
                          long lddx);
    void (*fold_statistics)(long start, long stop, const void *mean, const void *variance,
                            const void *gamma, const void *beta, double epsilon, void *a, void *b);
    void (*scale_shift)(long rows, long c, const void *x, long ldx, const void *a, const void *b,
                        void *y, long ldy);
    void (*row_norm)(long rows, long c, const void *x, long ldx, int kind, double epsilon,
                     const void *gamma, const void *beta, void *y, long ldy, void *inv, void *mean);
    void (*row_norm_grad)(long rows, long c, const void *dy, long lddy, const void *x, long ldx,
                          const void *inv, const void *mean, const void *gamma, int kind, void *dx,
                          long lddx);
    void (*gamma_grad)(long rows, long c, const void *dy, long lddy, const void *x, long ldx,
                       const void *inv, const void *mean, void *dgamma);
    /* x are numbers of rows of a table of `count` rows in panels (moving.h) */
    void (*embedding)(long rows, long t, long e, const void *x, long ldx, const void *table,
                      long count, long pitch, long panel, void *y, long ldy);
    void (*embedding_grad)(long rows, long t, long e, long column, long c, const void *x,
                           long ldx, const void *dy, long lddy, void *table, long count,
                           long width, long start, long stop);
    /* samples of ra rows of ca columns as rb rows of cb columns */
    void (*reshape)(long samples, long ra, long ca, const void *x, long ldx, long rb, long cb,
                    void *y, long ldy);
    void (*take_columns)(long rows, long m, const int64_t *index, const void *x, long ldx, void *y,
                         long ldy);
    void (*put_columns)(long rows, long m, const int64_t *index, const void *dy, long lddy,
                        void *dx, long lddx, long c);
} fm_kernels;

typedef struct {
    const char *name;
    fm_kernels f32, f64;
} fm_tables;

/* Products of bfloat16 (bfloat16.c).  `gemm` is as in fm_kernels with float sums; elements of a and
 * b are pairs of bfloat16 that are neighbours along k, which counts pairs. */
typedef struct {
    void (*gemm)(int transposed, long m, long n, long k, const void *a, long lda, fm_panels b,
                 const void *bias, fm_panels c, int ending, const void *saved);
    /* y (rows, (c + 1) / 2) = pairs of neighbours in the rows of x; of the last of an odd number,
     * with 0 */
    void (*pair_columns)(long rows, long c, const void *x, long ldx, void *y, long ldy);
    /* y ((rows + 1) / 2, c) = pairs of neighbours in the columns of x, likewise */
    void (*pair_rows)(long rows, long c, const void *x, long ldx, void *y, long ldy);
} fm_bfloat16;

/* -- threads (threads.c) --------------------------------------------------------------------- */

typedef void (*fm_task)(void *argument, int thread, int threads);

/* Run `task` on `threads` threads, the caller among them, and return their number when all are done.
 * Falls
 * back to fewer threads, at least one, when another caller uses the pool or threads can't be
 * had; `task` is told how many there are.  Workers sleep between calls. */
int fm_run(int threads, fm_task task, void *argument);

/* All threads of the running task wait here for each other. */
void fm_barrier(int threads);

/* Work that is handed out piece by piece: the number of the next piece, and waiting until `done`
 * pieces are. */
static inline long fm_claim(long *counter)
{
    return __atomic_fetch_add(counter, 1, __ATOMIC_ACQ_REL);
}
static inline void fm_await(long *counter, long done)
{
    while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) < done) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
}

/* Nanoseconds for a cache line to travel to the other core and back, or 0 with one core. */
double fm_round_trip(void);

/* 0 to n - 1 in an order that is a function of the other numbers (shuffle.c). */
void fm_shuffle(int64_t n, uint64_t seed, uint64_t epoch, uint64_t stream, int64_t *out);
/* ... that words of 32 bits decide, which `word` draws from `state`. */
void fm_shuffle_by(int64_t n, uint32_t (*word)(void *), void *state, int64_t *out);

#endif
