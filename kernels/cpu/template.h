/* Every kernel in one precision: included twice by isa_kernels.c with R, I, A, M and C defined.
 *
 * Loops run over blocks of BLOCK and then of PART elements, a rest through a padded copy, so that an
 * element passes the same operations wherever it stands in an array.
 */
#include "activations.h"
#include "product.h"
#include "rows.h"
#include "gradient.h"
#undef LOAD
#undef SAVE

/* -- elementwise ------------------------------------------------------------------------------ */

/* `expression` gives one element from x (and s); every array may be the same as another.  The
 * parameters are copied one by one: a memcpy leaves a vector that no loop over them vectorises. */
#define MAP(name, expression)                                                                    \
    static void name(long n, const void *x_, void *y_, const void *params)                       \
    {                                                                                            \
        const R *x = x_;                                                                         \
        R *y = y_, p[MAX_PARAMS], rest[PART] = {0};                                              \
        long i = 0;                                                                              \
        for (int k = 0; k < MAX_PARAMS; k++) { p[k] = ((const R *)params)[k]; }                  \
        for (; i + BLOCK <= n; i += BLOCK) {                                                     \
            INDEPENDENT for (int j = 0; j < BLOCK; j++) { y[i + j] = expression(x[i + j], p); }  \
        }                                                                                        \
        for (; i < n; i += PART) {                                                               \
            const int whole = i + PART <= n;                                                     \
            const R *from = whole ? x + i : rest;                                                \
            R *to = whole ? y + i : rest;                                                        \
            if (!whole) { memcpy(rest, x + i, (n - i) * sizeof(R)); }                            \
            INDEPENDENT for (int j = 0; j < PART; j++) { to[j] = expression(from[j], p); }       \
            if (!whole) { memcpy(y + i, rest, (n - i) * sizeof(R)); }                            \
        }                                                                                        \
    }
#define MAP_GRAD(name, expression)                                                               \
    static void name(long n, const void *dy_, const void *s_, void *dx_, const void *params)     \
    {                                                                                            \
        const R *dy = dy_, *s = s_;                                                              \
        R *dx = dx_, p[MAX_PARAMS], rest[PART] = {0}, drest[PART] = {0};                         \
        long i = 0;                                                                              \
        for (int k = 0; k < MAX_PARAMS; k++) { p[k] = ((const R *)params)[k]; }                  \
        for (; i + BLOCK <= n; i += BLOCK) {                                                     \
            INDEPENDENT for (int j = 0; j < BLOCK; j++)                                          \
            {                                                                                    \
                dx[i + j] = dy[i + j] * expression(s[i + j], p);                                 \
            }                                                                                    \
        }                                                                                        \
        for (; i < n; i += PART) {                                                               \
            const int whole = i + PART <= n;                                                     \
            const R *from = whole ? dy + i : drest, *saved = whole ? s + i : rest;               \
            R *to = whole ? dx + i : drest;                                                      \
            if (!whole) {                                                                        \
                memcpy(rest, s + i, (n - i) * sizeof(R));                                        \
                memcpy(drest, dy + i, (n - i) * sizeof(R));                                      \
            }                                                                                    \
            INDEPENDENT for (int j = 0; j < PART; j++) { to[j] = from[j] * expression(saved[j], p); }\
            if (!whole) { memcpy(dx + i, drest, (n - i) * sizeof(R)); }                          \
        }                                                                                        \
    }
#define MAPS_OF(row) MAP(A(map_##row), A(act_##row)) MAP_GRAD(A(grad_##row), A(act_##row##_grad))
FM_ACTIVATIONS(MAPS_OF)
#define NAME_OF(row) A(map_##row),
#define GRAD_NAME_OF(row) A(grad_##row),
static const fm_map A(maps)[] = {FM_ACTIVATIONS(NAME_OF)};
static const fm_map_grad A(grads)[] = {FM_ACTIVATIONS(GRAD_NAME_OF)};
#undef NAME_OF
#undef GRAD_NAME_OF
#undef MAPS_OF
#undef MAP
#undef MAP_GRAD

/* Through a small buffer that stays in the first cache; y up to a whole line by an ordinary store. */
static void A(stream)(fm_map map, long n, const void *x_, void *y_, const void *params)
{
    enum { PIECE = 256 };
    const R *x = x_;
    R *y = y_;
    _Alignas(FM_LINE) R piece[PIECE];
    long at = (long)(-(uintptr_t)y % FM_LINE / sizeof(R));
    at = at < n ? at : n;
    map(at, x, y, params);
    for (; at + PIECE <= n; at += PIECE) {
        map(PIECE, x + at, piece, params);
        STREAM(y + at, piece, sizeof piece);
    }
    STREAM_END();
    map(n - at, x + at, y + at, params);
}

static void A(multiply)(long n, const void *a_, const void *b_, void *c_)
{
    const R *a = a_, *b = b_;
    R *c = c_;
    INDEPENDENT for (long i = 0; i < n; i++) { c[i] = a[i] * b[i]; }
}

