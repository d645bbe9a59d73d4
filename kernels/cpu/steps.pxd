# The operations of a plan as C structs: what executor.pyx makes of a plan, and threads carry out in
# operations.pyx and products.pyx.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from .activations cimport Params
from .native cimport (
    FM_PANEL, fm_bfloat16, fm_distribution_loss, fm_elementwise_loss, fm_kernels, fm_map,
    fm_map_grad, fm_overlap_loss, fm_pair_loss, fm_panels, fm_row_loss, fm_rows, fm_rows_grad,
    fm_score, fm_tally, row_major,
)
from .optimizers cimport Whole

# Where an operand lies.
cdef enum Base:
    WORKSPACE
    PARAMETERS
    GRADIENTS
    DATA
    OWN            # of each thread
    COPIES         # of kernels
    BASES

cdef enum Code:
    GATHER
    DENSE
    MAP
    ROW_MAP
    MAXOUT
    PRELU
    DROPOUT
    SOFTMAX_CROSS_ENTROPY
    ROW_LOSS
    ELEMENTWISE_LOSS
    DISTRIBUTION_LOSS
    OVERLAP_LOSS
    PAIR_LOSS
    PAIR_GRAD
    SCORE
    MAP_GRAD
    ROW_MAP_GRAD
    MAXOUT_GRAD
    DENSE_DX
    PRELU_DX
    MULTIPLY
    ADD
    ALPHA_DROPOUT
    GAUSSIAN_DROPOUT
    GAUSSIAN_NOISE
    STANDARDIZE
    BATCH_NORM_DX
    SCALE_SHIFT
    ROW_NORM
    ROW_NORM_GRAD
    EMBEDDING
    RESHAPE
    TAKE_COLUMNS
    PUT_COLUMNS
    ACTIVITY_PENALTY
    PENALTY
    # those that join or cut buffers
    SUBTRACT
    MAXIMUM
    MINIMUM
    EXTREME_GRAD
    AFFINE
    DIVIDE
    POWER
    LOG
    BROADCAST
    ROW_SUM
    ROW_DOT
    SCALE_ROWS
    COPY_GROUPS
    # those that work on the steps of samples
    STEP_MASK
    KEEP_STEPS
    POOL
    POOL_GRAD
    # neighbours as pairs of bfloat16
    PAIR_COLUMNS
    PAIR_ROWS
    # those that make numbers of features
    COLUMN_AFFINE
    FEATURE_NORM
    DIGITIZE
    ENCODE
    # those that read matrices in compressed rows
    SPARSE_DENSE
    DENSIFY
    # gradients of groups of rows, which COMBINE adds up
    GROUP_DW
    GROUP_DB
    # sums of a product's parts, which SUM_PARTS adds up
    PARTS
    SUM_PARTS
    # by itself, with the interpreter's lock
    PYTHON
    # WEIGHTS operations from here on
    REDUCE
    ROW_WEIGHTS
    OVERLAP_SUMS
    TALLY
    PENALTY_TOTAL
    PENALTY_GRAD
    DENSE_DW
    SPARSE_DW
    DENSE_DB
    COMBINE
    PRELU_DALPHA
    ACCUMULATE
    COLLECT
    UPDATE
    AVERAGE
    PAIR_KERNEL
    TRANSPOSE
    GAMMA_GRAD
    EMBEDDING_GRAD
    RECORD
    # STATISTICS operations
    BATCH_STATISTICS
    BATCH_NORM_SUMS
    FOLD_STATISTICS
    OBSERVE
    # WHOLE operations
    SPECTRAL_NORM
    ORTHOGONAL_PENALTY
    CONSTRAIN
    # PHASES: threads split them in their own way and meet before and after each
    SQUARES
    WHOLE
    KEEP
    CHANGE

cdef struct Operand:
    Base base
    long at        # bytes from the base to the first row
    long ld        # elements from row to row
    long columns
    long rows      # of a parameter, or a transposed copy of one: those lie in panels
    long beside    # rows of the kernel whose gradient is computed together with that of this bias
    long parts     # that its columns fall into, or its rows; 0 for equal shares of its memory
    bint by_rows
    bint classes   # int64
    bint present

# What an optimizer does to one parameter in every `every`-th step, after `clip` of its gradient.
cdef struct Updating:
    bint first             # of the parameters that share hyperparameters
    int number             # of a row of spec.ELEMENTWISE_OPTIMIZERS
    long every
    double rate            # factor of the learning rate
    double decay
    double params[8]
    char *slots[4]         # at the parameter's first element
    bint clips
    double limit           # of each element,
    double norm            # of the norm; infinity where there is none
    bint whole_norm        # whether a norm that is not finite makes all elements NaN
    const double *squares  # whose sum is the square of the norm
    long squares_count
    double *sums           # that this operation computes
    long sums_count
    Whole whole            # of an optimizer that looks at the whole variable
    # of an average
    double keep
    long overwrite         # every so manieth update; 0 for never

