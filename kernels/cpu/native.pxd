from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "native.h" nogil:
    ctypedef void (*fm_map)(long n, const void *x, void *y, const void *params) noexcept nogil
    ctypedef void (*fm_map_grad)(long n, const void *dy, const void *saved, void *dx,
                                 const void *params) noexcept nogil
    ctypedef void (*fm_rows)(long rows, long c, const void *x, long ldx, void *y,
                             long ldy) noexcept nogil
    ctypedef void (*fm_rows_grad)(long rows, long c, const void *dy, long lddy, const void *saved,
                                  long lds, void *dx, long lddx) noexcept nogil
    ctypedef void (*fm_elementwise_loss)(
        long rows, long c, const void *p, long ldp, const void *t, long ldt, const void *weight,
        double smoothing, double scale, void *losses, void *d, long ldd,
        const void *params) noexcept nogil

    ctypedef struct fm_join:
        void (*subtract)(long n, const void *a, const void *b, void *y) noexcept nogil
        void (*maximum)(long n, const void *a, const void *b, void *y) noexcept nogil
        void (*minimum)(long n, const void *a, const void *b, void *y) noexcept nogil
        void (*extreme_grad)(long n, int larger, const void *dy, const void *a, const void *b,
                             void *da) noexcept nogil
        void (*affine)(long n, double factor, double shift, const void *x,
                       void *y) noexcept nogil
        void (*divide)(long rows, long c, const void *a, long lda, const void *b, long ldb,
                       void *y, long ldy) noexcept nogil
        void (*power)(long rows, long c, double exponent, const void *x, long ldx, void *y,
                      long ldy) noexcept nogil
        void (*log)(long rows, long c, const void *x, long ldx, void *y, long ldy) noexcept nogil
        void (*broadcast)(long rows, long c, double factor, const void *x, long ldx, void *y,
                          long ldy) noexcept nogil
        void (*row_sum)(long rows, long c, double factor, const void *x, long ldx, void *y,
                        long ldy) noexcept nogil
        void (*row_dot)(long rows, long c, const void *a, long lda, const void *b, long ldb,
                        void *y, long ldy) noexcept nogil
        void (*scale_rows)(long rows, long c, const void *x, long ldx, const void *s, long lds,
                           void *y, long ldy) noexcept nogil
        void (*copy_groups)(long rows, long groups, long width, const void *x, long ldx,
                            long stepx, void *y, long ldy, long stepy) noexcept nogil
    ctypedef struct fm_masks:
        void (*step_mask)(long n, long t, long c, double value, const void *x, long xi, long xk,
                          void *m, long mi, long mk) noexcept nogil
        void (*keep_steps)(long n, long t, long c, const void *x, long xi, long xk, const void *m,
                           long mi, long mk, void *y, long yi, long yk) noexcept nogil
        void (*pool)(long n, long t, long c, int largest, const void *x, long xi, long xk,
                     const void *m, long mi, long mk, void *y, long yi) noexcept nogil
        void (*mean_pool_grad)(long n, long t, long c, const void *dy, long dyi, const void *m,
                               long mi, long mk, void *dx, long dxi, long dxk) noexcept nogil
        void (*max_pool_grad)(long n, long t, long c, const void *dy, long dyi, const void *x,
                              long xi, long xk, const void *y, long yi, void *dx, long dxi,
                              long dxk) noexcept nogil
        void (*row_weights)(long n, long t, int over, const void *w, long per, const void *m,
                            long mi, long mk, const int64_t *classes, const int64_t *ignore,
                            void *out) noexcept nogil

    ctypedef struct fm_panels:
        void *at
        long ld
        long step

    ctypedef void (*fm_row_loss)(
        long rows, long c, const void *p, long ldp, const int64_t *classes, const void *t, long ldt,
        const void *weight, double smoothing, const int64_t *ignore, double scale, void *losses,
        void *d, long ldd, const void *params) noexcept nogil
    ctypedef void (*fm_distribution_loss)(
        long rows, long c, const void *p, long ldp, const void *t, long ldt, const void *weight,
        double scale, void *losses, void *d, long ldd, const void *params) noexcept nogil
    ctypedef void (*fm_overlap_loss)(
        long rows, long c, int axis, const void *p, long ldp, const void *t, long ldt,
        const void *weight, double scale, const double *sums, void *losses, void *d, long ldd,
        const void *params) noexcept nogil
    ctypedef void (*fm_pair_loss)(
        long start, long stop, long n, long c, const void *p, long ldp, const int64_t *group,
        void *losses, void *g, long ldg, const void *params) noexcept nogil
    ctypedef void (*fm_score)(
        long rows, long c, const void *p, long ldp, const int64_t *classes, const void *t, long ldt,
        const void *params, void *scores) noexcept nogil
    ctypedef void (*fm_tally)(
        long rows, long c, const void *p, long ldp, const int64_t *classes, const void *t, long ldt,
        const void *weight, const double *options, double *state) noexcept nogil
    ctypedef void (*fm_update)(long n, void *w, const void *g, char *const *slots, const double *c,
                               double decay) noexcept nogil
    ctypedef void (*fm_coefficients)(double rate, double t, const double *params, double tiny,
                                     double *c) noexcept nogil
    ctypedef struct fm_matrix:
        long rows
        long columns
        long pitch
        long panel
    ctypedef struct fm_sparse:
        void (*product)(long rows, long c, const int64_t *extents, const void *values,
                        const int32_t *columns, fm_panels w, const void *bias, void *y,
                        long ldy) noexcept nogil
        void (*dw)(long rows, long first, long end, long c, const int64_t *extents,
                   const void *values, const int32_t *columns, const void *dz, long lddz,
                   fm_panels dw) noexcept nogil
        void (*densify)(long rows, long c, const int64_t *extents, const void *values,
                        const int32_t *columns, void *y, long ldy) noexcept nogil

    ctypedef struct fm_features:
        void (*column_affine)(long rows, long c, const void *constants, const void *x, long ldx,
                              void *y, long ldy) noexcept nogil
        void (*feature_norm)(long rows, long c, int one, int invert, int center, double least,
                             const void *mean, const void *variance, const void *x, long ldx,
                             void *y, long ldy) noexcept nogil
        void (*digitize)(long rows, long c, long count, const void *boundaries, const void *x,
                         long ldx, void *y, long ldy) noexcept nogil
        void (*encode)(long rows, long c, long depth, int kind, const void *x, long ldx, void *y,
                       long ldy) noexcept nogil

    enum:
        FM_ROWS
        FM_ALL
        FM_COLUMNS
        FM_COLUMNS_SUM
        FM_LINE
        FM_PANEL
        FM_STORE
        FM_RELU
        FM_RELU_GRAD
        FM_LAYER_NORM
        FM_RMS_NORM
        FM_UNIT_NORM
        FM_STRIP

    ctypedef struct fm_losses:
        const fm_elementwise_loss *elementwise_loss
        const fm_row_loss *row_loss
        const fm_distribution_loss *distribution_loss
        void (*overlap_sums)(long rows, long c, const void *p, long ldp, const void *t, long ldt,
                             const void *weight, double *sums) noexcept nogil
        const fm_overlap_loss *overlap_loss
        const fm_pair_loss *pair_loss
        void (*pair_grad)(long start, long stop, long n, long c, const void *p, long ldp,
                          const void *weight, int rescaled, double scale, const void *unweighted,
                          const void *g, long ldg, void *losses, void *d, long ldd) noexcept nogil
        const fm_score *score
        const fm_tally *tally

    ctypedef struct fm_kernels:
        void (*gemm)(int transposed, long m, long n, long k, const void *a, long lda,
                     fm_panels b, const void *bias, fm_panels c, int ending,
                     const void *saved) noexcept nogil
        void (*kernel_grad)(long m, long n, long k, const void *a, long lda, const void *b,
                            long ldb, fm_panels c, void *sums) noexcept nogil
        void (*column_sums)(long rows, long c, const void *x, long ldx, void *sums) noexcept nogil
        void (*transpose)(long start, long stop, long rows, long c, const void *x, long ldx,
                          fm_panels y, long first) noexcept nogil
        void (*gather)(long rows, long c, const void *x, long ldx, const int64_t *order, void *y,
                       long ldy) noexcept nogil
        void (*multiply)(long n, const void *a, const void *b, void *c) noexcept nogil
        void (*add)(long n, const void *a, const void *b, void *c) noexcept nogil
        void (*sums)(long n, const void *values, const void *weight, double *sum,
                     double *count) noexcept nogil
        const fm_map *map
        const fm_map_grad *map_grad
        void (*stream)(fm_map map, long n, const void *x, void *y,
                       const void *params) noexcept nogil
        fm_rows softmax, log_softmax, sparsemax, glu
        fm_rows_grad softmax_grad, log_softmax_grad, sparsemax_grad, glu_grad
        void (*maxout)(long rows, long c, long pieces, const void *x, long ldx, void *y,
                       long ldy) noexcept nogil
        void (*maxout_grad)(long rows, long c, long pieces, const void *dy, long lddy,
                            const void *x, long ldx, void *dx, long lddx) noexcept nogil
        void (*prelu)(long rows, long c, const void *x, long ldx, const void *alpha, void *y,
                      long ldy) noexcept nogil
        void (*prelu_grad)(long rows, long c, const void *dy, long lddy, const void *x, long ldx,
                           const void *alpha, void *dx, long lddx) noexcept nogil
        void (*prelu_slope_grad)(long rows, long start, long stop, const void *dy, long lddy,
                                 const void *x, long ldx, void *dalpha) noexcept nogil
        void (*softmax_cross_entropy)(
            long rows, long c, const void *z, long ldz, const int64_t *classes, const void *t,
            long ldt, const void *weight, double smoothing, const int64_t *ignore, double scale,
            void *losses, void *d, long ldd, void *hits) noexcept nogil
        const fm_losses *losses
        const fm_update *update
        const fm_coefficients *coefficients
        double (*squares)(long n, const void *x) noexcept nogil
        void (*clip)(long n, void *g, double factor, double limit) noexcept nogil
        void (*collect)(long n, void *g, void *total, double divisor) noexcept nogil
        void (*average)(long n, void *w, void *average, double keep, int overwrite) noexcept nogil
        void (*lamb_moments)(long n, void *w, const void *g, void *m, void *v, const double *c,
                             double decay, double *sums) noexcept nogil
        void (*lamb_apply)(long n, void *w, const void *m, const void *v, const double *c,
                           double rate) noexcept nogil
        void (*adafactor_rows)(const fm_matrix *q, long start, long stop, void *w, const void *g,
                               void *row, const double *c, double decay,
                               double *squares) noexcept nogil
        void (*adafactor_columns)(const fm_matrix *q, long start, long stop, const void *g,
                                  void *column, const double *c) noexcept nogil
        void (*adafactor_apply)(const fm_matrix *q, long start, long stop, void *w, const void *g,
                                const void *row, const void *column, double mean, double rate,
                                double *squares) noexcept nogil
        double (*muon_trace)(const fm_matrix *q, long start, long stop, const void *g, void *m,
                             double momentum, int nesterov, int across, void *x,
                             long ld_x) noexcept nogil
        void (*muon_apply)(const fm_matrix *q, long start, long stop, void *w, const void *x,
                           int across, long ld_x, double rate, double decay) noexcept nogil
        void (*combine)(long n, double a, const void *x, double b, void *y) noexcept nogil
        void (*dropout_mask)(long start, long stop, long c, void *mask, long ld, double rate,
                             uint64_t seed, uint32_t stream, uint32_t step) noexcept nogil
        void (*observe)(long rows, long start, long stop, const void *y, long ldy,
                        const void *saved, long lds, fm_map_grad derivative, const void *params,
                        double below, double *squares, double *active) noexcept nogil
        double (*distance)(long n, const void *a, const void *b) noexcept nogil
        fm_join join
        fm_masks masks
        fm_features features
        fm_sparse sparse
        void (*normal)(long start, long stop, long c, void *out, long ld, double mean,
                       double stddev, uint64_t seed, uint32_t stream, uint32_t step) noexcept nogil
        void (*alpha_dropout)(long n, const void *x, void *mask, void *y, double a, double low,
                              double b) noexcept nogil
        double (*penalty)(long n, const void *w, double l1, double l2) noexcept nogil
        void (*penalty_grad)(long n, const void *w, void *g, double l1, double slope,
                             int adds) noexcept nogil
        void (*activity_penalty)(long rows, long c, const void *y, long ldy, double linear,
                                 double l1, double l2,
                                 double scale, void *values, void *d, long ldd) noexcept nogil
        double (*orthogonal_penalty)(long rows, long columns, long pitch, long panel, const void *w,
                                     int by_rows, double factor, void *g, int adds,
                                     double *scratch) noexcept nogil
        void (*non_negative)(long n, void *w) noexcept nogil
        void (*constrain_norm)(long rows, long columns, long pitch, long panel, void *w, int axis,
                               long start, long stop, const double *limits) noexcept nogil
        void (*spectral_norm)(long rows, long columns, long pitch, long panel, void *w, void *u,
                              int iterations, double epsilon, double *scratch) noexcept nogil
        void (*batch_statistics)(long rows, long start, long stop, const void *x, long ldx,
                                 const void *w, double momentum, double epsilon,
                                 void *moving_mean, void *moving_variance, void *mean,
                                 void *inv) noexcept nogil
        void (*batch_norm_sums)(long rows, long start, long stop, const void *dy, long lddy,
                                const void *x, long ldx, const void *mean, const void *inv,
                                void *dgamma, void *dbeta) noexcept nogil
        void (*standardize)(long rows, long c, const void *x, long ldx, const void *mean,
                            const void *inv, const void *gamma, const void *beta, void *y,
                            long ldy) noexcept nogil
        void (*batch_norm_dx)(long rows, long c, long n, const void *dy, long lddy, const void *x,
                              long ldx, const void *w, const void *mean, const void *inv,
                              const void *dgamma, const void *dbeta, const void *gamma,
                              void *dx, long lddx) noexcept nogil
        void (*fold_statistics)(long start, long stop, const void *mean, const void *variance,
                                const void *gamma, const void *beta, double epsilon, void *a,
                                void *b) noexcept nogil
        void (*scale_shift)(long rows, long c, const void *x, long ldx, const void *a,
                            const void *b, void *y, long ldy) noexcept nogil
        void (*row_norm)(long rows, long c, const void *x, long ldx, int kind, double epsilon,
                         const void *gamma, const void *beta, void *y, long ldy, void *inv,
                         void *mean) noexcept nogil
        void (*row_norm_grad)(long rows, long c, const void *dy, long lddy, const void *x, long ldx,
                              const void *inv, const void *mean, const void *gamma, int kind,
                              void *dx, long lddx) noexcept nogil
        void (*gamma_grad)(long rows, long c, const void *dy, long lddy, const void *x, long ldx,
                           const void *inv, const void *mean, void *dgamma) noexcept nogil
        void (*embedding)(long rows, long t, long e, const void *x, long ldx, const void *table,
                          long count, long pitch, long panel, void *y, long ldy) noexcept nogil
        void (*embedding_grad)(long rows, long t, long e, long column, long c, const void *x,
                               long ldx, const void *dy, long lddy, void *table, long count,
                               long width, long start, long stop) noexcept nogil
        void (*reshape)(long samples, long ra, long ca, const void *x, long ldx, long rb, long cb,
                        void *y, long ldy) noexcept nogil
        void (*take_columns)(long rows, long m, const int64_t *index, const void *x, long ldx,
                             void *y, long ldy) noexcept nogil
        void (*put_columns)(long rows, long m, const int64_t *index, const void *dy, long lddy,
                            void *dx, long lddx, long c) noexcept nogil

    ctypedef struct fm_tables:
        const char *name
        fm_kernels f32
        fm_kernels f64

    ctypedef struct fm_bfloat16:
        void (*gemm)(int transposed, long m, long n, long k, const void *a, long lda,
                     fm_panels b, const void *bias, fm_panels c, int ending,
                     const void *saved) noexcept nogil
        void (*pair_columns)(long rows, long c, const void *x, long ldx, void *y,
                             long ldy) noexcept nogil
        void (*pair_rows)(long rows, long c, const void *x, long ldx, void *y,
                          long ldy) noexcept nogil

    ctypedef void (*fm_task)(void *argument, int thread, int threads) noexcept nogil
    int fm_run(int threads, fm_task task, void *argument)
    void fm_barrier(int threads)
    long fm_claim(long *counter)
    void fm_await(long *counter, long done)
    double fm_round_trip()
    void fm_shuffle(int64_t n, uint64_t seed, uint64_t epoch, uint64_t stream, int64_t *out)
    void fm_shuffle_by(int64_t n, uint32_t (*word)(void *) noexcept nogil, void *state,
                       int64_t *out)