static void A(add)(long n, const void *a_, const void *b_, void *c_)
{
    const R *a = a_, *b = b_;
    R *c = c_;
    INDEPENDENT for (long i = 0; i < n; i++) { c[i] = a[i] + b[i]; }
}

/* -- moving and adding up --------------------------------------------------------------------- */

static void A(gather)(long rows, long c, const void *x_, long ldx, const int64_t *order, void *y_,
                      long ldy)
{
    const char *x = x_;
    char *y = y_;
    const long bytes = c * sizeof(R), from = ldx * sizeof(R), to = ldy * sizeof(R);
    enum { PIECE = 16, SHORT = 8 * PIECE };
    for (long i = 0; i < rows; i++, y += to) {
        const char *row = x + order[i] * from;
        if (bytes > SHORT) {
            const char *next = x + order[i + 1 < rows ? i + 1 : i] * from;
            for (long at = 0; at < bytes; at += FM_LINE) { __builtin_prefetch(next + at); }
            memcpy(y, row, bytes);
        } else if (bytes >= PIECE) { /* the last piece may overlap the one before */
            for (long at = 0; at < bytes - PIECE; at += PIECE) { memcpy(y + at, row + at, PIECE); }
            memcpy(y + bytes - PIECE, row + bytes - PIECE, PIECE);
        } else {
            for (long at = 0; at < bytes; at += sizeof(R)) { memcpy(y + at, row + at, sizeof(R)); }
        }
    }
}

/* 16 x 16 elements: halves, quarters, eighths and single elements of the rows change places. */
#if defined(__clang__)
INLINE void A(transpose_block)(const R *x, long ldx, R *y, long ldy)
{
    for (int j = 0; j < 16; j++) {
        for (int i = 0; i < 16; i++) {
            y[j * ldy + i] = x[i * ldx + j];
        }
    }
}
#else
INLINE void A(transpose_block)(const R *x, long ldx, R *y, long ldy)
{
    typedef R A(wide) __attribute__((vector_size(16 * sizeof(R)), aligned(sizeof(R)), may_alias));
    typedef I A(places) __attribute__((vector_size(16 * sizeof(R))));
    A(wide) v[16], w[16];
    UNROLL
    for (int i = 0; i < 16; i++) { v[i] = *(const A(wide) *)(x + i * ldx); }
#define PLACE(i, far) ((i) & far ? 16 + (i) - far : (i))
#define EXCHANGE(far, from, to)                                                                  \
    {                                                                                            \
        const A(places) low = {PLACE(0, far), PLACE(1, far), PLACE(2, far), PLACE(3, far),       \
                               PLACE(4, far), PLACE(5, far), PLACE(6, far), PLACE(7, far),       \
                               PLACE(8, far), PLACE(9, far), PLACE(10, far), PLACE(11, far),     \
                               PLACE(12, far), PLACE(13, far), PLACE(14, far), PLACE(15, far)};  \
        const A(places) high = low + far;                                                        \
        UNROLL                                                                                   \
        for (int i = 0; i < 16; i++) {                                                           \
            to[i] = i & far ? __builtin_shuffle(from[i - far], from[i], high)                    \
                            : __builtin_shuffle(from[i], from[i + far], low);                    \
        }                                                                                        \
    }
    EXCHANGE(8, v, w)
    EXCHANGE(4, w, v)
    EXCHANGE(2, v, w)
    EXCHANGE(1, w, v)
#undef EXCHANGE
#undef PLACE
    UNROLL
    for (int i = 0; i < 16; i++) { *(A(wide) *)(y + i * ldy) = v[i]; }
}
#endif

static void A(transpose)(long from, long to, long rows, long c, const void *x_, long ldx,
                         fm_panels y, long first)
{
    const R *x = x_;
    enum { SIDE = 16 };
    const long line = FM_LINE / sizeof(R), padded = (rows + line - 1) / line * line;
    long ld;
    for (long i0 = from - from % SIDE; i0 < to; i0 += SIDE) {
        R *out = (R *)A(column)(y, i0, padded, &ld) + first * ld;
        for (long j0 = 0; j0 < c; j0 += SIDE) {
            if (i0 >= from && i0 + SIDE <= to && j0 + SIDE <= c) {
                A(transpose_block)(x + i0 * ldx + j0, ldx, out + j0 * ld, ld);
            } else {
                const long i1 = i0 < from ? from : i0, i2 = i0 + SIDE < to ? i0 + SIDE : to;
                for (long j = j0; j < c && j < j0 + SIDE; j++) {
                    for (long i = i1; i < i2; i++) {
                        out[j * ld + i - i0] = x[i * ldx + j];
                    }
                }
            }
        }
    }
}