cdef struct Step:
    Code code
    Updating *update
    int phase
    bint waits     # all threads meet before it
    bint by_columns
    bint pairs     # a product of bfloat16
    bint grouped   # GROUP_DW or GROUP_DB
    bint private   # every thread does it for itself, on all rows
    bint alone     # reads nothing that another thread wrote since threads met
    long together  # elements that one thread updates at once: also those of parameters that follow
    bint covered   # whether the update of an earlier parameter is that of this one, too
    int number     # of a data array, a total
    int ending
    Operand a
    Operand b
    Operand c
    Operand d
    Operand e
    Operand f
    Operand g
    Operand h
    Operand i
    long repeat    # rows of the operands for each row of the batch
    long from_repeat
    const int64_t *index
    double *scratch
    fm_map map
    fm_map_grad map_grad
    fm_rows rows_map
    fm_rows_grad rows_grad
    fm_elementwise_loss loss
    fm_row_loss row_loss
    fm_distribution_loss distribution_loss
    fm_overlap_loss overlap_loss
    fm_pair_loss pair_loss
    fm_score score
    fm_tally tally
    const double *options  # of a tally
    Params params
    double x       # smoothing, rate, threshold, ...
    double y
    double weight
    bint mean
    bint of_all    # a mean over all rows, also those that are ignored
    bint weighted_mean
    int weights    # number of the data array that a weighted mean divides by
    bint counts    # a sum adds its rows to the count of its total
    bint clears    # the output is 0 where nothing is copied to
    long units     # number of the counts of a buffer's first column
    long groups, width, step_a, step_b
    long samples[5]   # elements from one sample to the next, of operands a to e,
    long inner[5]     # and from one step of a sample to the next
    const char *constants
    bint has_ignore
    int64_t ignore
    uint64_t seed
    uint32_t stream

cdef enum:
    MAX_DATA = 128
    # rows that pass through all layers of a prediction together: small enough for the caches
    ROWS_TOGETHER = 96

cdef struct Data:
    const char *pointer
    long columns   # 0 for one number per row
    int itemsize
    # of a matrix in compressed rows, whose values `pointer` points to
    const int32_t *places
    const int64_t *starts

cdef struct Run:
    const fm_kernels *kernels
    const fm_bfloat16 *bfloat16   # NULL where no product asks for it
    const Step *steps
    int count
    bint grouped   # whether some gradients are of groups of rows
    bint parted    # whether the last products fall into parts
    int itemsize
    # what a call is about
    Data data[MAX_DATA]
    const int64_t *order
    long order_length
    long batch_size, first, start, stop
    const double *learning_rate
    int64_t iteration
    double deadline
    long clock_mask
    bint check_finite
    # memory
    char *workspace
    long workspace_bytes   # per thread, in predictions
    char *own
    long own_bytes         # per thread
    char *copies
    long *claimed          # pieces of every operation, of one row
    long *finished
    char *parameters
    char *gradients
    double *totals
    uint64_t seed
    # what is observed in every so manieth step: `records_count` times `observations` rows of four
    # numbers, by `watching_count` operations in the place of the `count` of other steps
    const Step *watching
    int watching_count
    long every
    double *records
    long records_count, first_record, observations
    double *units
    char *kept     # parameters as they were before their update
    # a prediction
    const char *x[MAX_DATA]
    long x_columns[MAX_DATA]
    char *out[MAX_DATA]
    Operand results[MAX_DATA]
    int outputs
    long repeats[MAX_DATA]  # rows of a result for each row of the data
    long rows, block
    # what it tells
    long next
    long last_rows
    bint halt
    bint bad
    bint failed    # a step in Python raised
    # steps in Python: the Executor, and what calls one of them; 0 if it raised nothing
    void *owner
    int (*python)(void *owner, int number, long rows) noexcept nogil


cdef inline char *row_at(const Operand *o, char **bases, long row, int itemsize) noexcept nogil:
    """Pointer to a row; NULL for an operand that is absent."""
    if not o.present:
        return NULL
    return bases[<int> o.base] + o.at + row * o.ld * (8 if o.classes else itemsize)


cdef inline fm_panels panels_of(const Operand *o, char **bases, long column,
                                int itemsize) noexcept nogil:
    """The matrix from a column on, a multiple of the panel's width."""
    cdef fm_panels matrix
    if o.rows == 0:
        return row_major(bases[<int> o.base] + o.at + column * itemsize, o.ld, itemsize)
    matrix.at = bases[<int> o.base] + o.at + o.rows * column * itemsize
    matrix.ld = 0
    matrix.step = o.rows * (FM_PANEL // itemsize)
    return matrix


cdef inline double clock() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + 1e-9 * now.tv_nsec
