/* The functions of losses and metrics of one instruction set and precision; see native.h. */
#ifndef FM_LOSS_KERNELS_H
#define FM_LOSS_KERNELS_H

#include <stdint.h>

typedef void (*fm_elementwise_loss)(long rows, long c, const void *p, long ldp, const void *t,
                                    long ldt, const void *weight, double smoothing, double scale,
                                    void *losses, void *d, long ldd, const void *params);
typedef void (*fm_row_loss)(long rows, long c, const void *p, long ldp, const int64_t *classes,
                            const void *t, long ldt, const void *weight, double smoothing,
                            const int64_t *ignore, double scale, void *losses, void *d, long ldd,
                            const void *params);
typedef void (*fm_distribution_loss)(long rows, long c, const void *p, long ldp, const void *t,
                                     long ldt, const void *weight, double scale, void *losses,
                                     void *d, long ldd, const void *params);
typedef void (*fm_overlap_loss)(long rows, long c, int axis, const void *p, long ldp,
                                const void *t, long ldt, const void *weight, double scale,
                                const double *sums, void *losses, void *d, long ldd,
                                const void *params);
typedef void (*fm_pair_loss)(long from, long to, long n, long c, const void *p, long ldp,
                             const int64_t *group, void *losses, void *g, long ldg,
                             const void *params);
typedef void (*fm_score)(long rows, long c, const void *p, long ldp, const int64_t *classes,
                         const void *t, long ldt, const void *params, void *scores);
typedef void (*fm_tally)(long rows, long c, const void *p, long ldp, const int64_t *classes,
                         const void *t, long ldt, const void *weight, const double *options,
                         double *state);

/* What an overlap loss adds up. */
enum { FM_ROWS = 0, FM_ALL = 1, FM_COLUMNS = 2, FM_COLUMNS_SUM = 3 };

/* Losses and metrics, compiled apart from the rest (isa_losses.c). */
typedef struct {
    const fm_elementwise_loss *elementwise_loss; /* by the row's number in spec.losses_of(kind) */
    const fm_row_loss *row_loss;
    const fm_distribution_loss *distribution_loss;
    /* sums (3, c) of t p, t and p down all rows, and behind them that of the weights */
    void (*overlap_sums)(long rows, long c, const void *p, long ldp, const void *t, long ldt,
                         const void *weight, double *sums);
    const fm_overlap_loss *overlap_loss;
    const fm_pair_loss *pair_loss;
    /* `unweighted` and g from pair_loss of all n rows */
    void (*pair_grad)(long from, long to, long n, long c, const void *p, long ldp,
                      const void *weight, int rescaled, double scale, const void *unweighted,
                      const void *g, long ldg, void *losses, void *d, long ldd);
    const fm_score *score; /* by the row's number in spec.SCORES */
    const fm_tally *tally; /* by the row's number in spec.TALLIES */
} fm_losses;

#endif