/* Rows go four at a time, into sums of their own: one sum would wait for itself. */
static void A(column_sums)(long rows, long c, const void *x_, long ldx, void *sums_)
{
    typedef R A(strip) __attribute__((vector_size(16 * sizeof(R)), aligned(sizeof(R)), may_alias));
    const R *x = x_;
    R *sums = sums_;
    long j = 0;
    for (; j + 16 <= c; j += 16) {
        A(strip) sum[4] = {{0}};
        long i = 0;
        for (; i + 4 <= rows; i += 4) {
            UNROLL
            for (int r = 0; r < 4; r++) { sum[r] += *(const A(strip) *)(x + (i + r) * ldx + j); }
        }
        for (; i < rows; i++) { sum[i % 4] += *(const A(strip) *)(x + i * ldx + j); }
        *(A(strip) *)(sums + j) = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    for (; j < c; j++) {
        R sum[4] = {0};
        for (long i = 0; i < rows; i++) { sum[i % 4] += x[i * ldx + j]; }
        sums[j] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
}

/* Sum of values (times weight) and count (sum of weight), in double, in LANES interleaved parts. */
static void A(sums)(long n, const void *values_, const void *weight_, double *sum, double *count)
{
    const R *values = values_, *weight = weight_;
    double part[LANES] = {0}, parts[LANES] = {0};
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int v = 0; v < LANES; v++) {
            double w = weight ? weight[i + v] : 1;
            part[v] += weight ? w * values[i + v] : values[i + v];
            parts[v] += w;
        }
    }
    for (int v = 0; i + v < n; v++) {
        double w = weight ? weight[i + v] : 1;
        part[v] += weight ? w * values[i + v] : values[i + v];
        parts[v] += w;
    }
    double total = 0, totals = 0;
    for (int v = 0; v < LANES; v++) {
        total += part[v];
        totals += parts[v];
    }
    *sum = total;
    *count = weight ? totals : (double)n;
}

/* The largest of a row where NaN don't matter, because what is made of them shows. */
INLINE R A(row_top)(long c, const R *x)
{
    enum { WIDTH = VECTOR / sizeof(R), STEP = 4 * WIDTH };
    R top = -C(INFINITY), each[WIDTH];
    A(vec) part[4] = {VSET(top), VSET(top), VSET(top), VSET(top)}, next;
    long j = 0;
    for (; j + STEP <= c; j += STEP) {
        for (int k = 0; k < 4; k++) {
            memcpy(&next, x + j + k * WIDTH, sizeof next);
            part[k] = VMAX(next, part[k]);
        }
    }
    for (; j + WIDTH <= c; j += WIDTH) {
        memcpy(&next, x + j, sizeof next);
        part[0] = VMAX(next, part[0]);
    }
    part[0] = VMAX(VMAX(part[0], part[1]), VMAX(part[2], part[3]));
    memcpy(each, part, sizeof each);
    for (int v = 0; v < WIDTH; v++) {
        top = each[v] > top ? each[v] : top;
    }
    for (; j < c; j++) {
        top = x[j] > top ? x[j] : top;
    }
    return top;
}

/* y = exp(x - pivot), and the sum of it, where no x is above the pivot; whole blocks so that the
 * loop is the vector one. */
static R A(exp_row)(long c, const R *x, R pivot, R *y)
{
    R part[LANES] = {0}, rest[LANES];
    long j = 0;
    for (; j + LANES <= c; j += LANES) {
        INDEPENDENT for (int v = 0; v < LANES; v++)
        {
            const R e = M(exp_nonpositive)(x[j + v] - pivot);
            y[j + v] = e;
            part[v] += e;
        }
    }
    if (j < c) {
        const long left = c - j;
        for (int v = 0; v < LANES; v++) {
            rest[v] = v < left ? x[j + v] : -C(INFINITY);
        }
        INDEPENDENT for (int v = 0; v < LANES; v++) { rest[v] = M(exp_nonpositive)(rest[v] - pivot); }
        for (int v = 0; v < LANES; v++) {
            part[v] += v < left ? rest[v] : 0;
        }
        memcpy(y + j, rest, left * sizeof(R));
    }
    return A(fold)(part, 0);
}

/* -- row activations -------------------------------------------------------------------------- */

/* Rows of few classes, GROUP at a time and transposed: no reduction within a vector. */
static void A(softmax_few)(long rows, long c, const R *x, long ldx, R *y, long ldy)
{
    R e[FEW][GROUP] = {0}, largest[GROUP], sum[GROUP];
    for (long i0 = 0; i0 < rows; i0 += GROUP, x += GROUP * ldx, y += GROUP * ldy) {
        const long n = rows - i0 < GROUP ? rows - i0 : GROUP;
        A(turn)(n, c, x, ldx, e[0], GROUP);
        for (int i = 0; i < GROUP; i++) {
            largest[i] = -C(INFINITY);
            sum[i] = 0;
        }
        for (long j = 0; j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++)
            {
                largest[i] = LARGER(e[j][i], largest[i]);
            }
        }
        for (long j = 0; j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++)
            {
                e[j][i] = M(exp_nonpositive)(e[j][i] - largest[i]);
                sum[i] += e[j][i];
            }
        }
        for (long j = 0; j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++) { e[j][i] = e[j][i] / sum[i]; }
        }
        A(turn)(c, n, e[0], GROUP, y, ldy);
    }
}

