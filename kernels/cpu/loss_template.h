/* Losses and metrics in one precision: included twice by isa_losses.c with R, A, M and C defined. */
#include "rows.h"

#include "losses.h"

#include "loss_loops.h"

#include "metrics.h"

const fm_losses A(FM_PASTE(fm_losses_, FM_ISA)) = {
    .elementwise_loss = A(elementwise_losses),
    .row_loss = A(row_losses),
    .distribution_loss = A(distribution_losses),
    .overlap_sums = A(overlap_sums),
    .overlap_loss = A(overlap_losses),
    .pair_loss = A(pair_losses),
    .pair_grad = A(pair_grad),
    .score = A(scores),
    .tally = A(tallies),
};

#undef LARGER
#undef ROW_SUM