cdef const fm_kernels *kernels_for(int itemsize) noexcept nogil
cdef const fm_bfloat16 *bfloat16_kernels() noexcept nogil
cdef int thread_limit() noexcept nogil
cdef bint threads_always() noexcept nogil
cdef int run(int threads, fm_task task, void *argument) noexcept nogil
cdef void barrier(int threads) noexcept nogil
cdef void shuffle(int64_t n, uint64_t seed, uint64_t epoch, uint64_t stream,
                  int64_t *out) noexcept nogil
cdef void shuffle_by(int64_t n, uint32_t (*word)(void *) noexcept nogil, void *state,
                     int64_t *out) noexcept nogil

# A sleeping thread takes tens of microseconds to wake, one that ran just now a few: work below this
# runs on the caller alone.
cdef inline int threads_for(double nanoseconds) noexcept nogil:
    return thread_limit() if nanoseconds > 60e3 or threads_always() else 1


cdef inline fm_panels row_major(const void *at, long ld, int itemsize) noexcept nogil:
    cdef fm_panels matrix
    matrix.at, matrix.ld, matrix.step = <void *> at, ld, FM_PANEL // itemsize
    return matrix


# The part of `n` items that a thread takes, in whole blocks.
cdef inline void share(long n, long block, int thread, int threads, long *start,
                       long *stop) noexcept nogil:
    cdef long blocks = (n + block - 1) // block
    start[0] = blocks * thread // threads * block
    stop[0] = blocks * (thread + 1) // threads * block
    if stop[0] > n:
        stop[0] = n