static void A(softmax)(long rows, long c, const void *x_, long ldx, void *y_, long ldy)
{
    if (c <= FEW) {
        A(softmax_few)(rows, c, x_, ldx, y_, ldy);
        return;
    }
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        const R sum = A(exp_row)(c, x, A(row_max)(c, x), y);
        for (long j = 0; j < c; j++) {
            y[j] = y[j] / sum;
        }
    }
}

static void A(softmax_grad)(long rows, long c, const void *dy_, long lddy, const void *y_,
                            long ldy, void *dx_, long lddx)
{
    for (long i = 0; i < rows; i++) {
        const R *dy = (const R *)dy_ + i * lddy, *y = (const R *)y_ + i * ldy;
        R *dx = (R *)dx_ + i * lddx, sum;
        ROW_SUM(sum, c, dy[j] * y[j]);
        INDEPENDENT for (long j = 0; j < c; j++) { dx[j] = y[j] * (dy[j] - sum); }
    }
}

static void A(log_softmax)(long rows, long c, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        const R largest = A(row_max)(c, x);
        const R log_sum = M(log)(A(exp_row)(c, x, largest, y));
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] = (x[j] - largest) - log_sum; }
    }
}

static void A(log_softmax_grad)(long rows, long c, const void *dy_, long lddy, const void *y_,
                                long ldy, void *dx_, long lddx)
{
    for (long i = 0; i < rows; i++) {
        const R *dy = (const R *)dy_ + i * lddy, *y = (const R *)y_ + i * ldy;
        R *dx = (R *)dx_ + i * lddx, sum;
        ROW_SUM(sum, c, dy[j]);
        INDEPENDENT for (long j = 0; j < c; j++) { dx[j] = dy[j] - M(exp)(y[j]) * sum; }
    }
}

/* The threshold tau with sum max(x - tau, 0) = 1, found by Newton's method from below: each round
 * drops the elements that the last tau excluded, and their number falls until it stays (Michelot
 * 1986, exact in finitely many rounds). */
static void A(sparsemax)(long rows, long c, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        const R largest = A(row_max)(c, x);
        double tau = -1; /* of x - largest: at most 0 and at least -1 */
        long count = 0, before;
        if (largest - largest != 0) { /* NaN or infinite: the limit is not unique */
            for (long j = 0; j < c; j++) {
                y[j] = C(NAN);
            }
            continue;
        }
        do {
            double sum = 0;
            before = count;
            count = 0;
            for (long j = 0; j < c; j++) {
                const double z = (double)x[j] - (double)largest;
                sum += z > tau ? z : 0;
                count += z > tau;
            }
            tau = count ? (sum - 1) / (double)count : tau;
        } while (count != before);
        for (long j = 0; j < c; j++) {
            const double z = (double)x[j] - (double)largest - tau;
            y[j] = (R)(z > 0 ? z : 0);
        }
    }
}

static void A(sparsemax_grad)(long rows, long c, const void *dy_, long lddy, const void *y_,
                              long ldy, void *dx_, long lddx)
{
    for (long i = 0; i < rows; i++) {
        const R *dy = (const R *)dy_ + i * lddy, *y = (const R *)y_ + i * ldy;
        R *dx = (R *)dx_ + i * lddx, sum, count;
        ROW_SUM(sum, c, y[j] > 0 ? dy[j] : 0);
        ROW_SUM(count, c, y[j] > 0 ? C(1) : C(0));
        const R mean = sum / count;
        INDEPENDENT for (long j = 0; j < c; j++) { dx[j] = y[j] > 0 ? dy[j] - mean : 0 * y[j]; }
    }
}

/* glu: the halves a, b of a row give a sigmoid(b); c counts the columns of the result. */
static void A(glu)(long rows, long c, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *a = (const R *)x_ + i * ldx, *b = a + c;
        R *y = (R *)y_ + i * ldy;
        A(map_sigmoid)(c, b, y, (const R[MAX_PARAMS]){0});
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] = a[j] * y[j]; }
    }
}

static void A(glu_grad)(long rows, long c, const void *dy_, long lddy, const void *x_, long ldx,
                        void *dx_, long lddx)
{
    for (long i = 0; i < rows; i++) {
        const R *dy = (const R *)dy_ + i * lddy, *a = (const R *)x_ + i * ldx, *b = a + c;
        R *da = (R *)dx_ + i * lddx, *db = da + c;
        for (long j0 = 0; j0 < c; j0 += BLOCK) {
            const long left = c - j0 < BLOCK ? c - j0 : BLOCK;
            R s[BLOCK];
            A(map_sigmoid)(left, b + j0, s, (const R[MAX_PARAMS]){0});
            for (long v = 0; v < left; v++) {
                const long j = j0 + v;
                const R d = dy[j], value = a[j];
                da[j] = d * s[v];
                db[j] = d * (value * (s[v] * (1 - s[v])));
            }
        }
    }
}

static void A(maxout)(long rows, long c, long pieces, const void *x_, long ldx, void *y_, long ldy)
{
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        for (long j = 0; j < c; j++, x += pieces) {
            R best = x[0];
            for (long k = 1; k < pieces; k++) {
                best = LARGER(x[k], best);
            }
            y[j] = best;
        }
    }
}

static void A(maxout_grad)(long rows, long c, long pieces, const void *dy_, long lddy,
                           const void *x_, long ldx, void *dx_, long lddx)
{
    for (long i = 0; i < rows; i++) {
        const R *dy = (const R *)dy_ + i * lddy, *x = (const R *)x_ + i * ldx;
        R *dx = (R *)dx_ + i * lddx;
        for (long j = 0; j < c; j++, x += pieces, dx += pieces) {
            long best = 0;
            for (long k = 1; k < pieces; k++) {
                best = x[k] > x[best] || (x[k] != x[k] && x[best] == x[best]) ? k : best;
            }
            for (long k = 0; k < pieces; k++) {
                dx[k] = dy[j] * (k == best ? C(1) : C(0));
            }
        }
    }
}

static void A(prelu)(long rows, long c, const void *x_, long ldx, const void *alpha_, void *y_,
                     long ldy)
{
    const R *alpha = alpha_;
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] = x[j] >= 0 ? x[j] : alpha[j] * x[j]; }
    }
}

static void A(prelu_grad)(long rows, long c, const void *dy_, long lddy, const void *x_, long ldx,
                          const void *alpha_, void *dx_, long lddx)
{
    const R *alpha = alpha_;
    for (long i = 0; i < rows; i++) {
        const R *dy = (const R *)dy_ + i * lddy, *x = (const R *)x_ + i * ldx;
        R *dx = (R *)dx_ + i * lddx;
        INDEPENDENT for (long j = 0; j < c; j++) { dx[j] = dy[j] * (x[j] > 0 ? 1 : alpha[j]); }
    }
}

static void A(prelu_slope_grad)(long rows, long from, long to, const void *dy_, long lddy,
                                const void *x_, long ldx, void *dalpha_)
{
    const R *dy = dy_, *x = x_;
    R *dalpha = dalpha_;
    for (long j = from; j < to; j++) {
        dalpha[j] = 0;
    }
    for (long i = 0; i < rows; i++, dy += lddy, x += ldx) {
        INDEPENDENT for (long j = from; j < to; j++) { dalpha[j] += dy[j] * (x[j] >= 0 ? 0 : x[j]); }
    }
}

/* -- losses ----------------------------------------------------------------------------------- */

/* Loss and gradient of one row of logits in two passes over it.  The first goes in pieces that stay
 * in the first cache: the largest so far, and e = exp(z - that), into d where a gradient is wanted.
 * The second brings all pieces to the same largest while it makes the gradient of e. */
static void A(softmax_cross_entropy_row)(long c, const R *z, const R *t, int64_t label, R weight,
                                         R smoothing, R scale, R *loss, R *d)
{
    enum { PIECE = 2048, PIECES = 512 };
    const long even_share = (c + PIECES - 1) / PIECES;
    const long piece = d && even_share > PIECE ? even_share : PIECE;
    R local[PIECE], pivots[PIECES], largest = -C(INFINITY), sum = 0;
    for (long j = 0, k = 0; j < c; j += piece, k += d != NULL) {
        const long n = c - j < piece ? c - j : piece;
        const R here = A(row_top)(n, z + j), before = largest;
        largest = here > largest ? here : largest;
        pivots[k] = largest;
        /* nothing but -inf so far gives nothing but 0 */
        const R pivot = largest == -C(INFINITY) ? 0 : largest;
        const R part = A(exp_row)(n, z + j, pivot, d ? d + j : local);
        sum = (largest == before || j == 0 ? sum : sum * M(exp_nonpositive)(before - largest)) + part;
    }
    sum = largest == -C(INFINITY) ? C(NAN) : sum;
    /* loss = log sum_k exp z_k - sum_k t_k z_k, with z measured from the largest */
    const R log_sum = M(log)(sum), even = smoothing / (R)c, main = 1 - smoothing;
    R expected, total = 1; /* sum_k t_k (z_k - largest), sum_k t_k */
    if (t) {
        ROW_SUM(expected, c,
                (t[j] * main + even == 0) ? C(0) : (t[j] * main + even) * (z[j] - largest));
        ROW_SUM(total, c, t[j] * main + even);
    } else if (smoothing != 0) {
        ROW_SUM(expected, c, z[j] - largest);
        expected = expected * even + main * (z[label] - largest);
    } else {
        expected = z[label] - largest;
    }
    *loss = weight * (total * log_sum - expected);
    if (!d) {
        return;
    }
    /* dz_k = weight scale (softmax_k total - t_k) */
    const R factor = weight * scale, share = factor * (total / sum), less = factor * even;
    const R own = t ? 0 : factor * (M(exp_nonpositive)(z[label] - largest) / sum - (main + even));
    for (long j = 0, k = 0; j < c; j += piece, k++) {
        const long n = c - j < piece ? c - j : piece;
        const R rate = pivots[k] == largest ? share
                                            : share * M(exp_nonpositive)(pivots[k] - largest);
        R *y = d + j;
        if (t) {
            const R *u = t + j;
            INDEPENDENT for (long i = 0; i < n; i++)
            {
                y[i] = y[i] * rate - factor * (u[i] * main + even);
            }
        } else {
            INDEPENDENT for (long i = 0; i < n; i++) { y[i] = y[i] * rate - less; }
        }
    }
    if (!t) {
        d[label] = own;
    }
}

/* Rows of few classes, GROUP at a time and transposed, so that every loop is over rows and none
 * reduces within a vector.  u holds the targets where they are probabilities; for classes the one
 * element that differs is picked by its number. */
static void A(softmax_cross_entropy_few)(long rows, long c, const R *z, long ldz,
                                         const int64_t *classes, const R *t, long ldt,
                                         const R *weight, R smoothing, const int64_t *ignore,
                                         R scale, R *losses, R *d, long ldd, R *hits)
{
    R x[FEW][GROUP], u[FEW][GROUP], largest[GROUP], sum[GROUP], expected[GROUP], total[GROUP];
    R factor[GROUP], loss[GROUP], best[GROUP], truth[GROUP];
    const R main = 1 - smoothing, even = smoothing / (R)c;
    for (long i0 = 0; i0 < rows; i0 += GROUP) {
        const long n = rows - i0 < GROUP ? rows - i0 : GROUP;
        if (n < GROUP) {
            memset(x, 0, sizeof x);
            memset(u, 0, sizeof u);
        }
        A(turn)(n, c, z + i0 * ldz, ldz, x[0], GROUP);
        for (long i = 0; i < n; i++) {
            factor[i] = weight ? weight[i0 + i] : 1;
        }
        if (t) {
            A(turn)(n, c, t + i0 * ldt, ldt, u[0], GROUP);
        }
        for (long j = 0; t && j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++) { u[j][i] = u[j][i] * main + even; }
        }
        for (int i = 0; i < GROUP; i++) {
            largest[i] = x[0][i];
            sum[i] = expected[i] = best[i] = 0;
            total[i] = t ? 0 : 1;
        }
        for (long j = 1; j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++)
            {
                const R value = x[j][i];
                best[i] = value > largest[i] || (value != value && largest[i] == largest[i])
                              ? (R)j : best[i];
                largest[i] = LARGER(value, largest[i]);
            }
        }
        if (hits && t) {
            R most[GROUP];
            for (int i = 0; i < GROUP; i++) {
                most[i] = u[0][i];
                truth[i] = 0;
            }
            for (long j = 1; j < c; j++) {
                INDEPENDENT for (int i = 0; i < GROUP; i++)
                {
                    truth[i] = u[j][i] > most[i] ? (R)j : truth[i];
                    most[i] = u[j][i] > most[i] ? u[j][i] : most[i];
                }
            }
        }
        /* expected = sum_k t_k (z_k - largest), total = sum_k t_k */
        for (long j = 0; t && j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++)
            {
                expected[i] += u[j][i] == 0 ? 0 : u[j][i] * (x[j][i] - largest[i]);
                total[i] += u[j][i];
            }
        }
        for (long j = 0; !t && smoothing != 0 && j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++)
            {
                expected[i] += even * (x[j][i] - largest[i]);
            }
        }
        for (long i = 0; classes && i < n; i++) {
            const int64_t label = classes[i0 + i];
            const int skip = ignore && label == *ignore;
            truth[i] = (R)(skip ? -1 : label);
            factor[i] = skip ? 0 : factor[i];
            expected[i] += skip ? 0 : main * (x[label][i] - largest[i]);
        }
        for (long j = 0; j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++)
            {
                const R e = M(exp_nonpositive)(x[j][i] - largest[i]);
                x[j][i] = e;
                sum[i] += e;
            }
        }
        INDEPENDENT for (int i = 0; i < GROUP; i++)
        {
            loss[i] = factor[i] * (total[i] * M(log)(sum[i]) - expected[i]);
        }
        for (long i = 0; i < n; i++) {
            losses[i0 + i] = classes && truth[i] < 0 ? 0 : loss[i];
        }
        for (long i = 0; hits && i < n; i++) {
            hits[i0 + i] = best[i] == truth[i];
        }
        if (!d) {
            continue;
        }
        /* dz_k = factor scale (softmax_k total - t_k) */
        for (int i = 0; i < GROUP; i++) {
            sum[i] = total[i] / sum[i];
            factor[i] = factor[i] * scale;
        }
        for (long j = 0; j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++)
            {
                x[j][i] = factor[i] * (x[j][i] * sum[i] - (t ? u[j][i] : even));
            }
        }
        A(turn)(c, n, x[0], GROUP, d + i0 * ldd, ldd);
        for (long i = 0; classes && i < n; i++) {
            R *out = d + (i0 + i) * ldd;
            if (truth[i] < 0) {
                memset(out, 0, c * sizeof(R));
            } else {
                out[classes[i0 + i]] -= factor[i] * main;
            }
        }
    }
}

static void A(softmax_cross_entropy)(long rows, long c, const void *z_, long ldz,
                                     const int64_t *classes, const void *t_, long ldt,
                                     const void *weight_, double smoothing, const int64_t *ignore,
                                     double scale, void *losses_, void *d_, long ldd, void *hits_)
{
    const R *weight = weight_;
    R *losses = losses_, *hits = hits_;
    if (c <= FEW) {
        A(softmax_cross_entropy_few)(rows, c, z_, ldz, classes, t_, ldt, weight, (R)smoothing,
                                     ignore, (R)scale, losses, d_, ldd, hits);
        return;
    }
    for (long i = 0; i < rows; i++) {
        const R *z = (const R *)z_ + i * ldz, *t = t_ ? (const R *)t_ + i * ldt : NULL;
        R *d = d_ ? (R *)d_ + i * ldd : NULL;
        const int64_t label = classes ? classes[i] : 0;
        if (classes && ignore && label == *ignore) {
            losses[i] = 0;
            if (d) {
                memset(d, 0, c * sizeof(R));
            }
            if (hits) {
                hits[i] = 0;
            }
            continue;
        }
        if (hits) { /* before d, which may lie over z */
            hits[i] = A(argmax)(c, z) == (classes ? label : A(argmax)(c, t));
        }
        A(softmax_cross_entropy_row)(c, z, t, label, weight ? weight[i] : 1, (R)smoothing,
                                     (R)scale, losses + i, d);
    }
}

/* -- random numbers ----------------------------------------------------------------------------*/

static void A(dropout_mask)(long from, long to, long c, void *mask_, long ld, double rate,
                            uint64_t seed, uint32_t stream, uint32_t step)
{
    const uint32_t drop = (uint32_t)(rate * 4294967296.0);
    const R kept = (R)(1 / (1 - rate));
    for (long i = from; i < to; i++) {
        R *mask = (R *)mask_ + i * ld;
        for (long j0 = 0; j0 < c; j0 += 4 * PHILOX_BLOCKS) {
            uint32_t word[4][PHILOX_BLOCKS];
            fm_philox((uint32_t)(j0 / 4), (uint32_t)i, step, stream, seed, word);
            const long left = c - j0 < 4 * PHILOX_BLOCKS ? c - j0 : 4 * PHILOX_BLOCKS;
            for (long v = 0; v < left; v++) {
                mask[j0 + v] = word[v % 4][v / 4] < drop ? 0 : kept;
            }
        }
    }
}

#include "join.h"
#include "masks.h"
#include "updates.h"

/* The inverse of the normal distribution function, AS 241 (Wichura 1988); see the oracle.  q is the
 * distance from 1/2, p that from the nearer of 0 and 1. */
INLINE R A(quantile)(R q, R p)
{
    const R r = C(0.180625) - q * q;
    const R inner = q
        * (((((((C(2509.0809287301226727) * r + C(33430.575583588128105)) * r
                + C(67265.770927008700853)) * r + C(45921.953931549871457)) * r
              + C(13731.693765509461125)) * r + C(1971.5909503065514427)) * r
            + C(133.14166789178437745)) * r + C(3.3871328727963666080))
        / (((((((C(5226.495278852854561) * r + C(28729.085735721942674)) * r
                + C(39307.895800092710610)) * r + C(21213.794301586595867)) * r
              + C(5394.1960214247511077)) * r + C(687.18700749205790830)) * r
            + C(42.313330701600911252)) * r + C(1));
    const R t = M(sqrt)(-M(log)(p)) - C(1.6);
    const R outer = (((((((C(7.74545014278341407640e-4) * t + C(2.27238449892691845833e-2)) * t
                          + C(2.41780725177450611770e-1)) * t + C(1.27045825245236838258)) * t
                        + C(3.64784832476320460504)) * t + C(5.76949722146069140550)) * t
                      + C(4.63033784615654529590)) * t + C(1.42343711074968357734))
        / (((((((C(1.05075007164441684324e-9) * t + C(5.47593808499534494600e-4)) * t
                + C(1.51986665636164571966e-2)) * t + C(1.48103976427480074590e-1)) * t
              + C(6.89767334985100004550e-1)) * t + C(1.67638483018380384940)) * t
            + C(2.05319162663775882187)) * t + C(1));
    return (q < 0 ? -q : q) <= C(0.425) ? inner : q < 0 ? -outer : outer;
}

static void A(normal)(long from, long to, long c, void *out_, long ld, double mean_,
                      double stddev_, uint64_t seed, uint32_t stream, uint32_t step)
{
    enum { WORDS = 4 * PHILOX_BLOCKS };
    const R mean = (R)mean_, stddev = (R)stddev_, unit = C(1.0 / 4294967296.0);
    for (long i = from; i < to; i++) {
        R *out = (R *)out_ + i * ld;
        for (long j0 = 0; j0 < c; j0 += WORDS) {
            uint32_t word[4][PHILOX_BLOCKS], flat[WORDS];
            R value[WORDS];
            fm_philox((uint32_t)(j0 / 4), (uint32_t)i, step, stream, seed, word);
            for (int v = 0; v < WORDS; v++) {
                flat[v] = word[v % 4][v / 4];
            }
            INDEPENDENT for (int v = 0; v < WORDS; v++)
            {
                const uint32_t w = flat[v], near = w < 0x80000000u ? w : ~w;
                const R q = ((R)(int32_t)(w - 0x80000000u) + C(0.5)) * unit;
                value[v] = mean + stddev * A(quantile)(q, ((R)near + C(0.5)) * unit);
            }
            memcpy(out + j0, value, (c - j0 < WORDS ? c - j0 : WORDS) * sizeof(R));
        }
    }
}

/* mask of 0 and anything else becomes 0 and a; y = x mask + b, a low + b where it is 0. */
static void A(alpha_dropout)(long n, const void *x_, void *mask_, void *y_, double a_, double low,
                             double b_)
{
    const R *x = x_, a = (R)a_, b = (R)b_, dropped = (R)(a_ * low + b_);
    R *mask = mask_, *y = y_;
    INDEPENDENT for (long i = 0; i < n; i++)
    {
        const R m = mask[i] == 0 ? 0 : a, shift = mask[i] == 0 ? dropped : b;
        mask[i] = m;
        y[i] = x[i] * m + shift;
    }
}

#include "normalization.h"
#include "moving.h"
#include "parameters.h"
#include "feature_ops.h"
#include "sparse.h"
#include "observing.h"

#undef LARGER
#undef ROW_SUM

#ifndef FM_KERNELS
#define FM_KERNELS(t)                                                                            \
    {                                                                                            \
        .gemm = gemm##t, .kernel_grad = kernel_grad##t, .column_sums = column_sums##t,           \
        .transpose = transpose##t, .gather = gather##t, .multiply = multiply##t,                 \
        .add = add##t, .sums = sums##t,                                                          \
        .map = maps##t, .map_grad = grads##t, .stream = stream##t,               \
        .softmax = softmax##t,                                                                   \
        .softmax_grad = softmax_grad##t, .log_softmax = log_softmax##t,                          \
        .log_softmax_grad = log_softmax_grad##t, .sparsemax = sparsemax##t,                      \
        .sparsemax_grad = sparsemax_grad##t, .glu = glu##t, .glu_grad = glu_grad##t,             \
        .maxout = maxout##t, .maxout_grad = maxout_grad##t, .prelu = prelu##t,                   \
        .prelu_grad = prelu_grad##t, .prelu_slope_grad = prelu_slope_grad##t,                    \
        .softmax_cross_entropy = softmax_cross_entropy##t,                                       \
        .losses = &FM_PASTE(FM_PASTE(fm_losses_, FM_ISA), t),                                    \
        .dropout_mask = dropout_mask##t, .normal = normal##t,                                    \
        .observe = observe##t, .distance = distance##t,                                          \
        .alpha_dropout = alpha_dropout##t, .penalty = penalty##t,                                \
        .penalty_grad = penalty_grad##t, .activity_penalty = activity_penalty##t,                \
        .orthogonal_penalty = orthogonal_penalty##t, .non_negative = non_negative##t,            \
        .constrain_norm = constrain_norm##t, .spectral_norm = spectral_norm##t,                  \
        .batch_statistics = batch_statistics##t, .batch_norm_sums = batch_norm_sums##t,          \
        .standardize = standardize##t, .batch_norm_dx = batch_norm_dx##t,                        \
        .fold_statistics = fold_statistics##t, .scale_shift = scale_shift##t,                    \
        .row_norm = row_norm##t, .row_norm_grad = row_norm_grad##t,                              \
        .gamma_grad = gamma_grad##t, .embedding = embedding##t,                                  \
        .embedding_grad = embedding_grad##t, .reshape = reshape##t,                              \
        .take_columns = take_columns##t, .put_columns = put_columns##t, .join = FM_JOIN(t),      \
        .features = FM_FEATURES(t), .sparse = FM_SPARSE(t), .masks = FM_MASKS(t),                 \
        FM_UPDATE_KERNELS(t)                                                                     \
    }
#endif
